package read

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
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

// target is what wrk drives.
type target struct {
	rig.Target
	goal float64 // × bare gin's rate, at least; 0: none
}

const bareName = "bare gin, constant bytes"

type sample struct {
	rig.Answered
	bare rig.Answered // of the bare server beside it, given the same requests
}

func (s sample) rateRatio() float64 { return s.Rate() / s.bare.Rate() }
func (s sample) p99Ratio() float64  { return s.P99Millis() / s.bare.P99Millis() }

// rounds measures the targets in turn, and the bare server with the same requests right
// before or after each. A warm-up of each comes first and does not count.
func (b *Benchmark) rounds(ctx context.Context, targets []target) report.Samples[sample] {
	bare := rig.Target{Name: bareName, Addr: b.bare.Addr, Pid: b.bare.Pid(), Requests: b.main.requests.Hits}
	for _, t := range append([]target{{Target: bare}}, targets...) {
		b.wrk.Run(ctx, t.Target, time.Second)
	}
	bareFirst := false
	var contenders []rig.Contender[sample]
	for _, t := range targets {
		contenders = append(contenders, rig.Contender[sample]{Name: t.Name, Run: func(ctx context.Context) (s sample) {
			bare.Requests, bare.Headers = t.Requests, t.Headers
			if bareFirst = !bareFirst; bareFirst {
				s.bare = b.wrk.Run(ctx, bare, b.Duration)
				s.Answered = b.wrk.Run(ctx, t.Target, b.Duration)
			} else {
				s.Answered = b.wrk.Run(ctx, t.Target, b.Duration)
				s.bare = b.wrk.Run(ctx, bare, b.Duration)
			}
			return s
		}})
	}
	return rig.Measure(ctx, b.Rounds, contenders, func(s sample) string {
		return fmt.Sprintf("%8.0f requests/s   %4.2f × bare gin   p99 %6.2f ms, %4.2f ×   %5.1f µs of CPU a request",
			s.Rate(), s.rateRatio(), s.P99Millis(), s.p99Ratio(), s.Cost())
	})
}

var columns = []report.Column[sample]{
	{Name: "requests/s", Figure: sample.Rate, Format: report.Thousands[float64]},
	{Name: "× bare gin", Figure: sample.rateRatio, Format: report.Decimals(2)},
	{Name: "p50 ms", Figure: sample.P50Millis, Format: report.Decimals(2)},
	{Name: "p99 ms", Figure: sample.P99Millis, Format: report.Decimals(2)},
	{Name: "× bare gin", Figure: sample.p99Ratio, Format: report.Decimals(2)},
	{Name: "server's CPU µs/request", Figure: sample.Cost, Format: report.Decimals(1)},
}

// table has a row for each target, and before them one for all measurements of the
// bare server.
func table(title string, targets []target, measured report.Samples[sample]) string {
	names := []string{bareName}
	shown := maps.Clone(measured)
	for _, t := range targets {
		for _, s := range measured[t.Name] {
			shown[bareName] = append(shown[bareName], sample{s.bare, s.bare})
		}
		names = append(names, t.Name)
	}
	return shown.Table(title, columns, names...)
}

func goals(targets []target, measured report.Samples[sample]) (text string) {
	for _, t := range targets {
		if t.goal > 0 {
			text += fmt.Sprintf("- %s: %.2f × bare gin (goal: at least %.2f), p99 %.2f × (goal: at most 1.20)\n", t.Name,
				measured.Median(t.Name, sample.rateRatio), t.goal, measured.Median(t.Name, sample.p99Ratio))
		}
	}
	return text
}

// sizes compares hits among other numbers of orders, by their ratios to bare gin.
func (b *Benchmark) sizes(targets []target, measured report.Samples[sample]) (text string) {
	usual := measured.Median(targets[0].Name, sample.rateRatio)
	for _, t := range targets[len(targets)-len(b.others):] {
		text += fmt.Sprintf("- %s: %.2f × the rate among %s (goal: within 15 %%)\n", t.Name, measured.Median(t.Name, sample.rateRatio)/usual, report.Thousands(b.main.orders))
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

func serveBare(argument string) {
	addr, rest, _ := strings.Cut(argument, " ")
	length, headers, _ := strings.Cut(rest, " ")
	var further http.Header
	size := must.Get(strconv.Atoi(length))
	must.Succeed(json.Unmarshal([]byte(cmp.Or(headers, "{}")), &further))
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	body := bytes.Repeat([]byte("x"), size)
	engine.GET("/order/:order_uid", func(c *gin.Context) {
		maps.Copy(c.Writer.Header(), further)
		c.Data(http.StatusOK, "application/json", body)
	})
	// The time-outs of every public server, read-api's too.
	server := &http.Server{
		Addr: addr, Handler: engine, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	must.Succeed(server.ListenAndServe())
}
