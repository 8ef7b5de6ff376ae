// Command bench measures Orderhub. Each of its commands compares it with a limit that
// it measures in the same run, in turn, so that the ratios hold on a noisy machine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/orderhub/orderhub/scripts/bench/dlq"
	"github.com/orderhub/orderhub/scripts/bench/freshness"
	"github.com/orderhub/orderhub/scripts/bench/ingest"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/bench/lists"
	"github.com/orderhub/orderhub/scripts/bench/nats"
	"github.com/orderhub/orderhub/scripts/bench/peers"
	"github.com/orderhub/orderhub/scripts/bench/read"
	"github.com/orderhub/orderhub/scripts/bench/restore"
	"github.com/orderhub/orderhub/scripts/bench/scale"
	"github.com/orderhub/orderhub/scripts/bench/soak"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// commandLine are the flags of all benchmarks, and the benchmarks with their own.
type commandLine struct {
	rig.Flags
	Ingest    ingest.Benchmark    `cmd:"" help:"The rate and cost of ingest-worker against raw COPY."`
	Read      read.Benchmark      `cmd:"" help:"Requests a second of read-api against a bare gin server that answers constant bytes. Needs wrk."`
	Lists     lists.Benchmark     `cmd:"" help:"Lists a second from memory against the same lists from PostgreSQL: every filter and sort, and combinations. Needs wrk."`
	Restore   restore.Benchmark   `cmd:"" help:"The time and memory that read-api takes to hold all orders, against COPY OUT of the four tables."`
	Freshness freshness.Benchmark `cmd:"" help:"How soon an order that was produced can be read, idle and under load, and how long it takes to catch up after an overload."`
	DLQ       dlq.Benchmark       `cmd:"" name:"dlq" help:"The speed and memory of orderctl dlq against a bare consumer."`
	NATS      nats.Benchmark      `cmd:"" name:"nats" help:"The speed of nats-bridge against a bare JetStream consumer, and the time from publisher to API."`
	Peers     peers.Benchmark     `cmd:"" help:"Orderhub beside what people would use instead: Benthos (Redpanda Connect), Kafka Connect, a hand-written service. Needs wrk; Java, Maven and the network for the others."`
	Scale     scale.Benchmark     `cmd:"" help:"What changes as orders become more. Ten million take a quarter of an hour, 30 GB of disk below TMPDIR (and /var/tmp) and 16 GiB of memory. Needs wrk."`
	Soak      soak.Benchmark      `cmd:"" help:"A steady load with churn for hours, and whether everything stays flat."`
}

func newParser(line *commandLine, arguments []string) *kong.Kong {
	options := []kong.Option{
		kong.Name("bench"), kong.Description("Run it from the repository's root after `make build`, on a quiet machine."),
	}
	if slices.Contains(arguments, "--smoke") {
		options = append(options, kong.Resolvers(kong.ResolverFunc(rig.Smoke)))
	}
	return kong.Must(line, options...)
}

func main() {
	rig.Play()
	arguments := os.Args[1:]
	line := commandLine{Flags: rig.Flags{Arguments: arguments}}
	parser := newParser(&line, arguments)
	parsed, err := parser.Parse(arguments)
	parser.FatalIfErrorf(err)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	chosen := parsed.Selected().Target.Addr().Interface().(interface {
		Measure(ctx context.Context, flags *rig.Flags)
	})
	if err := must.Try(func() { chosen.Measure(ctx, &line.Flags) }); err != nil {
		fmt.Fprintf(os.Stderr, "bench %s: %v\n", parsed.Command(), err)
		os.Exit(1)
	}
}
