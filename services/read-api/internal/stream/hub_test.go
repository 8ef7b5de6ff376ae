package stream

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// fakeCache counts how often it is asked for a round.
type fakeCache struct{ refreshes int }

func (*fakeCache) Subscribe(cache.Subscriber) {}
func (c *fakeCache) Refresh()                 { c.refreshes++ }

// memory is what a cache holds.
type memory map[string]string

// round is a round of changes that has begun.
type round struct {
	hub *Hub
	memory
}

func (h *Hub) begin(from changes.Position, m memory) round {
	h.Begin(from, false)
	return round{h, m}
}

func (r round) put(o *model.Order) {
	canonical := model.AppendCanonical(nil, o)
	changed := r.memory[o.OrderUID] != string(canonical)
	r.memory[o.OrderUID] = string(canonical)
	r.hub.Put(changes.Order{Order: o, Canonical: canonical}, changed)
}

func (r round) delete(uid string) {
	_, there := r.memory[uid]
	delete(r.memory, uid)
	r.hub.Delete(uid, there)
}

func at(xid uint64) changes.Position {
	return changes.Position{Snapshot: changes.TxSnapshot{Xmin: xid, Xmax: xid}, Newest: xid - 1}
}

func order(uid, customer string) *model.Order {
	return &model.Order{OrderUID: uid, CustomerID: customer}
}

func uids(b *Batch, filter orders.Filter) (all []string) {
	b.Matching(filter, func(e Event) {
		if e.Left {
			e.UID = "left " + e.UID
		}
		all = append(all, e.UID)
	})
	return all
}

// take returns the batch that there is.
func take(t *testing.T, l *Listener) *Batch {
	t.Helper()
	batch, _, err := l.Take()
	require.NoError(t, err)
	require.NotNil(t, batch)
	return batch
}

func TestAListenerGetsAllFromItsStartOn(t *testing.T) {
	c, m := &fakeCache{}, memory{}
	h := NewHub(c, 2)
	_, err := h.Join()
	require.ErrorIs(t, err, ErrNotReady)
	h.Relisted(at(1), false)

	round := h.begin(at(1), m)
	l, err := h.Join()
	require.NoError(t, err)
	require.Equal(t, 1, c.refreshes, "another round is asked for, in case that this one hangs")
	round.put(order("before", "a"))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.Start(cancelled)
	require.ErrorIs(t, err, context.Canceled, "nobody collects that")
	h.Applied(at(2))
	start, err := l.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, at(2), start)

	round = h.begin(at(2), m)
	round.put(order("a", "a"))
	round.put(order("b", "b"))
	inserted := order("new", "a")
	h.Put(changes.Order{Order: inserted, Canonical: model.AppendCanonical(nil, inserted), Inserted: true}, true)
	round.delete("gone")
	h.Applied(at(3))
	<-l.Bell()
	batch := take(t, l)
	require.Equal(t, []string{at(2).Token(), at(3).Token()}, []string{batch.From, batch.To})
	require.Equal(t, []string{"a", "b", "new", "gone"}, uids(batch, orders.Filter{}))
	require.Equal(t, []string{"left a", "b", "gone"}, uids(batch, orders.Filter{CustomerID: "b"}), "a may have been b's before")
	none, token, err := l.Take()
	require.NoError(t, err)
	require.Nil(t, none)
	require.Equal(t, at(3).Token(), token)
	require.Equal(t, []string{"left x"}, uids(&Batch{Events: []Event{{UID: "x", Order: order("x", "a")}}}, orders.Filter{Currencies: []string{"USD"}}))

	// A round that fails has put some of its changes in; the next one brings all.
	h.begin(at(3), m).put(order("c", "c"))
	round = h.begin(at(3), m)
	round.put(order("c", "c"))
	round.put(order("d", "d"))
	h.Applied(at(4))
	require.Equal(t, []string{"c", "d"}, uids(take(t, l), orders.Filter{}))

	h.begin(at(4), m)
	h.Relisted(at(9), false)
	require.NotEmpty(t, take(t, l).Reset)

	// While a round is collected, or none is under way, nobody waits.
	h.begin(at(9), m)
	second, err := h.Join()
	require.NoError(t, err)
	start, err = second.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, at(9), start)
	_, err = h.Join()
	require.ErrorIs(t, err, ErrFull)
	require.EqualValues(t, 1, h.refused.Load())
	h.Applied(at(10))
	l.Leave()
	l.Leave()
	second.Leave()
	h.begin(at(10), m)
	waiting, err := h.Join()
	require.NoError(t, err)
	require.Equal(t, 2, c.refreshes)
	h.Close()
	_, err = waiting.Start(t.Context())
	require.ErrorIs(t, err, ErrClosed)
	_, err = h.Join()
	require.ErrorIs(t, err, ErrClosed)
}

// TestAListenerThatDoesNotTakeIsDropped puts in more than anybody may be behind.
func TestAListenerThatDoesNotTakeIsDropped(t *testing.T) {
	h, m := NewHub(&fakeCache{}, 2), memory{}
	h.Relisted(at(1), false)
	slow, err := h.Join()
	require.NoError(t, err)
	quick, err := h.Join()
	require.NoError(t, err)
	body := strings.Repeat("x", maxBatchBytes/2)
	for i := range uint64(5) {
		h.begin(at(i), m).put(order("uid", body))
		h.Applied(at(i + 1))
		take(t, quick)
	}
	_, _, err = slow.Take()
	require.ErrorIs(t, err, ErrSlow)
	listeners, dropped := h.Figures()
	require.Equal(t, 1, listeners)
	require.EqualValues(t, 1, dropped)

	// What is too much for one batch resets instead.
	round := h.begin(at(9), m)
	for _, uid := range []string{"a", "b", "c"} {
		round.put(order(uid, body))
	}
	h.Applied(at(10))
	batch := take(t, quick)
	require.Equal(t, tooMany, batch.Reset)
	require.Empty(t, batch.Events)
}

// TestABatchInHandCountsUntilTheNext has a listener that takes one batch and goes
// no further.
func TestABatchInHandCountsUntilTheNext(t *testing.T) {
	h, m := NewHub(&fakeCache{}, 1), memory{}
	h.Relisted(at(1), false)
	l, err := h.Join()
	require.NoError(t, err)
	body := strings.Repeat("x", maxBatchBytes-1000)
	for i := range uint64(2) {
		h.begin(at(i), m).put(order("uid", body))
		h.Applied(at(i + 1))
	}
	take(t, l)
	h.begin(at(3), m).put(order("uid", "a"))
	h.Applied(at(4))
	select {
	case <-l.Gone():
		require.Fail(t, "two batches fit")
	default:
	}
	h.begin(at(4), m).put(order("uid", body))
	h.Applied(at(5))
	select {
	case <-l.Gone():
	case <-time.After(patience):
		require.Fail(t, "it may hold any amount")
	}
	_, _, err = l.Take()
	require.ErrorIs(t, err, ErrSlow)
}

// TestARelistIsToldWhoListened has a listener from before a relist, and one that comes in
// its middle. Who comes while nobody collects is told that the changes are unknown.
func TestARelistIsToldWhoListened(t *testing.T) {
	h := NewHub(&fakeCache{}, 10)
	h.Relisted(at(1), false)
	early, err := h.Join()
	require.NoError(t, err)
	h.Begin(at(1), true)
	h.Put(changes.Order{Order: order("a", ""), Canonical: []byte("{}")}, true)
	h.Put(changes.Order{Order: order("same", ""), Canonical: []byte("{}")}, false)
	late, err := h.Join()
	require.NoError(t, err)
	start, err := late.Start(t.Context())
	require.NoError(t, err, "it need not wait until the relist is through")
	require.Equal(t, at(1), start)
	h.Delete("b", true)
	h.Relisted(at(2), true)
	for _, l := range []*Listener{early, late} {
		batch, _, err := l.Take()
		require.NoError(t, err)
		require.Empty(t, batch.Reset)
		require.Equal(t, []string{at(1).Token(), at(2).Token()}, []string{batch.From, batch.To})
		require.Len(t, batch.Events, 2)
		require.Equal(t, []string{"a", "b"}, []string{batch.Events[0].UID, batch.Events[1].UID})
		l.Leave()
	}
	h.Begin(at(2), true)
	late, err = h.Join()
	require.NoError(t, err)
	h.Put(changes.Order{Order: order("a", ""), Canonical: []byte("{}")}, true)
	h.Relisted(at(3), true)
	batch, _, err := late.Take()
	require.NoError(t, err)
	require.NotEmpty(t, batch.Reset)
	h.Begin(at(3), true)
	h.Relisted(at(4), true)
	batch, _, err = late.Take()
	require.NoError(t, err)
	require.Nil(t, batch, "nothing has changed")
}
