// Command dlq measures how fast orderctl reads a dead-letter topic, against how
// fast that topic can be consumed at all: a bare franz-go consumer that counts
// records.
//
// Each run is a process of its own, so that its memory is its own as well, and
// its start counts. The embedded broker has its own process too.
package main

import (
	"context"
	"errors"
	"strings"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole, consumerRole) }

var benchmark = program.Benchmark{
	Name:     "dlq",
	About:    "The speed and memory of orderctl dlq against a bare consumer.",
	Document: program.Benchmarks,
}

type settings struct {
	program.Flags
	Letters    []int `default:"100000,1000000" full:"1000000" smoke:"2000" min:"1" help:"Letters in the topic: a table for each number."`
	Partitions int   `default:"4" min:"1" help:"Partitions of the topic."`
	Rounds     int   `default:"3" smoke:"1" min:"1" help:"How often each measurement is made; the table has medians."`
}

// AfterApply is called by kong.
func (s *settings) AfterApply() error {
	if len(s.Letters) == 0 {
		return errors.New("--letters: at least one number")
	}
	return nil
}

// bench measures with each number of letters.
func bench(ctx context.Context, s *settings) error {
	var body strings.Builder
	var all []results
	for _, letters := range s.Letters {
		r, err := measureTopic(ctx, s, letters)
		if err != nil {
			return err
		}
		all = append(all, r)
		body.WriteString(r.table() + "\n")
	}
	body.WriteString(goals(all))
	return s.Save("dlq", body.String(), "")
}
