// Command read-api serves orders over HTTP, from memory.
package main

import (
	"os"

	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

func main() { os.Exit(app.Main(os.Args[1:], os.Stdout, os.Stderr)) }
