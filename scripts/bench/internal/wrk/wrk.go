// Package wrk drives HTTP servers with the program of that name
// (https://github.com/wg/wrk), and makes the requests for it.
package wrk

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

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/httpget"
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

// conditionals is how many orders are requested with their tag.
const conditionals = 20_000

// Requests are files for Run: what to ask for.
type Requests struct {
	Hits, NotFound string
	NotModified    string // after Ask
	Size           int    // of an answer on average, in bytes; after Ask

	uids []string
}

// Choose takes orders at random from the database, at most so many, and writes the
// files into a new folder below the given one.
func Choose(ctx context.Context, database, below string, most int) (r Requests, err error) {
	r.uids, err = rig.Query(ctx, database, pgx.RowTo[string], "SELECT order_uid FROM orders ORDER BY random() LIMIT $1", most)
	if err != nil {
		return r, err
	}
	if len(r.uids) == 0 {
		return r, errors.New("the database has no orders")
	}
	folder, err := os.MkdirTemp(below, "requests-")
	if err != nil {
		return r, err
	}
	r.Hits, r.NotFound, r.NotModified = filepath.Join(folder, "hits"), filepath.Join(folder, "not-found"), filepath.Join(folder, "not-modified")
	var hits, unknown strings.Builder
	for _, uid := range r.uids {
		hits.WriteString("/order/" + uid + "\n")
		unknown.WriteString("/order/" + reverse(uid) + "-none\n")
	}
	return r, errors.Join(os.WriteFile(r.Hits, []byte(hits.String()), 0o600), os.WriteFile(r.NotFound, []byte(unknown.String()), 0o600))
}

// Ask requests some of the orders from the API, checks its answers, and writes the
// file of conditional requests.
func (r *Requests) Ask(ctx context.Context, addr string) error {
	var lines strings.Builder
	total, uids := 0, r.uids[:min(len(r.uids), conditionals)]
	for _, uid := range uids {
		// As wrk asks: each encoding has its own tag.
		answer, err := httpget.Do(ctx, http.DefaultClient, "http://"+addr+"/order/"+uid, map[string]string{"Accept-Encoding": "identity"})
		if err != nil {
			return err
		}
		tag := answer.Header.Get("ETag")
		if answer.Status != http.StatusOK || tag == "" || !bytes.Contains(answer.Body, []byte(`"order_uid":"`+uid+`"`)) {
			return fmt.Errorf("the answer to a request for order %s: status %d, tag %q, %s", uid, answer.Status, tag, answer.Body)
		}
		total += len(answer.Body)
		lines.WriteString("/order/" + uid + " " + tag + "\n")
	}
	r.Size = total / len(uids)
	return os.WriteFile(r.NotModified, []byte(lines.String()), 0o600)
}

// reverse makes a uid that no order has but that looks like the others.
func reverse(uid string) string {
	b := []byte(uid)
	slices.Reverse(b)
	return string(b)
}
