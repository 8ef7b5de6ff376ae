package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/report"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/bench/internal/stats"
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
	{"orderctl dlq list --reason --path", []string{"dlq", "list", "--reason", wanted.reason, "--path", "items[].price", "--output", "json"},
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
	if r.written, err = fill(ctx, broker.Addr, letters, s.Partitions); err != nil {
		return r, err
	}
	for round := range s.Rounds {
		for i := range contenders {
			c := contenders[(round+i)%len(contenders)]
			one, err := c.run(ctx, s, broker.Addr, r)
			if err != nil {
				return r, fmt.Errorf("%s: %w", c.name, err)
			}
			program.Progress("%-34s %6.2f s, %9s letters/s, %4d MiB", c.name, one.took.Seconds(), report.Thousands(r.rate(one)), one.peak>>20)
			r.samples[c.name] = append(r.samples[c.name], one)
		}
	}
	return r, nil
}

func (r *results) rate(s sample) float64 { return float64(r.letters) / s.took.Seconds() }

// run starts the contender and waits for its end.
func (c *contender) run(ctx context.Context, s *settings, addr string, r results) (sample, error) {
	executable, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	if c.args != nil {
		if executable, err = filepath.Abs(filepath.Join(s.Binaries, "orderctl")); err != nil {
			return sample{}, err
		}
	}
	cmd := exec.CommandContext(ctx, executable, c.args...)
	cmd.Dir = os.TempDir() // no .env of the caller's
	cmd.Env = append(os.Environ(), "KAFKA_BROKERS="+addr, "KAFKA_DLQ_TOPIC="+topicName)
	if c.args == nil {
		cmd.Env = append(cmd.Env, consumerVariable+"="+addr)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	peak := watchPeak(cmd.Process.Pid)
	err = cmd.Wait()
	one := sample{took: time.Since(began), peak: peak()}
	if err != nil {
		return sample{}, fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	one.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return one, c.check(stdout.Bytes(), r.written, r.letters)
}

// looks is how often a process's memory is looked at. What it had at most is kept
// by the system until it ends, so only the last moments can be missed.
const looks = 2 * time.Millisecond

// watchPeak follows the most memory that a process has had, until it has ended and
// the result is asked for. (What the system tells of an ended child counts the
// parent's memory in, which the child had for a moment.)
func watchPeak(pid int) (peak func() int64) {
	var most int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			if _, now, err := procfs.Memory(pid); err == nil {
				most = max(most, now)
			}
			select {
			case <-stop:
				return
			case <-time.After(looks):
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-stopped
		return most
	}
}

// table compares the contenders.
func (r *results) table() string {
	table := report.Table{
		Title: fmt.Sprintf("%s dead letters in %d partitions, %s bytes each with headers, one in %d resolved",
			report.Thousands(r.letters), r.partitions, report.Thousands(r.written.bytes/int64(r.written.records)), resolvedShare),
		Columns: []string{"", "seconds", "letters/s", "× bare", "client µs/letter", "peak MiB"},
	}
	for _, c := range contenders {
		samples := r.samples[c.name]
		table.Add(c.name,
			fmt.Sprintf("%.2f", stats.MedianOf(samples, func(s sample) float64 { return s.took.Seconds() })),
			report.Thousands(stats.MedianOf(samples, r.rate)),
			fmt.Sprintf("%.2f", stats.RatioOf(samples, r.samples[bare], r.rate)),
			fmt.Sprintf("%.2f", stats.MedianOf(samples, func(s sample) float64 { return float64(s.cpu.Microseconds()) / float64(r.letters) })),
			fmt.Sprint(r.peak(c.name)>>20))
	}
	return table.Markdown()
}

func (r *results) peak(name string) int64 {
	return stats.MedianOf(r.samples[name], func(s sample) int64 { return s.peak })
}

// goals says whether the promises hold, by the largest topic; and what a letter
// more costs of memory.
func goals(all []results) string {
	var b strings.Builder
	last := all[len(all)-1]
	for _, c := range contenders[1:] {
		fmt.Fprintf(&b, "- %s: %.2f × the bare consumer's speed (goal: at least 0.67)\n", c.name, stats.RatioOf(last.samples[c.name], last.samples[bare], last.rate))
	}
	if first := all[0]; len(all) > 1 {
		for _, c := range contenders[1:] {
			fmt.Fprintf(&b, "- %s: %d bytes of peak memory a letter more, from %s to %s letters\n", c.name,
				(last.peak(c.name)-first.peak(c.name))/int64(last.letters-first.letters), report.Thousands(first.letters), report.Thousands(last.letters))
		}
	}
	return b.String()
}
