package rig

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/scripts/internal/must"
)

//go:embed wrk.lua
var wrkScript []byte

// Wrk is the program that drives HTTP servers (https://github.com/wg/wrk), with how
// much it does at a time.
type Wrk struct {
	program     string
	script      string
	threads     int
	connections int
}

// NewWrk finds the program, and puts what it needs into the site's folder.
func (s *Site) NewWrk(threads, connections int) *Wrk {
	program, err := exec.LookPath("wrk")
	if err != nil {
		must.Succeed(errors.New("wrk is not installed; it makes the requests. On Debian and Ubuntu: apt-get install wrk"))
	}
	w := &Wrk{program: program, script: filepath.Join(s.Folder, "wrk.lua"), threads: threads, connections: connections}
	must.Succeed(os.WriteFile(w.script, wrkScript, 0o600))
	return w
}

// Target is a server with a file of requests.
type Target struct {
	Name     string
	Addr     string
	Pid      int
	Requests string
	Headers  []string // of the client, for each request
	Refusals int64    // answers of 400 and above for each request: 0 or 1
}

// Answered is what a run found.
type Answered struct {
	Requests     int64         `json:"requests"`
	Microseconds int64         `json:"microseconds"`
	Failed       int64         `json:"failed"`  // connections that broke or were too slow
	Refused      int64         `json:"refused"` // answers of 400 and above
	P50          int64         `json:"p50"`     // µs
	P99          int64         `json:"p99"`     // µs
	CPU          time.Duration `json:"-"`       // of the server
}

// Run sends requests to a server for a duration, in whole seconds.
func (w *Wrk) Run(ctx context.Context, t Target, duration time.Duration) Answered {
	before := must.Get(UsageOf(t.Pid)).CPU
	args := []string{
		"--threads", strconv.Itoa(w.threads), "--connections", strconv.Itoa(w.connections),
		"--duration", strconv.Itoa(int(duration.Seconds())) + "s", "--latency", "--script", w.script,
	}
	for _, header := range t.Headers {
		args = append(args, "--header", header)
	}
	out, err := exec.CommandContext(ctx, w.program, append(args, "http://"+t.Addr, t.Requests)...).CombinedOutput()
	if err != nil {
		must.Succeed(fmt.Errorf("wrk: %w\n%s", err, out))
	}
	found := must.Get(parseAnswered(string(out)))
	if want := found.Requests * t.Refusals; found.Refused != want {
		must.Succeed(fmt.Errorf("%s: %d of %d answers were errors, not %d", t.Name, found.Refused, found.Requests, want))
	}
	found.CPU = must.Get(UsageOf(t.Pid)).CPU - before
	return found
}

func parseAnswered(output string) (l Answered, err error) {
	_, result, found := strings.Cut(output, "\nresult ")
	if !found {
		return l, fmt.Errorf("wrk gives no result:\n%s", output)
	}
	if err := json.Unmarshal([]byte(result), &l); err != nil {
		return l, fmt.Errorf("wrk's result %q: %w", result, err)
	}
	if l.Failed > 0 {
		return l, fmt.Errorf("%d of %d requests failed", l.Failed, l.Requests+l.Failed)
	}
	if l.Requests == 0 || l.Microseconds == 0 {
		return l, errors.New("wrk got no answer")
	}
	return l, nil
}

// Rate is in requests a second.
func (l Answered) Rate() float64 { return float64(l.Requests) / float64(l.Microseconds) * 1e6 }

// Cost is the server's CPU time for each request, in microseconds.
func (l Answered) Cost() float64 { return l.CPU.Seconds() * 1e6 / float64(l.Requests) }

// P50Millis is the 50th percentile of the latencies in milliseconds.
func (l Answered) P50Millis() float64 { return float64(l.P50) / 1000 }

// P99Millis is the 99th percentile of the latencies in milliseconds.
func (l Answered) P99Millis() float64 { return float64(l.P99) / 1000 }

// conditionals is how many orders are requested with their tag.
const conditionals = 20_000

// Requests are files for Run: what to ask for.
type Requests struct {
	Hits, NotFound string
	NotModified    string // after Ask
	Size           int    // of an answer on average, in bytes; after Ask

	uids []string
}

// ChooseRequests takes orders at random from the database, at most so many.
func (s *Site) ChooseRequests(ctx context.Context, database string, most int) (r Requests) {
	r.uids = Query[string](ctx, database, "SELECT order_uid FROM orders ORDER BY random() LIMIT $1", most)
	folder := must.Get(os.MkdirTemp(s.Folder, "requests-"))
	r.Hits, r.NotFound, r.NotModified = filepath.Join(folder, "hits"), filepath.Join(folder, "not-found"), filepath.Join(folder, "not-modified")
	var hits, unknown strings.Builder
	for _, uid := range r.uids {
		hits.WriteString("/order/" + uid + "\n")
		unknown.WriteString("/order/" + reverse(uid) + "-none\n")
	}
	must.Succeed(errors.Join(os.WriteFile(r.Hits, []byte(hits.String()), 0o600), os.WriteFile(r.NotFound, []byte(unknown.String()), 0o600)))
	return r
}

// Ask requests some of the orders from the API, checks its answers, and writes the
// file of conditional requests.
func (r *Requests) Ask(ctx context.Context, from *Reader) {
	var lines strings.Builder
	total, uids := 0, r.uids[:min(len(r.uids), conditionals)]
	for _, uid := range uids {
		answer := from.Order(ctx, http.DefaultClient, uid, "")
		tag := answer.Header.Get("ETag")
		if answer.Status != http.StatusOK || tag == "" || !bytes.Contains(answer.Body, []byte(`"order_uid":"`+uid+`"`)) {
			must.Succeed(fmt.Errorf("the answer to a request for order %s: status %d, tag %q, %s", uid, answer.Status, tag, answer.Body))
		}
		total += len(answer.Body)
		lines.WriteString("/order/" + uid + " " + tag + "\n")
	}
	r.Size = total / len(uids)
	must.Succeed(os.WriteFile(r.NotModified, []byte(lines.String()), 0o600))
}

// reverse makes a uid that no order has but that looks like the others.
func reverse(uid string) string {
	b := []byte(uid)
	slices.Reverse(b)
	return string(b)
}
