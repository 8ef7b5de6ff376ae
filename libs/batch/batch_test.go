package batch

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var limits = Limits{Busy: 8, Count: 100, Bytes: 1000, Period: 40 * time.Millisecond}

func TestASingleThingNeverWaits(t *testing.T) {
	p, now := New(limits, time.Time{}), time.Now()
	for range 10 {
		require.False(t, p.Add(limits.Busy-1, 1))
		require.Zero(t, p.UntilNext(now))
		require.Equal(t, Arrival, p.Flush(now))
	}
}

func TestUnderLoadABatchWaitsForThePeriod(t *testing.T) {
	p, now := New(limits, time.Time{}), time.Now()
	p.Add(limits.Busy, 1)
	require.Zero(t, p.UntilNext(now), "the first batch of a load does not wait")
	require.Equal(t, Arrival, p.Flush(now))

	require.Equal(t, limits.Period, p.UntilNext(now), "although it is empty")
	now = now.Add(limits.Period / 4)
	p.Add(1, 1)
	require.Equal(t, limits.Period*3/4, p.UntilNext(now))
	now = now.Add(limits.Period)
	require.Zero(t, p.UntilNext(now))
	require.Equal(t, Period, p.Flush(now))
	require.Zero(t, p.UntilNext(now), "the load is over")
}

func TestAFullBatchDoesNotWait(t *testing.T) {
	for trigger, add := range map[Trigger]func(*Policy) bool{
		Count: func(p *Policy) bool { return p.Add(limits.Count, 1) },
		Bytes: func(p *Policy) bool { return p.Add(1, limits.Bytes) },
	} {
		p, now := New(limits, time.Time{}), time.Now()
		p.Add(limits.Busy, 1)
		p.Flush(now)
		require.True(t, add(p), trigger)
		require.Zero(t, p.UntilNext(now))
		require.Equal(t, trigger, p.Flush(now))
		require.False(t, p.Add(1, 1), "the next batch starts empty")
	}
}

func TestPoliciesWithOneClockFlushAtTheSameInstants(t *testing.T) {
	clock := time.Now()
	for _, apart := range []time.Duration{0, time.Millisecond, limits.Period / 2, limits.Period - 1} {
		p := New(limits, clock)
		p.Add(limits.Busy, 1)
		now := clock.Add(7*limits.Period + apart)
		p.Flush(now)
		require.Equal(t, clock.Add(8*limits.Period), now.Add(p.UntilNext(now)))
	}
}

func TestWithoutLimitsNothingWaits(t *testing.T) {
	p, now := New(Limits{}, time.Time{}), time.Now()
	for range 3 {
		require.False(t, p.Add(1_000_000, 1<<40))
		require.Zero(t, p.UntilNext(now))
		require.Equal(t, Arrival, p.Flush(now))
	}
}
