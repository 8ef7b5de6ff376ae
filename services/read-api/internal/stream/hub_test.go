package stream

import (
	"context"
	"errors"
	"strings"
	"testing"

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

func TestAListenerGetsAllFromItsStartOn(t *testing.T) {
	h, rung, m := NewHub(2), 0, memory{}
	h.WakeWith(func() { rung++ })
	_, err := h.Join()
	require.ErrorIs(t, err, ErrNotReady)
	h.Relisted(at(1))

	sink := h.Begin(at(1), m)
	l, err := h.Join()
	require.NoError(t, err)
	require.Equal(t, 1, rung, "a round is asked for")
	sink.Put("before", order("a"))
	h.Applied(at(2))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.Start(cancelled)
	require.ErrorIs(t, err, context.Canceled)

	sink = h.Begin(at(2), m)
	start, err := l.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, at(2), start)
	sink.Put("a", order("a"))
	sink.Put("b", order("b"))
	sink.Delete("gone")
	h.Applied(at(3))
	<-l.Bell()
	batches, token, err := l.Take()
	require.NoError(t, err)
	require.Len(t, batches, 1)
	require.Equal(t, at(3).Token(), token)
	require.Equal(t, []string{at(2).Token(), at(3).Token()}, []string{batches[0].From, batches[0].To})
	require.Equal(t, []string{"a", "b", "gone"}, uids(batches[0], orders.Filter{}))
	require.Equal(t, []string{"b", "gone"}, uids(batches[0], orders.Filter{CustomerID: "b"}))
	require.Empty(t, uids(&Batch{Events: []Event{{UID: "x", Order: order("a")}}}, orders.Filter{Currency: "USD"}))

	// A round that fails has put some of its changes in; the next one brings all.
	h.Begin(at(3), m).Put("c", order("c"))
	sink = h.Begin(at(3), m)
	sink.Put("c", order("c"))
	sink.Put("d", order("d"))
	h.Applied(at(4))
	batches, _, err = l.Take()
	require.NoError(t, err)
	require.Equal(t, []string{"c", "d"}, uids(batches[0], orders.Filter{}))

	h.Begin(at(4), m)
	h.Relisted(at(9))
	batches, _, err = l.Take()
	require.NoError(t, err)
	require.NotEmpty(t, batches[0].Reset)

	_, err = h.Join()
	require.NoError(t, err)
	_, err = h.Join()
	require.ErrorIs(t, err, ErrFull)
	l.Leave()
	l.Leave()
	waiting, err := h.Join()
	require.NoError(t, err)
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
		_, _, err = quick.Take()
		require.NoError(t, err)
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
	batches, _, err := quick.Take()
	require.NoError(t, err)
	require.Equal(t, tooMany, batches[0].Reset)
	require.Empty(t, batches[0].Events)
}

// scripted is a source with one answer.
type scripted func(context.Context, changes.Sink) (changes.Round, error)

func (s scripted) Tail(ctx context.Context, _ changes.Position, sink changes.Sink) (changes.Round, error) {
	return s(ctx, sink)
}

func (scripted) Close() {}

func TestCatchingUp(t *testing.T) {
	since := func(answer scripted) (batch *Batch, err error) {
		c := NewCatchUp(func() Source { return answer })
		err = c.Since(t.Context(), at(5), func(b *Batch) { batch = b })
		return batch, err
	}
	batch, err := since(func(_ context.Context, sink changes.Sink) (changes.Round, error) {
		sink.Delete("a")
		sink.Put("b", order("b"))
		return changes.Round{Position: at(8)}, nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, uids(batch, orders.Filter{}))
	require.True(t, batch.Covers(&Batch{to: at(7)}))
	require.False(t, batch.Covers(&Batch{to: at(9)}))
	require.False(t, batch.Covers(&Batch{to: at(7), Reset: tooFar}))
	require.True(t, batch.Reaches(at(8)))
	require.False(t, batch.Reaches(at(9)))

	batch, err = since(func(context.Context, changes.Sink) (changes.Round, error) {
		return changes.Round{}, &changes.RelistError{Reason: "secret"}
	})
	require.NoError(t, err)
	require.Equal(t, tooFar, batch.Reset)

	batch, err = since(func(ctx context.Context, sink changes.Sink) (changes.Round, error) {
		body := make([]byte, maxBatchBytes)
		for ctx.Err() == nil {
			sink.Put("uid", body)
		}
		return changes.Round{}, ctx.Err()
	})
	require.NoError(t, err)
	require.Equal(t, tooMany, batch.Reset)

	away := errors.New("away")
	_, err = since(func(context.Context, changes.Sink) (changes.Round, error) { return changes.Round{}, away })
	require.ErrorIs(t, err, away)
}
