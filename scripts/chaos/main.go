// Command chaos kills ingest workers and PostgreSQL under load, and then proves
// that every record is accounted for: stored as it was sent, a duplicate, or a
// dead letter with its bytes untouched; and that the committed offsets are the
// partitions' ends. It exits 1 otherwise.
//
// It runs an embedded broker and a private PostgreSQL of its own, and several
// processes of the real worker.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// options are what the flags say.
type options struct {
	kills   int
	seed    uint64
	workers int
	rate    int
	binary  string
}

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.kills, "kills", 100, "how many times to kill a worker with SIGKILL; the other strikes come on top")
	flags.Uint64Var(&o.seed, "seed", 0, "seed of the load and the strikes (0: a random one)")
	flags.IntVar(&o.workers, "workers", 3, "worker processes")
	flags.IntVar(&o.rate, "rate", 1000, "records a second, about")
	flags.StringVar(&o.binary, "worker", "bin/ingest-worker", "the worker's binary; make build makes it")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 || o.kills < 0 || o.workers < 1 || o.rate < 1 {
		_, _ = fmt.Fprintln(stderr, "chaos: takes flags only; --kills from 0, --workers and --rate from 1")
		return 2
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := chaos(ctx, o, stdout, stderr)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "chaos: %v (again: --seed %d)\n", err, o.seed)
		return 1
	}
	if !ok {
		return 1
	}
	return 0
}

// chaos strikes until enough workers were killed, waits until everything is
// taken in, and compares. ok says that nothing is lost or too much.
func chaos(ctx context.Context, o options, stdout, stderr io.Writer) (ok bool, err error) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(stderr, format+"\n", args...) }
	say("seed %d: %d kills, %d workers, %d records/s", o.seed, o.kills, o.workers, o.rate)
	s, err := start(ctx, o)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil || !ok {
			say("the workers' output is in %s", s.logs)
		}
		s.stop(err == nil && ok)
	}()

	load := newLoad(rand.New(rand.NewPCG(o.seed, 1)), s.client)
	producing, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	produced := make(chan error, 1)
	go func() { produced <- load.run(producing, o.rate) }()

	strikes, err := s.strike(ctx, rand.New(rand.NewPCG(o.seed, 2)), o.kills, say)
	stopLoad()
	if loadErr := <-produced; err == nil {
		err = loadErr
	}
	if err != nil {
		return false, err
	}
	say("striking is over; %d records were sent", len(load.records))
	if err := s.drain(ctx); err != nil {
		return false, err
	}
	if err := s.stopWorkers(ctx); err != nil {
		return false, err
	}
	found, err := s.verify(ctx, load)
	if err != nil {
		return false, err
	}
	report(stdout, strikes, load, found)
	return found.exact(), nil
}
