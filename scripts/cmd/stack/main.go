// Command stack is what `make run` runs: all of Orderhub on one machine.
//
// It starts an embedded Kafka-protocol broker and a private PostgreSQL (or uses
// those that KAFKA_BROKERS and DATABASE_URL name), applies the migrations, runs
// the services from the folder of binaries, publishes a few sample orders the
// first time, and merges the services' logs. It runs until SIGINT, SIGTERM or
// SIGHUP, or until a service ends by itself: then it stops the others and exits
// with 1, since what remains would be half a pipeline.
//
// Nothing that it started outlives it, even when it is killed. With
// --stop-with PID it also stops when that process, its parent, is gone:
//
//	run: build
//		@exec bin/stack --stop-with $$PPID
//
// Exit codes: 0 stopped on request, 1 failed, 2 wrong usage or settings.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/orderhub/orderhub/libs/platform/config"
)

const (
	exitFailed = 1
	exitUsage  = 2

	parentPolling = 200 * time.Millisecond
	impatience    = time.Second // a second signal after that ends everything at once
)

var errStop = errors.New("stop requested")

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(arguments []string, stdout, stderr io.Writer) int {
	var cfg settings
	flags := flag.NewFlagSet("stack", flag.ContinueOnError)
	flags.SetOutput(stderr)
	binaries := flags.String("bin", "bin", "folder of the services' binaries")
	parent := flags.Int("stop-with", 0, "stop when this process, which must be the parent, is gone")
	flags.Usage = func() {
		_ = config.WriteHelp(stderr, "stack", "Runs Orderhub on this machine: broker, database, worker and API.", &cfg)
		_, _ = fmt.Fprintln(stderr, "\nFlags:")
		flags.PrintDefaults()
	}
	if err := flags.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return exitUsage
	}
	if err := config.Load(&cfg); err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return exitUsage
	}

	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	watchSignals(stop)
	if *parent != 0 {
		go watchParent(ctx, *parent, stop)
	}
	out := newOutput(stdout)
	if err := newStack(cfg, *binaries, out).run(ctx, stop); err != nil {
		out.say("%v", err)
		return exitFailed
	}
	return 0
}

// watchSignals requests a stop at the first signal. A second signal ends this
// process and its children at once. It must come a while later, since the same
// signal often comes twice: to the process group, and passed on by make.
func watchSignals(stop context.CancelCauseFunc) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		stop(errStop)
		first := time.Now()
		for range signals {
			if time.Since(first) > impatience {
				os.Exit(exitFailed)
			}
		}
	}()
}

// watchParent requests a stop when the process pid, the parent, has ended: then
// the parent is another process.
func watchParent(ctx context.Context, pid int, stop context.CancelCauseFunc) {
	ticker := time.NewTicker(parentPolling)
	defer ticker.Stop()
	for os.Getppid() == pid {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
	stop(fmt.Errorf("process %d, which this was to stop with, is gone", pid))
}
