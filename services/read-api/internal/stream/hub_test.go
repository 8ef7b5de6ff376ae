package stream

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// memory is a sink that knows what changed.
type memory map[string]string

func (m memory) Put(uid string, canonical []byte) bool {
	changed := m[uid] != string(canonical)
	m[uid] = string(canonical)
	return changed
}

func (m memory) Delete(uid string) bool {
	_, there := m[uid]
	delete(m, uid)
	return there
}

func (memory) LeaveOut() {}

func at(xid uint64) changes.Position {
	return changes.Position{Snapshot: changes.Snapshot{Xmin: xid, Xmax: xid}}
}

func order(customer string) []byte {
	return []byte(`{"customer_id":"` + customer + `","payment":null}`)
}

func uids(b *Batch, filter orders.Filter) (all []string) {
	b.Matching(filter, func(e Event) { all = append(all, e.UID) })
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
	h, rung, m := NewHub(2), 0, memory{}
	h.WakeWith(func() { rung++ })
	_, err := h.Join()
	require.ErrorIs(t, err, ErrNotReady)
	h.Relisted(at(1))

	sink := h.Begin(at(1), m)
	l, err := h.Join()
	require.NoError(t, err)
	require.Equal(t, 1, rung, "another round is asked for, in case that this one hangs")
	sink.Put("before", order("a"))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.Start(cancelled)
	require.ErrorIs(t, err, context.Canceled, "nobody collects that")
	h.Applied(at(2))
	start, err := l.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, at(2), start)

	sink = h.Begin(at(2), m)
	sink.Put("a", order("a"))
	sink.Put("b", order("b"))
	sink.Delete("gone")
	h.Applied(at(3))
	<-l.Bell()
	batch := take(t, l)
	require.Equal(t, []string{at(2).Token(), at(3).Token()}, []string{batch.From, batch.To})
	require.Equal(t, []string{"a", "b", "gone"}, uids(batch, orders.Filter{}))
	require.Equal(t, []string{"b", "gone"}, uids(batch, orders.Filter{CustomerID: "b"}))
	none, token, err := l.Take()
	require.NoError(t, err)
	require.Nil(t, none)
	require.Equal(t, at(3).Token(), token)
	require.Empty(t, uids(&Batch{Events: []Event{{UID: "x", Order: order("a")}}}, orders.Filter{Currency: "USD"}))

	// A round that fails has put some of its changes in; the next one brings all.
	h.Begin(at(3), m).Put("c", order("c"))
	sink = h.Begin(at(3), m)
	sink.Put("c", order("c"))
	sink.Put("d", order("d"))
	h.Applied(at(4))
	require.Equal(t, []string{"c", "d"}, uids(take(t, l), orders.Filter{}))

	h.Begin(at(4), m)
	h.Relisted(at(9))
	require.NotEmpty(t, take(t, l).Reset)

	// While a round is collected, or none is under way, nobody waits.
	h.Begin(at(9), m)
	second, err := h.Join()
	require.NoError(t, err)
	start, err = second.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, at(9), start)
	_, err = h.Join()
	require.ErrorIs(t, err, ErrFull)
	h.Applied(at(10))
	l.Leave()
	l.Leave()
	second.Leave()
	h.Begin(at(10), m)
	waiting, err := h.Join()
	require.NoError(t, err)
	require.Equal(t, 2, rung)
	h.Close()
	_, err = waiting.Start(t.Context())
	require.ErrorIs(t, err, ErrClosed)
	_, err = h.Join()
	require.ErrorIs(t, err, ErrClosed)
}

// TestAListenerThatDoesNotTakeIsDropped puts in more than anybody may be behind.
func TestAListenerThatDoesNotTakeIsDropped(t *testing.T) {
	h, m := NewHub(2), memory{}
	h.Relisted(at(1))
	slow, err := h.Join()
	require.NoError(t, err)
	quick, err := h.Join()
	require.NoError(t, err)
	body := order(strings.Repeat("x", maxBatchBytes/2))
	for i := range uint64(5) {
		h.Begin(at(i), m).Put("uid", body)
		h.Applied(at(i + 1))
		take(t, quick)
	}
	_, _, err = slow.Take()
	require.ErrorIs(t, err, ErrSlow)
	listeners, dropped := h.Figures()
	require.Equal(t, 1, listeners)
	require.EqualValues(t, 1, dropped)

	// What is too much for one batch resets instead.
	sink := h.Begin(at(9), m)
	for _, uid := range []string{"a", "b", "c"} {
		sink.Put(uid, body)
	}
	h.Applied(at(10))
	batch := take(t, quick)
	require.Equal(t, tooMany, batch.Reset)
	require.Empty(t, batch.Events)
}

// TestABatchInHandCountsUntilTheNext has a listener that takes one batch and goes
// no further.
func TestABatchInHandCountsUntilTheNext(t *testing.T) {
	h, m := NewHub(1), memory{}
	h.Relisted(at(1))
	l, err := h.Join()
	require.NoError(t, err)
	body := order(strings.Repeat("x", maxBatchBytes-1000))
	for i := range uint64(2) {
		h.Begin(at(i), m).Put("uid", body)
		h.Applied(at(i + 1))
	}
	take(t, l)
	h.Begin(at(3), m).Put("uid", order("a"))
	h.Applied(at(4))
	select {
	case <-l.Gone():
		require.Fail(t, "two batches fit")
	default:
	}
	h.Begin(at(4), m).Put("uid", body)
	h.Applied(at(5))
	select {
	case <-l.Gone():
	case <-time.After(patience):
		require.Fail(t, "it may hold any amount")
	}
	_, _, err = l.Take()
	require.ErrorIs(t, err, ErrSlow)
}

// TestChangesAreCountedBeforeTheyAreVouchedFor looks at the count from within a
// round.
func TestChangesAreCountedBeforeTheyAreVouchedFor(t *testing.T) {
	h, m := NewHub(1), memory{}
	h.Relisted(at(1))
	before := h.Changes()
	require.Positive(t, before)
	sink := h.Begin(at(1), m)
	sink.Put("a", order("a"))
	require.Equal(t, before+1, h.Changes())
	sink.Put("a", order("a"))
	require.Equal(t, before+2, h.Changes(), "also one that changed nothing: it may have been another in between")
	sink.Delete("b")
	require.Equal(t, before+3, h.Changes())
	h.Relisted(at(2))
	require.Equal(t, before+4, h.Changes())
}
