package freshness

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

type latencies struct {
	mu                          sync.Mutex
	produced, readable, applied []time.Duration
	throughs                    int64 // requests that were answered from the tables instead
}

// probe sends single orders and requests them from the API until it has them.
//
// Until then the answer is 404 from the reader's memory: a reader in sync knows that
// it does not have the order, and does not query the tables. So a 200 says that the
// cache has the order, not only the tables, and a request costs nothing else.
type probe struct {
	flow     *flow
	producer *kgo.Client
	stamper  *rig.Stamper
	client   *http.Client
	sql      *pgx.Conn
	rest     time.Duration // between two requests: results may be too large by that
}

func (b *Benchmark) newProbe(ctx context.Context, f *flow, number int, rest time.Duration) *probe {
	return &probe{
		flow: f, rest: rest, client: &http.Client{Transport: &http.Transport{}},
		stamper: rig.NewStamper(b.orders, loadSeed+1+uint8(number)), sql: must.Get(pgx.Connect(ctx, f.database)), producer: b.site.Broker.NewProducer(f.topic, 0),
	}
}

func (p *probe) close() {
	p.producer.Close()
	p.client.CloseIdleConnections()
	_ = p.sql.Close(context.Background()) // it has no open transaction
}

// order times an order until it is acknowledged, and until it can be read.
func (p *probe) order(ctx context.Context, found *latencies) {
	p.flow.singles.Add(1)
	uid, value := p.stamper.Next()
	began := time.Now()
	must.Succeed(p.producer.ProduceSync(ctx, &kgo.Record{Key: []byte(uid), Value: value}).FirstErr())
	produced := time.Since(began)
	p.flow.reader.Await(ctx, p.client, uid, "", http.StatusNotFound, p.rest)
	readable := time.Since(began)
	found.mu.Lock()
	defer found.mu.Unlock()
	found.produced, found.readable = append(found.produced, produced), append(found.readable, readable)
}

// update changes an order by SQL, and times it from the commit until the change can
// be read. Meanwhile the reader answers 304 to the order's old tag.
func (p *probe) update(ctx context.Context, found *latencies, uid string) {
	before := p.flow.reader.Order(ctx, p.client, uid, "")
	unique := fmt.Sprint("CHANGED", time.Now().UnixNano()) // no probe has written it before
	must.Get(p.sql.Exec(ctx, "UPDATE orders SET track_number = $2 WHERE order_uid = $1", uid, unique))
	committed := time.Now()
	p.flow.reader.Await(ctx, p.client, uid, before.Header.Get("ETag"), http.StatusNotModified, p.rest)
	applied := time.Since(committed)
	found.mu.Lock()
	defer found.mu.Unlock()
	found.applied = append(found.applied, applied)
}

// timeNotify measures a bare notification from its commit to another connection:
// the lower bound for a reader that is woken by one.
func timeNotify(ctx context.Context, database string, count int) (times []time.Duration) {
	listener, notifier := must.Get(pgx.Connect(ctx, database)), must.Get(pgx.Connect(ctx, database))
	for _, conn := range []*pgx.Conn{listener, notifier} {
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	}
	must.Get(listener.Exec(ctx, "LISTEN bench_notify"))
	for range count {
		time.Sleep(5 * time.Millisecond)
		must.Get(notifier.Exec(ctx, "NOTIFY bench_notify"))
		committed := time.Now()
		must.Get(listener.WaitForNotification(ctx))
		times = append(times, time.Since(committed))
	}
	return times
}
