// Command read measures how fast the API answers from memory, against what the
// framework can do at all: a bare gin server that answers constant bytes of the
// same size.
//
// All of it happens in one run, with the servers in turn, so that the ratios
// hold on a noisy machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() {
	if rig.RunBroker() || runBare() {
		return
	}
	settings, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench-read:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, settings); err != nil {
		fmt.Fprintln(os.Stderr, "bench-read:", err)
		os.Exit(1)
	}
}
