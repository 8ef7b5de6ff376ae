// Package program is what the measuring programs' mains have in common: flags
// that all of them have, interruption, exit codes, and words on their way.
package program

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
)

// Document is where results go.
const Document = "docs/benchmarks.md"

// Main is a program: it parses the flags and runs until that is done, fails, or
// is interrupted. Where this process is the child of such a program, one of
// children does its task and returns true, and there is nothing else to do.
func Main[S any](name string, parse func(args []string, output io.Writer) (S, error), run func(context.Context, S) error, children ...func() bool) {
	for _, child := range children {
		if child() {
			return
		}
	}
	settings, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, settings); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Progress says on standard error what goes on.
func Progress(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// Flags are a program's flags. Those that all programs have are in it already.
type Flags struct {
	*flag.FlagSet
	Binaries string // folder with the services' binaries
	Document string // Markdown file for the results; "" for none
	Smoke    bool   // only see that the program works

	chosen map[string]bool
}

// NewFlags returns the flags that all programs have. documented says when a
// result goes into the document without being asked for.
func NewFlags(name, about, documented string, output io.Writer) *Flags {
	f := &Flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), chosen: map[string]bool{}}
	f.SetOutput(output)
	f.StringVar(&f.Binaries, "bin", "bin", "folder with the services and orderctl, as make build fills it")
	f.StringVar(&f.Document, "document", Document, "Markdown file whose tables are replaced; by default only "+documented+" (empty: none)")
	f.BoolVar(&f.Smoke, "smoke", false, "only see that it works: what takes seconds, no document")
	f.Usage = func() {
		_, _ = fmt.Fprintf(output, "%s: %s\nRun it from the repository's root after `make build`, on a quiet machine.\n\n", name, about)
		f.PrintDefaults()
	}
	return f
}

// DocumentIs sets another document than the usual one.
func (f *Flags) DocumentIs(file string) {
	f.Document, f.Lookup("document").DefValue = file, file
}

// Parse reads the arguments, which are flags only.
func (f *Flags) Parse(args []string) error {
	if err := f.FlagSet.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unknown argument %q; see --help", f.Arg(0))
	}
	f.Visit(func(one *flag.Flag) { f.chosen[one.Name] = true })
	return nil
}

// Chosen tells whether the flag was given.
func (f *Flags) Chosen(name string) bool { return f.chosen[name] }

// Shrink sets the flags that were not given to what a smoke run takes, where
// this is one, and lets small runs leave the document alone: full says whether
// this is a full one.
func (f *Flags) Shrink(smoke map[string]func(), full func() bool) {
	if f.Smoke {
		for name, shrink := range smoke {
			if !f.chosen[name] {
				shrink()
			}
		}
	}
	if !f.chosen["document"] && (f.Smoke || !full()) {
		f.Document = ""
	}
}

// AtLeast is an error that names each flag whose value is below least.
func AtLeast[N int | time.Duration | float64](least N, values map[string]N) error {
	var errs []error
	for name, value := range values {
		if value < least {
			errs = append(errs, fmt.Errorf("--%s: at least %v, not %v", name, least, value))
		}
	}
	return errors.Join(errs...)
}

// Sleep waits, unless ctx ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
