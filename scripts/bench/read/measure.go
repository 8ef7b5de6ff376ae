package read

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// target is what wrk drives: a server with a file of requests.
type target struct {
	name     string
	addr     string
	pid      int
	requests string
	headers  []string // of the client, for each request
	refusals int64    // answers of 400 and above for each request: 0 or 1
	goal     float64  // × bare gin's rate, at least; 0: none
}

// listed is how many orders a list has, unless it has fewer.
const listed = 20

const bareName = "bare gin, constant bytes"

type sample struct {
	rig.Answered
	cpu  time.Duration // of the server
	bare *sample       // of the bare server beside it, given the same requests
}

func (s sample) cost() float64      { return s.cpu.Seconds() * 1e6 / float64(s.Requests) }
func (s sample) p50() float64       { return float64(s.P50) / 1000 }
func (s sample) p99() float64       { return float64(s.P99) / 1000 }
func (s sample) rateRatio() float64 { return s.Rate() / s.bare.Rate() }
func (s sample) p99Ratio() float64  { return s.p99() / s.bare.p99() }

// rounds measures the targets in turn, and the bare server with the same requests right
// before or after each. A warm-up of each comes first and does not count.
func (b *Benchmark) rounds(ctx context.Context, targets []target) report.Samples[sample] {
	bare := target{name: bareName, addr: b.bare.Addr, pid: b.bare.Pid(), requests: b.main.requests.Hits}
	for _, t := range append([]target{bare}, targets...) {
		b.measure(ctx, t, time.Second)
	}
	bareFirst := false
	var contenders []rig.Contender[sample]
	for _, t := range targets {
		contenders = append(contenders, rig.Contender[sample]{Name: t.name, Run: func(ctx context.Context) sample {
			bare.requests, bare.headers = t.requests, t.headers
			var found, beside sample
			if bareFirst = !bareFirst; bareFirst {
				beside = b.measure(ctx, bare, b.Duration)
				found = b.measure(ctx, t, b.Duration)
			} else {
				found = b.measure(ctx, t, b.Duration)
				beside = b.measure(ctx, bare, b.Duration)
			}
			beside.bare, found.bare = &beside, &beside
			return found
		}})
	}
	return rig.Measure(ctx, b.Rounds, contenders, func(s sample) string {
		return fmt.Sprintf("%8.0f requests/s   %4.2f × bare gin   p99 %6.2f ms, %4.2f ×   %5.1f µs of CPU a request",
			s.Rate(), s.rateRatio(), s.p99(), s.p99Ratio(), s.cost())
	})
}

func (b *Benchmark) measure(ctx context.Context, t target, duration time.Duration) sample {
	before := must.Get(rig.UsageOf(t.pid)).CPU
	found := b.wrk.Run(ctx, t.addr, t.requests, duration, t.headers...)
	if want := found.Requests * t.refusals; found.Refused != want {
		must.Succeed(fmt.Errorf("%s: %d of %d answers were errors, not %d", t.name, found.Refused, found.Requests, want))
	}
	return sample{Answered: found, cpu: must.Get(rig.UsageOf(t.pid)).CPU - before}
}

var columns = []report.Column[sample]{
	{Name: "requests/s", Figure: sample.Rate, Format: report.Thousands[float64]},
	{Name: "× bare gin", Figure: sample.rateRatio, Format: report.Decimals(2)},
	{Name: "p50 ms", Figure: sample.p50, Format: report.Decimals(2)},
	{Name: "p99 ms", Figure: sample.p99, Format: report.Decimals(2)},
	{Name: "× bare gin", Figure: sample.p99Ratio, Format: report.Decimals(2)},
	{Name: "server's CPU µs/request", Figure: sample.cost, Format: report.Decimals(1)},
}

// table has a row for each target, and before them one for all measurements of the
// bare server.
func table(title string, targets []target, measured report.Samples[sample]) string {
	rows := []report.Row[sample]{{Name: bareName}}
	for _, t := range targets {
		for _, s := range measured[t.name] {
			rows[0].Samples = append(rows[0].Samples, *s.bare)
		}
		rows = append(rows, report.Row[sample]{Name: t.name, Samples: measured[t.name]})
	}
	return report.Compare(title, columns, rows)
}

func goals(targets []target, measured report.Samples[sample]) (text string) {
	for _, t := range targets {
		if t.goal > 0 {
			text += fmt.Sprintf("- %s: %.2f × bare gin (goal: at least %.2f), p99 %.2f × (goal: at most 1.20)\n", t.name,
				measured.Median(t.name, sample.rateRatio), t.goal, measured.Median(t.name, sample.p99Ratio))
		}
	}
	return text
}

// listRatios compares lists from memory with those from PostgreSQL.
func listRatios(measured report.Samples[sample]) (text string) {
	for _, list := range lists {
		name := listName(list.name)
		text += fmt.Sprintf("- %s: %.0f × the rate of PostgreSQL (goal: at least %d)\n", name,
			measured.Median(name, sample.Rate)/measured.Median(name+fromPostgres, sample.Rate), listGoal)
	}
	return text
}

// sizes compares hits among other numbers of orders, by their ratios to bare gin.
func (b *Benchmark) sizes(targets []target, measured report.Samples[sample]) (text string) {
	usual := measured.Median(targets[0].name, sample.rateRatio)
	for _, t := range targets[len(targets)-len(b.others):] {
		text += fmt.Sprintf("- %s: %.2f × the rate among %s (goal: within 15 %%)\n", t.name, measured.Median(t.name, sample.rateRatio)/usual, report.Thousands(b.main.orders))
	}
	return text
}

func (b *Benchmark) memory() (text string) {
	for _, s := range b.subjects() {
		text += fmt.Sprintf("- %s orders%s: ready %.1f s after the start, with %d MiB resident, %d bytes an order\n",
			report.Thousands(s.orders), s.how, s.Restore.Seconds(), s.Memory>>20, s.Memory/int64(s.orders))
	}
	return text
}

// bareRole is the bare server. It is told the length of its answers in bytes, and the
// values of further headers of each answer, as JSON.
var bareRole = rig.NewRole("bare gin", serveBare)

func serveBare(argument string) error {
	addr, rest, _ := strings.Cut(argument, " ")
	length, headers, _ := strings.Cut(rest, " ")
	var further http.Header
	size, err := strconv.Atoi(length)
	if err = errors.Join(err, json.Unmarshal([]byte(cmp.Or(headers, "{}")), &further)); err != nil {
		return fmt.Errorf("address, length of the answers and headers: %w", err)
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	body := bytes.Repeat([]byte("x"), size)
	answer := func(body []byte) gin.HandlerFunc {
		return func(c *gin.Context) {
			maps.Copy(c.Writer.Header(), further)
			c.Data(http.StatusOK, "application/json", body)
		}
	}
	engine.GET("/order/:order_uid", answer(body))
	engine.GET("/api/v1/orders", answer(bytes.Repeat(body, listed)))
	// The time-outs of every public server, read-api's too.
	server := &http.Server{
		Addr: addr, Handler: engine, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	return server.ListenAndServe()
}
