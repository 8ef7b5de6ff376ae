package peers

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/httpget"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// server answers requests for orders.
type server struct {
	rig.Target
	ready time.Duration // after its start
}

// changeSeen is how long a server may take to show a change that was made by SQL.
const changeSeen = 5 * time.Second

// read makes the table of requests, of orders that are there and of orders that are not.
func (b *Benchmark) read(ctx context.Context) {
	b.site.Store(ctx, b.Orders, b.Items, nil)
	database, _ := b.site.Server.Fresh(ctx)
	wrk := b.site.NewWrk(2, b.Connections)
	requests := b.site.ChooseRequests(ctx, database, b.Orders)
	reader := b.site.StartReader(ctx, database)
	began := time.Now()
	child := readerRole.Serve(ctx, database)
	defer func() { must.Succeed(child.Kill()) }()
	servers := []server{
		{rig.Target{Name: "read-api", Addr: reader.Addr, Pid: reader.Pid()}, reader.Restore},
		{rig.Target{Name: "hand-written: gin, bun and a map", Addr: child.Addr, Pid: child.Pid()}, time.Since(began)},
	}
	var all []rig.Contender[rig.Answered]
	var names []string
	for _, kind := range []struct {
		name, file string
		refused    int64
	}{
		{"hits (200)", requests.Hits, 0}, {"not found (404)", requests.NotFound, 1},
	} {
		for _, s := range servers {
			t := s.Target
			t.Name, t.Requests, t.Refusals = s.Name+", "+kind.name, kind.file, kind.refused
			names = append(names, t.Name)
			all = append(all, rig.Contender[rig.Answered]{Name: t.Name, Run: func(ctx context.Context) rig.Answered { return wrk.Run(ctx, t, b.Duration) }})
		}
	}
	measured := rig.Measure(ctx, b.Rounds, all, func(a rig.Answered) string { return fmt.Sprintf("%8.0f requests/s", a.Rate()) })
	columns := []report.Column[rig.Answered]{
		{Name: "requests/s", Figure: rig.Answered.Rate, Format: report.Thousands[float64]},
		{Name: "p50 ms", Figure: rig.Answered.P50Millis, Format: report.Decimals(2)},
		{Name: "p99 ms", Figure: rig.Answered.P99Millis, Format: report.Decimals(2)},
		{Name: "server's CPU µs/request", Figure: rig.Answered.Cost, Format: report.Decimals(1)},
	}
	title := fmt.Sprintf("%s orders of %d items in memory, %d connections", report.Thousands(b.Orders), b.Items, b.Connections)
	text := measured.Table(title, columns, names...) + "\n"
	for _, s := range servers {
		text += fmt.Sprintf("- %s: ready %.1f s after its start, with %d MiB at most\n", s.Name, s.ready.Seconds(), must.Get(rig.UsageOf(s.Pid)).Peak>>20)
	}
	uid := rig.Query[string](ctx, database, "SELECT min(order_uid) FROM orders")[0]
	must.Succeed(postgres.Execute(ctx, database, fmt.Sprintf("UPDATE deliveries SET city = 'Elsewhere' WHERE order_uid = '%s'", uid)))
	for _, s := range servers {
		text += fmt.Sprintf("- %s: an order that was changed by SQL %s\n", s.Name, s.awaitChange(ctx, uid))
	}
	b.site.Save("peers-read", text+b.plot("peers-read.svg", "Requests a second, orders from memory", names, func(name string) float64 { return measured.Median(name, rig.Answered.Rate) }))
}

// awaitChange says whether the server shows the order's change.
func (s server) awaitChange(ctx context.Context, uid string) string {
	for began := time.Now(); time.Since(began) < changeSeen; {
		answer := must.Get(httpget.Do(ctx, http.DefaultClient, "http://"+s.Addr+"/order/"+uid, map[string]string{"Accept-Encoding": "identity"}))
		if bytes.Contains(answer.Body, []byte("Elsewhere")) {
			return "is served as it is now"
		}
		must.Succeed(retry.Sleep(ctx, 20*time.Millisecond))
	}
	return fmt.Sprintf("is still served as it was, after %v", changeSeen)
}
