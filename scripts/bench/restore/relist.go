package restore

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// changedShares are how many of the orders, in percent, change unseen before a relist:
// few enough to be read again by key, and all of them.
var changedShares = []int{1, 100}

// relisted is the resident memory of a reader: ready, with streams, and at most from then
// until a relist is through.
type relisted struct {
	compression          string
	share                int
	ready, streams, peak int64
	took                 time.Duration
}

// String is a line of the document.
func (r relisted) String() string {
	return fmt.Sprintf("- relist, %s, %d %% of the orders changed: peak %.2f × of ready (goal: at most 1.15), %d of %d MiB; %.1f s, ready %d MiB without the streams",
		r.compression, r.share, float64(r.peak)/float64(r.streams), r.peak>>20, r.streams>>20, r.took.Seconds(), r.ready>>20)
}

// relist changes orders in a way that calls for a relist, while streams are open.
func (b *Benchmark) relist(ctx context.Context, compression string, share int) relisted {
	reader := b.site.StartReader(ctx, b.database, "CACHE_COMPRESSION="+compression)
	defer reader.Stop()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for range b.Streams {
		request := must.Get(http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reader.Addr+"/api/v1/orders/stream", nil))
		response := must.Get(http.DefaultClient.Do(request))
		go func() {
			defer func() { _ = response.Body.Close() }()
			for buffer := make([]byte, 4<<10); ; {
				if _, err := response.Body.Read(buffer); err != nil {
					return
				}
			}
		}()
	}
	must.Succeed(retry.Sleep(ctx, settling))
	r := relisted{compression: compression, share: share, ready: reader.Memory, streams: must.Get(rig.UsageOf(reader.Pid())).Memory}
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
	r.took, r.peak = time.Since(began), must.Get(rig.UsageOf(reader.Pid())).Peak
	rig.Progress("%s", r)
	return r
}

func (f findings) relistLines(b *Benchmark) string {
	var lines strings.Builder
	for _, r := range f.relists {
		fmt.Fprintf(&lines, "%v\n", r)
	}
	if len(f.relists) > 0 {
		fmt.Fprintf(&lines, "- %d streams were open during the relists\n", b.Streams)
	}
	return lines.String()
}
