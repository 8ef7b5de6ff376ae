package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/report"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// sample is one run of a contender.
type sample struct {
	took time.Duration
	cpu  time.Duration
	peak int64 // bytes of resident memory
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
	samples    map[string][]sample
}

// measureTopic measures the contenders on a topic of so many letters.
func measureTopic(ctx context.Context, s *settings, letters int) (r results, err error) {
	broker, err := rig.StartBroker()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, broker.Stop()) }()
	program.Progress("writing %d letters", letters)
	r = results{letters: letters, partitions: s.Partitions, samples: map[string][]sample{}}
	if r.written, err = fill(ctx, broker, letters, s.Partitions); err != nil {
		return r, err
	}
	return r, program.Rounds(s.Rounds, len(contenders), func(i int) error {
		c := contenders[i]
		one, err := c.run(ctx, s, broker.Addr, r)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		program.Progress("%-34s %6.2f s, %9s letters/s, %4d MiB", c.name, one.took.Seconds(), report.Thousands(r.rate(one)), one.peak>>20)
		r.samples[c.name] = append(r.samples[c.name], one)
		return nil
	})
}

func (r *results) rate(s sample) float64 { return float64(r.letters) / s.took.Seconds() }

// run starts the contender and waits for its end.
func (c *contender) run(ctx context.Context, s *settings, addr string, r results) (one sample, err error) {
	cmd, err := consumerRole.Command(ctx, addr)
	if err != nil {
		return one, err
	}
	if c.args != nil {
		program, err := filepath.Abs(filepath.Join(s.Binaries, "orderctl"))
		if err != nil {
			return one, err
		}
		cmd = exec.CommandContext(ctx, program, c.args...)
		cmd.Dir = os.TempDir() // no .env of the caller's
		cmd.Env = append(os.Environ(), "KAFKA_BROKERS="+addr, "KAFKA_DLQ_TOPIC="+topicName)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return one, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for running := true; running; {
		// The kernel keeps the peak until the process ends, so only the last moment
		// is missed. (What it reports of an ended child includes the parent's memory,
		// which the child had between fork and exec.)
		if _, peak, err := procfs.Memory(cmd.Process.Pid); err == nil {
			one.peak = max(one.peak, peak)
		}
		select {
		case err = <-ended:
			running = false
		case <-time.After(2 * time.Millisecond):
		}
	}
	one.took = time.Since(began)
	if err != nil {
		return one, fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	one.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return one, c.check(stdout.Bytes(), r.written, r.letters)
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
	columns := []report.Column[sample]{
		{Name: "seconds", Figure: func(s sample) float64 { return s.took.Seconds() }, Format: report.Decimals(2)},
		{Name: "letters/s", Figure: r.rate, Format: report.Thousands[float64]},
		{Name: "× bare", Figure: r.rate, Format: report.Decimals(2), Ratio: true},
		{Name: "client µs/letter", Figure: func(s sample) float64 { return float64(s.cpu.Microseconds()) / float64(r.letters) }, Format: report.Decimals(2)},
		{Name: "peak MiB", Figure: func(s sample) float64 { return float64(s.peak >> 20) }, Format: report.Decimals(0)},
	}
	var rows []report.Row[sample]
	for _, c := range contenders {
		rows = append(rows, report.Row[sample]{Name: c.name, Samples: r.samples[c.name], Base: r.samples[bare]})
	}
	return report.Compare(fmt.Sprintf("%s dead letters in %d partitions, %s bytes each with headers, one in %d resolved",
		report.Thousands(r.letters), r.partitions, report.Thousands(r.written.bytes/int64(r.written.records)), resolvedShare), columns, rows)
}

func (r *results) peak(name string) int64 {
	return report.MedianOf(r.samples[name], func(s sample) int64 { return s.peak })
}

// goals says how far the goals are, by the largest topic, and what each further
// letter costs of memory.
func goals(all []results) (text string) {
	last := all[len(all)-1]
	for _, c := range contenders[1:] {
		text += fmt.Sprintf("- %s: %.2f × the bare consumer's speed (goal: at least 0.67)\n", c.name, report.RatioOf(last.samples[c.name], last.samples[bare], last.rate))
	}
	if first := all[0]; len(all) > 1 {
		for _, c := range contenders[1:] {
			text += fmt.Sprintf("- %s: %d bytes of peak memory a letter more, from %s to %s letters\n", c.name,
				(last.peak(c.name)-first.peak(c.name))/int64(last.letters-first.letters), report.Thousands(first.letters), report.Thousands(last.letters))
		}
	}
	return text
}
