package ingest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at(offset int64) *record { return &record{Record: fetch.Record{Offset: offset}, offset: offset} }

// Whatever is pushed and taken in turns, each record comes out once, in order,
// and the offset to commit never passes a record that has not come out.
func TestQueueKeepsOrderAndPosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue()
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
	q := newQueue()
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
