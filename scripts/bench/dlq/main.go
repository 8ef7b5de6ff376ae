// Command dlq measures how fast orderctl finds its way in a dead-letter topic,
// against how fast that topic can be consumed at all: a bare franz-go consumer
// that counts records.
//
// Each run is a process of its own, so that its memory is its own as well, and
// starting it counts. The embedded broker has its own process too.
package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/report"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

const name = "bench-dlq"

func main() {
	program.Main(name, parseFlags, bench, rig.RunBroker, runConsumer)
}

// settings are the flags.
type settings struct {
	letters    program.List
	partitions int
	rounds     int
	binaries   string
	document   string
}

// fullSize is the number of letters from which on the result goes into the
// document without being asked for.
const fullSize = 1_000_000

func parseFlags(args []string, output io.Writer) (settings, error) {
	s := settings{letters: program.List{fullSize / 10, fullSize}}
	flags := program.NewFlags(name, "the speed and memory of orderctl dlq against a bare consumer.",
		fmt.Sprintf("with --letters from %d on", fullSize), output)
	flags.Var(&s.letters, "letters", "letters in the topic: a table for each number")
	flags.IntVar(&s.partitions, "partitions", 4, "partitions of the topic")
	flags.IntVar(&s.rounds, "rounds", 3, "how often each measurement is made; the table has medians")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	flags.Shrink(map[string]func(){
		"letters": func() { s.letters = program.List{2000} },
		"rounds":  func() { s.rounds = 1 },
	}, func() bool { return len(s.letters) > 0 && s.letters[len(s.letters)-1] >= fullSize })
	s.binaries, s.document = flags.Binaries, flags.Document
	if len(s.letters) == 0 {
		return s, fmt.Errorf("--letters: at least one number")
	}
	return s, program.AtLeast(1, map[string]int{"partitions": s.partitions, "rounds": s.rounds})
}

// bench fills a topic for each number of letters, and measures the contenders in
// turn.
func bench(ctx context.Context, s settings) (err error) {
	program.Progress("starting the broker")
	var body strings.Builder
	var all []results
	for _, letters := range s.letters {
		r, err := measureTopic(ctx, s, letters)
		if err != nil {
			return err
		}
		all = append(all, r)
		body.WriteString(r.table() + "\n")
	}
	body.WriteString(goals(all) + "\n")
	body.WriteString(heading())
	fmt.Println(body.String())
	if s.document == "" {
		return nil
	}
	return report.Save(s.document, "dlq", body.String())
}
