package restore

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

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
