package integration

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// hold stops the first request of a kind, at which reached is closed, until let is
// called. Others go on meanwhile.
func (w *world) hold(key kmsg.Key) (reached <-chan struct{}, let func()) {
	here, gone := make(chan struct{}), make(chan struct{})
	cluster := w.broker.Cluster()
	var first atomic.Bool
	cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if first.CompareAndSwap(false, true) {
			close(here)
			cluster.SleepControl(func() { <-gone })
		}
		return nil, nil, false
	})
	return here, sync.OnceFunc(func() { close(gone) })
}

// A purge that has chosen what to remove, and an undo of one of these before it
// removes them: the letter that is open again stays.
func TestAPurgeThatMeetsAnUndo(t *testing.T) {
	for name, key := range map[string]kmsg.Key{"before its records": kmsg.Produce, "before its commit": kmsg.EndTxn} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ids := w.letters(1)
			w.discard(3)
			snap := w.scan()
			reached, let := w.hold(key)
			defer let()
			var purged []string
			done := make(chan error, 1)
			go func() {
				done <- w.store.Purge(t.Context(), dlq.PurgeOptions{Before: time.Now().Add(time.Hour), Source: orders}, func(id string) { purged = append(purged, id) })
			}()
			<-reached
			opened := snap.Select(letter.Resolved, 1)
			items, err := w.store.Load(t.Context(), opened)
			require.NoError(t, err)
			require.NoError(t, w.store.Undo(t.Context(), snap, opened, nil, func(o dlq.Outcome) { require.NoError(t, o.Err) }))
			let()
			require.NoError(t, <-done)
			slices.Sort(purged)
			want := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == items[0].ID })
			slices.Sort(want)
			require.Equal(t, want, purged)
			left, _, err := w.store.List(t.Context(), letter.Filter{}, letter.Any, 0)
			require.NoError(t, err)
			require.Equal(t, []string{items[0].ID}, idsOf(left))
			require.Equal(t, letter.Open, left[0].Ref.Status)
		})
	}
}

// An undo that comes to letters that a purge has removed meanwhile does nothing.
func TestAnUndoThatMeetsAPurge(t *testing.T) {
	w := newWorld(t)
	w.letters(1)
	w.discard(3)
	snap := w.scan()
	refs := snap.Select(letter.Resolved, 0)
	require.NoError(t, w.store.Purge(t.Context(), dlq.PurgeOptions{Before: time.Now().Add(time.Hour), Source: orders}, func(string) {}))
	require.NoError(t, w.store.Undo(t.Context(), snap, refs, nil, func(o dlq.Outcome) { t.Errorf("%s", o.Item.ID) }))
	require.Empty(t, w.refs(letter.Any))
}

// Of two that cannot stop breaking each other off, one says so in the end.
func TestAPurgeThatIsAlwaysInterferedWith(t *testing.T) {
	w := newWorld(t)
	w.letters(1)
	w.discard(1)
	cluster := w.broker.Cluster()
	cluster.ControlKey(int16(kmsg.EndTxn), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		answer := request.ResponseKind().(*kmsg.EndTxnResponse)
		answer.ErrorCode = 90 // PRODUCER_FENCED
		return answer, nil, true
	})
	got := w.orderctl("dlq", "purge", "--resolved", "--older-than", "0s", "--yes")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "stopped: 0 of 1 letter removed")
	require.Contains(t, got.stderr, "somebody else changes the letters at the same moment; run the command again")
}

// Several redrive everything at once: each letter is resolved, its copy is there,
// and no copy is there that is not a letter's.
func TestSeveralRedriveAtOnce(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(60)
	var working, begin sync.WaitGroup
	var mu sync.Mutex
	sent, passed := 0, 0
	begin.Add(3)
	for range 3 {
		snap, err := w.store.Scan(t.Context(), letter.Filter{})
		require.NoError(t, err)
		open := snap.Select(letter.Open, 0)
		require.Len(t, open, len(ids))
		working.Go(func() {
			begin.Done()
			begin.Wait() // all of them have found all letters open
			err := w.store.Redrive(t.Context(), snap, open, dlq.Redrive{MaxRedrives: 1, Done: func(o dlq.Outcome) {
				mu.Lock()
				defer mu.Unlock()
				if o.Err == nil {
					sent++
				} else if passed++; !errors.Is(o.Err, dlq.ErrNotOpen) {
					t.Error(o.Err)
				}
			}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	working.Wait()
	require.Empty(t, w.refs(letter.Open))
	require.Equal(t, 3*len(ids), sent+passed)
	copies, values := 0, map[string]bool{}
	for partition, records := range w.read(orders) {
		for _, r := range records[60:] {
			copies++
			values[string(r.Value)] = true
			require.Contains(t, headersOf(r), "dlq-redrive-count=1")
			require.True(t, strings.HasSuffix(string(r.Value), " of "+string('0'+partition)))
		}
	}
	require.Len(t, values, len(ids))
	require.Equal(t, sent, copies)
}

// One who redrives slowly leaves alone what another has redriven meanwhile.
func TestARedriveSeesWhatOthersDid(t *testing.T) {
	w := newWorld(t)
	w.letters(2)
	snap := w.scan()
	refs := snap.Select(letter.Open, 0)
	var others sync.Once
	var outcomes []dlq.Outcome
	require.NoError(t, w.store.Redrive(t.Context(), snap, refs, dlq.Redrive{MaxRedrives: 3, Rate: 2.5, Done: func(o dlq.Outcome) {
		outcomes = append(outcomes, o)
		others.Do(func() {
			_, err := w.redrive(t.Context(), dlq.Redrive{})
			require.NoError(t, err)
		})
	}}))
	require.Len(t, outcomes, 6)
	require.NoError(t, outcomes[0].Err)
	for _, o := range outcomes[1:] {
		require.ErrorIs(t, o.Err, dlq.ErrNotOpen)
	}
}

// Interrupted before each of its requests, and run again: nothing is lost, and
// each source partition has its letters in its order.
func TestARedriveThatDiesAtEachStep(t *testing.T) {
	for requests := range 8 {
		w := newWorld(t)
		ids := w.letters(3)
		crash := w.crashes()
		crash.after(requests)
		_, err := w.redrive(t.Context(), dlq.Redrive{Rate: 1000})
		if !crash.over() {
			require.NoError(t, err)
		}
		_, err = w.redrive(t.Context(), dlq.Redrive{})
		require.NoError(t, err)
		require.Empty(t, w.refs(letter.Open))
		require.Len(t, w.refs(letter.Resolved), len(ids))
		for _, records := range w.read(orders) {
			var first []string // of each value
			for _, r := range records[3:] {
				if !slices.Contains(first, string(r.Value)) {
					first = append(first, string(r.Value))
				}
			}
			require.Len(t, first, 3)
			require.True(t, slices.IsSorted(first), "%q", first)
		}
	}
}

// A topic whose broker does not answer: the redrive stops, says what was done, and
// goes on from there.
func TestARedriveIntoATopicThatIsAway(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(2)
	crash := w.crashes()
	crash.after(3) // the first letter's copy and resolution, the second's copy
	got := w.orderctl("dlq", "redrive", "--all", "--yes", "--rate", "1000")
	require.True(t, crash.over())
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "stopped: 1 of 6 letters redriven")
	require.Equal(t, 1, strings.Count(got.stdout, "\n"))
	got = w.orderctl("dlq", "redrive", "--all", "--yes")
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stderr, "5 of 5 letters redriven")
	require.Empty(t, w.refs(letter.Open))
	require.Len(t, w.refs(letter.Resolved), len(ids))
}

// A letter that somebody replaced by a copy while it was looked for.
func TestATopicThatIsCompactedWhileItIsRead(t *testing.T) {
	w := newWorld(t)
	w.letters(3)
	snap := w.scan()
	refs := snap.Select(letter.Open, 0)
	items, err := w.store.Load(t.Context(), refs)
	require.NoError(t, err)
	for _, item := range items { // the worker read the records again
		w.produce(&kgo.Record{Topic: dlqTopic, Partition: item.Place.Partition, Key: item.Key, Value: item.Value, Headers: item.Record.Headers})
	}
	w.broker.Cluster().Compact()
	_, err = w.store.Load(t.Context(), refs)
	require.ErrorIs(t, err, dlq.ErrChanged)
	require.Len(t, w.refs(letter.Open), len(items))
	outcomes := 0
	require.NoError(t, w.store.Discard(t.Context(), snap, refs, dlq.By{}, func(o dlq.Outcome) {
		require.NoError(t, o.Err)
		outcomes++
	}))
	require.Equal(t, len(items), outcomes, "they are found where they are now")
}

// A view takes a record once, whether it follows or is refreshed.
func TestFollowingAndRefreshingAViewAtOnce(t *testing.T) {
	w := newWorld(t)
	w.letters(2)
	view := w.scan()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- view.Follow(ctx, func(*letter.Letter, letter.Status) error { return nil })
	}()
	w.discard(2)
	require.NoError(t, view.Refresh(t.Context()))
	require.NoError(t, view.Refresh(t.Context()))
	require.Len(t, view.Select(letter.Resolved, 0), 2)
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Len(t, view.Select(letter.Any, 0), 6)
}
