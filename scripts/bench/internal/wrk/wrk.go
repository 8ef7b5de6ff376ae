// Package wrk drives HTTP servers with the program of that name
// (https://github.com/wg/wrk), and makes the requests for it.
package wrk

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed wrk.lua
var script []byte

// Wrk is the program, with how much it does at a time.
type Wrk struct {
	program     string
	script      string
	threads     int
	connections int
}

// ErrMissing says that the program is not installed.
var ErrMissing = errors.New("wrk is not installed; it makes the requests. On Debian and Ubuntu: apt-get install wrk")

// New finds the program, and puts what it needs into folder.
func New(folder string, threads, connections int) (*Wrk, error) {
	program, err := exec.LookPath("wrk")
	if err != nil {
		return nil, ErrMissing
	}
	w := &Wrk{program: program, script: filepath.Join(folder, "wrk.lua"), threads: threads, connections: connections}
	return w, os.WriteFile(w.script, script, 0o600)
}

// Load is what a run found.
type Load struct {
	Requests     int64 `json:"requests"`
	Microseconds int64 `json:"microseconds"`
	Bytes        int64 `json:"bytes"`
	Failed       int64 `json:"failed"`  // connections that broke or were too slow
	Refused      int64 `json:"refused"` // answers of 400 and above
	P50          int64 `json:"p50"`     // µs
	P99          int64 `json:"p99"`     // µs
}

// Run sends requests from a file to a server for a duration, in whole seconds. Each
// request has these header lines besides.
func (w *Wrk) Run(ctx context.Context, addr, requests string, duration time.Duration, headers ...string) (Load, error) {
	args := []string{
		"--threads", strconv.Itoa(w.threads), "--connections", strconv.Itoa(w.connections),
		"--duration", strconv.Itoa(int(duration.Seconds())) + "s", "--latency", "--script", w.script,
	}
	for _, header := range headers {
		args = append(args, "--header", header)
	}
	out, err := exec.CommandContext(ctx, w.program, append(args, "http://"+addr, requests)...).CombinedOutput()
	if err != nil {
		return Load{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	return parseLoad(string(out))
}

func parseLoad(output string) (l Load, err error) {
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
func (l Load) Rate() float64 { return float64(l.Requests) / float64(l.Microseconds) * 1e6 }
