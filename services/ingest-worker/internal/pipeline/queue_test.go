package pipeline

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/orderhub/orderhub/libs/batch"
)

// notPaused is the gate of a group that is not paused.
func notPaused(context.Context) {}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var limits = batch.Limits{Busy: 8, Count: 1000, Period: 40 * time.Millisecond}

func at(offset int64) *record { return &record{offset: offset} }

// Each record is taken once, in order, and the offset to commit never passes a record
// that was not taken.
func TestQueueKeepsOrderAndPosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue(batch.New(limits, time.Now()), notPaused)
		next := rapid.Int64Range(0, 1000).Draw(t, "start")
		q.begin(next)
		q.begin(next + 1) // only the first counts
		var pushed, taken []int64
		committed := next
		position := next
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				position += rapid.Int64Range(0, 3).Draw(t, "gap")
				q.push(at(position))
				pushed = append(pushed, position)
				position++
			case 1:
				position += rapid.Int64Range(0, 3).Draw(t, "skipped")
				q.advance(position)
			case 2:
				if committed == position && len(taken) == len(pushed) {
					continue // take would wait
				}
				flushed, next, _, ok := q.take(context.Background(), rapid.IntRange(1, 5).Draw(t, "most"))
				require.True(t, ok)
				require.GreaterOrEqual(t, next, committed)
				committed = next
				for _, r := range flushed {
					taken = append(taken, r.offset)
				}
				require.Equal(t, pushed[:len(taken)], taken)
				if len(taken) < len(pushed) {
					require.LessOrEqual(t, committed, pushed[len(taken)])
				}
			}
		}
		for committed != position || len(taken) < len(pushed) {
			flushed, next, _, ok := q.take(context.Background(), 3)
			require.True(t, ok)
			committed = next
			for _, r := range flushed {
				taken = append(taken, r.offset)
			}
		}
		require.Equal(t, pushed, taken)
	})
}

func TestTakeEndsWithTheContextAndWithTheQueue(t *testing.T) {
	q := newQueue(batch.New(limits, time.Now()), notPaused)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, _, ok := q.take(ctx, 1)
	require.False(t, ok)

	q.begin(0)
	q.push(at(0))
	q.close()
	_, _, _, ok = q.take(context.Background(), 1)
	require.False(t, ok, "what is left belongs to the next owner")
	require.Len(t, q.rest(), 1)
	require.Empty(t, q.rest())
}

// Under load the next batch is taken after the period. But a single order never
// waits, nor does a batch that gains nothing by waiting.
func TestBatchesWaitUnderLoadOnly(t *testing.T) {
	const took = 10 * time.Millisecond // by the last batch
	period, enough := limits.Period, limits.Count
	half := (period - took) / 2
	cases := map[string]struct {
		last      int                         // records of the last batch
		meanwhile func(q *queue)              // before the take
		during    func(q *queue, stop func()) // when half of the rest of the period is over
		waits     time.Duration
		trigger   batch.Trigger // "": take returns nothing
	}{
		"idle":                  {last: limits.Busy - 1, meanwhile: func(q *queue) { push(q, 1) }, trigger: batch.Arrival},
		"load":                  {last: limits.Busy, meanwhile: func(q *queue) { push(q, 1) }, waits: period - took, trigger: batch.Period},
		"load, more records":    {last: 100, during: func(q *queue, _ func()) { push(q, 100) }, waits: period - took, trigger: batch.Period},
		"full before":           {last: 100, meanwhile: func(q *queue) { push(q, enough+1) }, trigger: batch.Count},
		"full meanwhile":        {last: 100, meanwhile: func(q *queue) { push(q, 10) }, during: func(q *queue, _ func()) { push(q, enough) }, waits: half, trigger: batch.Count},
		"no memory":             {last: 100, meanwhile: func(q *queue) { push(q, 1); q.starve(true) }, trigger: memory},
		"no memory later":       {last: 100, during: func(q *queue, _ func()) { push(q, 1); q.starve(true) }, waits: half, trigger: memory},
		"no memory for a while": {last: 100, meanwhile: func(q *queue) { push(q, 1); q.starve(true); q.starve(false) }, waits: period - took, trigger: batch.Period},
		"reading has ended":     {last: 100, meanwhile: func(q *queue) { q.close() }},
		"reading ends":          {last: 100, during: func(q *queue, _ func()) { q.close() }, waits: half},
		"the worker stops":      {last: 100, during: func(_ *queue, stop func()) { stop() }, waits: half},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				q := newQueue(batch.New(limits, time.Now()), notPaused)
				q.begin(0)
				time.Sleep(5 * period)
				push(q, c.last)
				_, _, _, ok := q.take(ctx, 2*enough)
				require.True(t, ok)
				time.Sleep(took)
				if c.meanwhile != nil {
					c.meanwhile(q)
				}
				if c.during != nil {
					time.AfterFunc(half, func() { c.during(q, stop) })
				}
				before := time.Now()
				_, _, trigger, ok := q.take(ctx, 2*enough)
				require.Equal(t, c.waits, time.Since(before))
				require.Equal(t, c.trigger, trigger)
				require.Equal(t, c.trigger != "", ok)
			})
		})
	}
}

// Partitions under load take their batches at the same instants, so that these share
// a transaction.
func TestPartitionsTakeAtTheSameInstants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := time.Now()
		for _, apart := range []time.Duration{0, time.Millisecond, limits.Period / 2, limits.Period - 1} {
			take := func(late time.Duration) time.Time {
				time.Sleep(late)
				q := newQueue(batch.New(limits, clock), notPaused)
				q.begin(0)
				for range 2 {
					push(q, limits.Busy)
					_, _, _, ok := q.take(t.Context(), limits.Count)
					require.True(t, ok)
				}
				return time.Now()
			}
			taken := make(chan time.Time)
			for _, late := range []time.Duration{0, apart} {
				go func() { taken <- take(late) }()
			}
			one, other := <-taken, <-taken
			require.Equal(t, one, other)
			require.Zero(t, time.Since(clock)%limits.Period)
		}
	})
}

// The broker is not asked again long before the next batch is taken.
func TestTheNextBatchIsDueLaterUnderLoadOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(batch.New(limits, time.Now()), notPaused)
		q.begin(0)
		require.Zero(t, q.untilDue(), "before there was a batch")
		for _, c := range []struct {
			records int
			due     time.Duration
		}{{limits.Busy - 1, 0}, {limits.Busy, limits.Period}} {
			push(q, c.records)
			_, _, _, ok := q.take(t.Context(), limits.Count)
			require.True(t, ok)
			require.Equal(t, c.due, q.untilDue())
		}
		time.Sleep(limits.Period / 2)
		require.Equal(t, limits.Period/2, q.untilDue())
		time.Sleep(limits.Period)
		require.Zero(t, q.untilDue())
	})
}

func push(q *queue, n int) {
	for i := range n {
		q.push(at(int64(i)))
	}
}

func TestABlockedPartitionDoesNotStarveAnother(t *testing.T) {
	b := NewBudget(1 << 20)
	blocked, other := b.share(2), b.share(2)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	taken := 0
	for blocked.records.TryAcquire(1000) {
		blocked.records.Release(1000)
		require.NoError(t, blocked.take(ctx, 1000))
		taken++
	}
	require.NoError(t, other.take(ctx, 1000), "the other partition has its own share")
	// A record larger than the whole budget still passes, alone.
	large := b.share(1)
	other.give(1000)
	for range taken {
		blocked.give(1000)
	}
	require.NoError(t, large.take(ctx, 1<<30))
	short, stop := context.WithCancel(ctx)
	stop()
	require.Error(t, other.take(short, 1))
	large.give(1 << 30)
	// Answers likewise: one that waits leaves the others' room alone.
	_, err := blocked.admit(ctx, int(blocked.answersLimit))
	require.NoError(t, err)
	_, err = blocked.admit(short, 1)
	require.Error(t, err)
	_, err = other.admit(ctx, int(other.answersLimit))
	require.NoError(t, err)
	release, err := blocked.admit(ctx, 1<<30)
	require.NoError(t, err, "a single batch that is larger than the share")
	release()
	require.NoError(t, other.take(ctx, 1))
	other.give(1)
}
