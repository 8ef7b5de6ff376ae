package pipeline

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at(offset int64) *record { return &record{offset: offset} }

// Whatever is pushed and taken in turns, each record comes out once, in order,
// and the offset to commit never passes a record that has not come out.
func TestQueueKeepsOrderAndPosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue(time.Now())
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
				batch, next, ok := q.take(context.Background(), rapid.IntRange(1, 5).Draw(t, "most"))
				require.True(t, ok)
				require.GreaterOrEqual(t, next, committed)
				committed = next
				for _, r := range batch {
					taken = append(taken, r.offset)
				}
				require.Equal(t, pushed[:len(taken)], taken)
				if len(taken) < len(pushed) {
					require.LessOrEqual(t, committed, pushed[len(taken)])
				}
			}
		}
		for committed != position || len(taken) < len(pushed) {
			batch, next, ok := q.take(context.Background(), 3)
			require.True(t, ok)
			committed = next
			for _, r := range batch {
				taken = append(taken, r.offset)
			}
		}
		require.Equal(t, pushed, taken)
	})
}

func TestTakeEndsWithTheContextAndWithTheQueue(t *testing.T) {
	q := newQueue(time.Now())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, ok := q.take(ctx, 1)
	require.False(t, ok)

	q.begin(0)
	q.push(at(0))
	q.close()
	_, _, ok = q.take(context.Background(), 1)
	require.False(t, ok, "what is left belongs to the next owner")
	require.Len(t, q.rest(), 1)
	require.Empty(t, q.rest())
}

// Under load the next batch gathers for a while; but a single order is never kept
// waiting, nor is anything where waiting gains nothing.
func TestBatchesGatherUnderLoadOnly(t *testing.T) {
	const took = 10 * time.Millisecond // by the last batch
	const half = (gathering - took) / 2
	cases := map[string]struct {
		batch     int
		meanwhile func(q *queue)              // before gathering
		during    func(q *queue, stop func()) // when half of it is over
		waits     time.Duration
	}{
		"idle":                       {batch: busyRecords - 1},
		"load":                       {batch: busyRecords, waits: gathering - took},
		"load, and a few more":       {batch: 100, during: func(q *queue, _ func()) { push(q, 100) }, waits: gathering - took},
		"enough already":             {batch: 100, meanwhile: func(q *queue) { push(q, enoughRecords+1) }},
		"enough comes":               {batch: 100, meanwhile: func(q *queue) { push(q, 10) }, during: func(q *queue, _ func()) { push(q, enoughRecords) }, waits: half},
		"no memory":                  {batch: 100, meanwhile: func(q *queue) { q.starve(true) }},
		"memory runs out":            {batch: 100, during: func(q *queue, _ func()) { q.starve(true) }, waits: half},
		"there was none, for a time": {batch: 100, meanwhile: func(q *queue) { q.starve(true); q.starve(false) }, waits: gathering - took},
		"reading has ended":          {batch: 100, meanwhile: func(q *queue) { q.close() }},
		"reading ends":               {batch: 100, during: func(q *queue, _ func()) { q.close() }, waits: half},
		"the worker stops":           {batch: 100, during: func(_ *queue, stop func()) { stop() }, waits: half},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				q := newQueue(time.Now())
				q.begin(0)
				time.Sleep(5 * gathering)
				began := time.Now()
				time.Sleep(took)
				if c.meanwhile != nil {
					c.meanwhile(q)
				}
				if c.during != nil {
					time.AfterFunc(half, func() { c.during(q, stop) })
				}
				before := time.Now()
				q.gather(ctx, c.batch, began)
				require.Equal(t, c.waits, time.Since(before))
			})
		})
	}
}

// Partitions under load take their batches at the same instants, so that these share
// a transaction.
func TestPartitionsGatherUntilTheSameTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ticking := time.Now()
		for _, apart := range []time.Duration{0, time.Millisecond, gathering / 2, gathering - 1} {
			wake := func(late time.Duration) time.Time {
				time.Sleep(late)
				q := newQueue(ticking)
				q.begin(0)
				q.gather(t.Context(), busyRecords, time.Now())
				return time.Now()
			}
			woken := make(chan time.Time)
			for _, late := range []time.Duration{0, apart} {
				go func() { woken <- wake(late) }()
			}
			one, other := <-woken, <-woken
			require.Equal(t, one, other)
			require.Zero(t, time.Since(ticking)%gathering)
		}
	})
}

// The broker need not be asked again long before the next batch is taken.
func TestTheNextBatchIsDueLaterUnderLoadOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(time.Now())
		q.begin(0)
		require.Zero(t, q.untilDue(), "before there was a batch")
		for _, c := range []struct {
			records int
			due     time.Duration
		}{{busyRecords - 1, 0}, {busyRecords, gathering}} {
			push(q, c.records)
			_, _, ok := q.take(t.Context(), enoughRecords)
			require.True(t, ok)
			require.Equal(t, c.due, q.untilDue())
		}
		time.Sleep(gathering / 2)
		require.Equal(t, gathering/2, q.untilDue())
		time.Sleep(gathering)
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
