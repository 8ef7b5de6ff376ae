// Package traces continues the traces of orders in the reader: from their commit until
// the cache has them, and on to the clients that get them.
//
// The tables have no traces. A writer announces the orders that it traces with a
// notification of their transaction, see orderdb.TraceChannel. One that is lost costs
// spans, and nothing else.
package traces

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.opentelemetry.io/otel/trace"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

const (
	// maxWaiting bounds the announced orders that are not visible yet, and maxKnown
	// those that were, the latest ones.
	maxWaiting = 10_000
	maxKnown   = 10_000
	// patience is how long an announced order is waited for.
	patience = time.Minute
)

// Traces has the spans of the orders that were announced lately. It subscribes to the
// cache. Safe for concurrent use.
type Traces struct {
	visible func(uid string) bool
	known   *lru.Cache[string, trace.SpanContext]

	mu      sync.Mutex
	waiting map[string]waiting
}

type waiting struct {
	writer    trace.SpanContext
	committed time.Time // just before
}

// New returns a Traces. visible tells whether readers see an order.
func New(visible func(uid string) bool) *Traces {
	known, err := lru.New[string, trace.SpanContext](maxKnown)
	if err != nil {
		panic(err) // the size is positive
	}
	return &Traces{visible: visible, known: known, waiting: map[string]waiting{}}
}

// Announced takes the payload of a notification. Anybody who may log in to the database
// can notify, so it ignores what it cannot read.
func (t *Traces) Announced(payload string) {
	fields := append(strings.Fields(payload), "", "", "")
	nanos, err := strconv.ParseInt(fields[2], 10, 64)
	writer, sampled := tracing.Parse([]byte(fields[0]))
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil && sampled && model.IsOrderUID(fields[1]) && len(t.waiting) < maxWaiting {
		t.waiting[fields[1]] = waiting{writer, time.Unix(0, nanos)}
	}
}

// Of returns the span that ended when the order became visible.
func (t *Traces) Of(uid string) (span trace.SpanContext, ok bool) { return t.known.Get(uid) }

// Applied implements cache.Subscriber. It looks at the cache, not at what the round
// brought: a poll may bring an order before its announcement arrives.
func (t *Traces) Applied(changes.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for uid, w := range t.waiting {
		if t.visible(uid) {
			begin := w.committed
			if begin.After(now) { // the writer's clock is ahead
				begin = now
			}
			_, span := tracing.Begin(tracing.Under(context.Background(), w.writer), "visible", trace.WithTimestamp(begin), trace.WithAttributes(tracing.OrderUID.String(uid)))
			span.End()
			t.known.Add(uid, span.SpanContext())
			delete(t.waiting, uid)
		} else if now.Sub(w.committed) > patience {
			delete(t.waiting, uid)
		}
	}
}

// Relisted implements cache.Subscriber.
func (t *Traces) Relisted(at changes.Position, _ bool) { t.Applied(at) }

// Begin implements cache.Subscriber.
func (t *Traces) Begin(changes.Position, bool) {}

// Put implements cache.Subscriber.
func (t *Traces) Put(changes.Order, bool) {}

// Delete implements cache.Subscriber.
func (t *Traces) Delete(string, bool) {}
