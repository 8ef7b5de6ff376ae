// Command orderctl is the operator's tool of Orderhub.
package main

import (
	"os"

	"github.com/orderhub/orderhub/services/orderctl/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
