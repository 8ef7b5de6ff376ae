package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/poll"
)

var batch = rig.Changes{Updates: 60, Deletes: 20, Inserts: 20}

const (
	// memorySamples is how often memory is sampled in the end. The maximum counts.
	memorySamples = 20
	samplingEvery = 100 * time.Millisecond
	// settling is how long the reader is left alone before that, or as long as the
	// changes where that is shorter: it returns memory from time to time.
	settling = 15 * time.Second
	// catchUpTimeout is how long the reader may take to see the last change.
	catchUpTimeout = 2 * time.Minute
)

// churn changes orders at a rate while others are requested, and looks at the
// memory of the reader once it has seen everything.
func (b *Benchmark) churn(ctx context.Context, compression string) (c churned) {
	reader := b.site.StartReader(ctx, b.database, "CACHE_COMPRESSION="+compression)
	defer reader.Stop()
	rig.Progress("changing orders for %v", b.Churn)
	asked := rig.Query[string](ctx, b.database, "SELECT order_uid FROM orders ORDER BY random() LIMIT $1", max(1, b.Orders/10))
	reading, stop := context.WithCancel(ctx)
	must.Together(ctx,
		func(context.Context) { b.request(reading, reader, asked) },
		func(ctx context.Context) {
			defer stop()
			b.change(ctx, &c.Changes)
			c.stats = b.settled(ctx, reader)
			must.Succeed(retry.Sleep(ctx, min(settling, b.Churn)))
			for range memorySamples {
				used := must.Get(rig.UsageOf(reader.Pid()))
				c.memory, c.peak = max(c.memory, used.Memory), used.Peak
				must.Succeed(retry.Sleep(ctx, samplingEvery))
			}
		})
	rig.Progress("%d changes: %d MiB", c.Sum(), c.memory>>20)
	return c
}

func (b *Benchmark) change(ctx context.Context, sum *rig.Changes) {
	conn := must.Get(pgx.Connect(ctx, b.database))
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	pause := time.Duration(float64(time.Second) * float64(batch.Sum()) / float64(b.ChurnRate))
	for began, due := time.Now(), time.Duration(0); time.Since(began) < b.Churn; due += pause {
		must.Succeed(retry.Sleep(ctx, due-time.Since(began)))
		rig.Change(ctx, conn, batch, sum)
	}
}

// request asks for orders, which may be gone by now, until ctx ends.
func (b *Benchmark) request(ctx context.Context, reader *rig.Reader, uids []string) {
	for b.ReadRate > 0 && retry.Sleep(ctx, time.Second/time.Duration(b.ReadRate)) == nil {
		var order json.RawMessage
		_ = reader.GetJSON(ctx, "/order/"+uids[rand.IntN(len(uids))], &order)
	}
}

// settled waits until the reader has as many orders as the tables, and has looked
// for more twice.
func (b *Benchmark) settled(ctx context.Context, reader *rig.Reader) rig.ReaderStats {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	stored := rig.Query[int64](ctx, b.database, "SELECT count(*) FROM orders")[0]
	var now rig.ReaderStats
	rounds := int64(-1)
	must.Succeed(poll.Until(ctx, 50*time.Millisecond, func() error {
		switch now = reader.Stats(ctx); {
		case now.Orders != stored:
			rounds = -1
		case rounds < 0:
			rounds = now.Rounds
		case now.Rounds >= rounds+2:
			return nil
		}
		return fmt.Errorf("the reader has %d orders of %d", now.Orders, stored)
	}))
	if now.Relists > 0 {
		must.Succeed(errors.New("the reader read all orders again meanwhile"))
	}
	return now
}

// changedShares are how many of the orders, in percent, change unseen before a relist:
// few enough to be read again by key, and all of them.
var changedShares = []int{1, 100}

// relist changes orders in a way that calls for a relist, while streams are open. It returns
// a line of the document: the peak of resident memory until the relist is through.
func (b *Benchmark) relist(ctx context.Context, compression string, share int) string {
	reader := b.site.StartReader(ctx, b.database, "CACHE_COMPRESSION="+compression)
	defer reader.Stop()
	following, stop := context.WithCancel(ctx)
	defer stop()
	for range b.Streams {
		request := must.Get(http.NewRequestWithContext(following, http.MethodGet, "http://"+reader.Addr+"/api/v1/orders/stream", nil))
		response, err := http.DefaultClient.Do(request) //nolint:bodyclose // the goroutine below closes it
		must.Succeed(err)
		go func() {
			_, _ = io.Copy(io.Discard, response.Body) // until it is stopped
			_ = response.Body.Close()
		}()
	}
	must.Succeed(retry.Sleep(ctx, min(settling, b.Churn+time.Second)))
	ready := must.Get(rig.UsageOf(reader.Pid())).Memory
	conn := must.Get(pgx.Connect(ctx, b.database))
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	must.Get(conn.PgConn().Exec(ctx, fmt.Sprintf(`BEGIN; ALTER TABLE orders DISABLE TRIGGER USER;
		UPDATE orders SET locale = locale || 'x' WHERE abs(hashtext(order_uid)) %% 100 < %d;
		SELECT order_triggers_enable(); NOTIFY orders_changed`, share)).ReadAll())
	must.Succeed(os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", reader.Pid()), []byte("5"), 0)) // the peak is from here on
	began := time.Now()
	must.Get(conn.PgConn().Exec(ctx, `COMMIT`).ReadAll())
	for held := (rig.ReaderStats{}); held.Relists == 0 || !held.Complete; held = reader.Stats(ctx) {
		must.Succeed(retry.Sleep(ctx, samplingEvery))
	}
	took, peak := time.Since(began), must.Get(rig.UsageOf(reader.Pid())).Peak
	line := fmt.Sprintf("- relist, %s, %d %% of the orders changed, %d streams: at most %d MiB, %.2f × of before (goal: at most 1.15), in %.1f s\n",
		compression, share, b.Streams, peak>>20, float64(peak)/float64(ready), took.Seconds())
	rig.Progress("%s", line)
	return line
}
