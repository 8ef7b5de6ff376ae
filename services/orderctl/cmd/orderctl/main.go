// Command orderctl is the operator's tool of Orderhub.
package main

import (
	"os"
	"runtime/debug"

	"github.com/orderhub/orderhub/services/orderctl/internal/cli"
)

func main() {
	// Commands are short: they trade some memory for fewer collections.
	debug.SetGCPercent(200)
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
