package rig

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/orderhub/orderhub/scripts/internal/report"
)

// Flags are the flags that all benchmarks have.
type Flags struct {
	Binaries string `name:"bin" default:"bin" help:"Folder with the services and orderctl, as make build fills it."`
	Document string `help:"Markdown file whose tables are replaced (default: none)."`
	Profiles string `help:"Folder for CPU profiles of the services under load (they cost a little speed)."`
	Smoke    bool   `help:"Only see whether it works, in seconds."`

	Arguments []string `kong:"-"` // that repeat the run
}

// Smoke resolves the flags that were not chosen to what their tag `smoke` says, for a
// run that only has to show that the benchmark works.
func Smoke(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !flag.Tag.Has("smoke") {
		return nil, nil //nolint:nilnil // kong's way to say that there is none
	}
	return flag.Tag.Get("smoke"), nil
}

// Contender is one of those that are measured in turn.
type Contender[S any] struct {
	Name string
	Run  func(context.Context) S
}

// Measure has each contender run once a round. Each round begins with another
// contender, so that none always runs first. tell describes a sample.
func Measure[S any](ctx context.Context, rounds int, contenders []Contender[S], tell func(S) string) report.Samples[S] {
	samples := report.Samples[S]{}
	for round := range rounds {
		Progress("round %d of %d", round+1, rounds)
		for i := range contenders {
			c := contenders[(round+i)%len(contenders)]
			s := c.Run(ctx)
			Progress("%-34s %s", c.Name, tell(s))
			samples[c.Name] = append(samples[c.Name], s)
		}
	}
	return samples
}

// Progress writes a line about the progress to standard error.
func Progress(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
