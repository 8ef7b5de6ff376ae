// Command dlq measures how fast orderctl reads a dead-letter topic, against how
// fast that topic can be consumed at all: a bare franz-go consumer that counts
// records.
//
// Each run is a process of its own, so that its memory is its own as well, and
// its start counts. The embedded broker has its own process too.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole, consumerRole) }

var benchmark = program.Named("dlq", "The speed and memory of orderctl dlq against a bare consumer.")

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

// contender is a program that reads the whole topic.
type contender struct {
	name string
	args []string // of orderctl; none: the bare consumer
	// check says whether what it printed is right.
	check func(out []byte, w written, letters int) error
}

const bare = "bare franz-go consumer"

var contenders = []contender{
	{bare, nil, func(out []byte, w written, _ int) error {
		if n, err := strconv.Atoi(strings.TrimSpace(string(out))); err != nil || n != w.records {
			return fmt.Errorf("consumed %q records of %d", out, w.records)
		}
		return nil
	}},
	{"orderctl dlq stats", []string{"dlq", "stats", "--output", "json"}, func(out []byte, w written, letters int) error {
		var counted struct {
			Open     int `json:"open"`
			Resolved int `json:"resolved"`
		}
		if err := json.Unmarshal(out, &counted); err != nil || counted.Open != letters-w.resolved || counted.Resolved != w.resolved {
			return fmt.Errorf("counted %d open and %d resolved of %d letters: %.200q", counted.Open, counted.Resolved, letters, out)
		}
		return nil
	}},
	{"orderctl dlq list --reason --path", []string{"dlq", "list", "--reason", wanted.Reason, "--path", "items[].price", "--output", "json"},
		func(out []byte, w written, _ int) error {
			if n := bytes.Count(out, []byte("\n")); n != w.listed {
				return fmt.Errorf("listed %d letters of %d", n, w.listed)
			}
			return nil
		}},
}

// results are the measurements of one topic.
type results struct {
	letters    int
	partitions int
	written    written
	samples    report.Samples[rig.Use]
}

// measureTopic measures the contenders on a topic of so many letters.
func measureTopic(ctx context.Context, s *settings, letters int) (r results, err error) {
	broker, err := rig.StartBroker()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, broker.Stop()) }()
	program.Progress("writing %d letters", letters)
	r = results{letters: letters, partitions: s.Partitions}
	if r.written, err = fill(ctx, broker, letters, s.Partitions); err != nil {
		return r, err
	}
	site := rig.Site{Flags: s.Common(), Broker: broker}
	var all []program.Contender[rig.Use]
	for _, c := range contenders {
		all = append(all, program.Contender[rig.Use]{Name: c.name, Run: func(ctx context.Context) (rig.Use, error) {
			cmd, err := consumerRole.Command(ctx, broker.Addr)
			if c.args != nil {
				cmd, err = site.OrderctlCommand(ctx, topicSource, c.args...)
			}
			if err != nil {
				return rig.Use{}, err
			}
			used, output, err := rig.RunProgram(cmd, letters)
			if err == nil {
				err = c.check(output, r.written, letters)
			}
			return used, err
		}})
	}
	r.samples, err = program.Measure(ctx, s.Rounds, all, func(u rig.Use) string {
		return fmt.Sprintf("%6.2f s, %9s letters/s, %4.0f MiB", u.Seconds(), report.Thousands(u.Rate()), u.PeakMiB())
	})
	return r, err
}

// consumerRole is the process of the bare consumer. Its argument is the broker's
// address.
var consumerRole = program.Role{Name: "consumer", Run: consume}

// consume reads the topic to its end, with franz-go's defaults, and prints the
// number of records.
func consume(addr string, _ io.Reader, out io.Writer) error {
	ctx := context.Background()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topicName), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topicName)
	if err != nil {
		return err
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	records := 0
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			records += len(p.Records)
			if n := len(p.Records); n > 0 && p.Records[n-1].Offset+1 >= left[p.Partition] {
				delete(left, p.Partition)
			}
		})
	}
	_, err = fmt.Fprintln(out, records)
	return err
}

// table compares the contenders.
func (r *results) table() string {
	title := fmt.Sprintf("%s dead letters in %d partitions, %s bytes each with headers, one in %d resolved",
		report.Thousands(r.letters), r.partitions, report.Thousands(r.written.bytes/int64(r.written.records)), resolvedShare)
	return r.samples.Table(title, []report.Column[rig.Use]{
		{Name: "seconds", Figure: rig.Use.Seconds, Format: report.Decimals(2)},
		{Name: "letters/s", Figure: rig.Use.Rate, Format: report.Thousands[float64]},
		{Name: "× bare", Figure: rig.Use.Rate, Format: report.Decimals(2), Ratio: true},
		{Name: "client µs/letter", Figure: rig.Use.ClientCost, Format: report.Decimals(2)},
		{Name: "peak MiB", Figure: rig.Use.PeakMiB, Format: report.Decimals(0)},
	}, contenders[0].name, contenders[1].name, contenders[2].name)
}

// goals says how far the goals are, by the largest topic, and what each further
// letter costs of memory.
func goals(all []results) (text string) {
	first, last := all[0], all[len(all)-1]
	for _, c := range contenders[1:] {
		text += fmt.Sprintf("- %s: %.2f × the bare consumer's speed (goal: at least 0.67)\n", c.name, last.samples.Ratio(c.name, bare, rig.Use.Rate))
	}
	if len(all) == 1 {
		return text
	}
	peak := func(u rig.Use) float64 { return float64(u.Peak) }
	for _, c := range contenders[1:] {
		text += fmt.Sprintf("- %s: %.0f bytes of peak memory a letter more, from %s to %s letters\n", c.name,
			(last.samples.Median(c.name, peak)-first.samples.Median(c.name, peak))/float64(last.letters-first.letters), report.Thousands(first.letters), report.Thousands(last.letters))
	}
	return text
}
