// Command ingest measures how fast orders get from Kafka into PostgreSQL, and
// what that costs, against what PostgreSQL can take at all: binary COPY of the
// same rows into the same tables.
//
// All of it happens in one run on one private server, with each run of a round
// next to the others, so that the ratios hold on a noisy machine.
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
	if rig.RunBroker() {
		return
	}
	settings, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench-ingest:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, settings); err != nil {
		fmt.Fprintln(os.Stderr, "bench-ingest:", err)
		os.Exit(1)
	}
}
