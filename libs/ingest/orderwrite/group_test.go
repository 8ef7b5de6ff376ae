package orderwrite

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/libs/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var shared = sharingOf(batch.Limits{Busy: 8, Count: 1000, Period: 40 * time.Millisecond})

// ran is a transaction that took place.
type ran struct {
	at     time.Duration // when it began, since the test did
	writes int
}

// groupOf returns a group whose transactions take so long, and a list of those that it ran.
func groupOf(took time.Duration, most int) (*group, *[]ran) {
	began, all := time.Now(), &[]ran{}
	g := &group{most: most, sharing: shared}
	g.run = func(writes []*write) error {
		g.mu.Lock()
		*all = append(*all, ran{time.Since(began), len(writes)})
		g.mu.Unlock()
		time.Sleep(took)
		return nil
	}
	return g, all
}

// at calls do after so long.
func (g *group) at(t *testing.T, after time.Duration, orders int) {
	t.Helper()
	go func() {
		time.Sleep(after)
		if err := g.do(t.Context(), &write{entries: make([]*Entry, orders)}); err != nil {
			t.Error(err)
		}
	}()
}

func TestWritesShareATransaction(t *testing.T) {
	joining, enoughOrders := shared.joining, shared.enough
	const took, ms = 50 * time.Millisecond, time.Millisecond
	few, load := shared.busy-1, shared.busy
	type call struct {
		after  time.Duration
		orders int
	}
	for name, c := range map[string]struct {
		calls []call
		runs  []ran
	}{
		"a single order does not wait":                    {[]call{{0, 1}}, []ran{{0, 1}}},
		"a few orders do not wait":                        {[]call{{0, few}}, []ran{{0, 1}}},
		"writes that come meanwhile share the next":       {[]call{{0, 1}, {10 * ms, 1}, {20 * ms, 100}, {30 * ms, 1}}, []ran{{0, 1}, {took + joining, 3}}},
		"writes at the same instant share one under load": {[]call{{0, load}, {ms, load}, {ms, 100}}, []ran{{joining, 3}}},
		"a later write waits for its end":                 {[]call{{0, load}, {joining + ms, load}}, []ran{{joining, 1}, {2*joining + took, 1}}},
		"enough orders do not wait":                       {[]call{{0, 1}, {10 * ms, enoughOrders}}, []ran{{0, 1}, {10 * ms, 1}}},
		"enough orders of several writes do not wait":     {[]call{{0, 1}, {10 * ms, enoughOrders / 2}, {20 * ms, enoughOrders / 2}}, []ran{{0, 1}, {20 * ms, 2}}},
		"enough orders end the wait for others":           {[]call{{0, load}, {ms, enoughOrders}}, []ran{{ms, 2}}},
		"a transaction has at most so many orders":        {[]call{{0, 1}, {10 * ms, 700}, {20 * ms, 3500}}, []ran{{0, 1}, {20 * ms, 1}, {20 * ms, 1}}},
		"a larger write has a transaction alone":          {[]call{{0, 3 * enoughOrders}, {0, 1}}, []ran{{0, 1}, {took, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, all := groupOf(took, 4000)
				for _, call := range c.calls {
					g.at(t, call.after, call.orders)
					synctest.Wait() // in this order
				}
				time.Sleep(time.Second)
				synctest.Wait()
				require.Equal(t, c.runs, *all)
				require.Zero(t, g.running)
				require.Zero(t, g.orders)
			})
		})
	}
}

// A transaction that hangs delays others only briefly.
func TestAHangingTransactionDoesNotBlockOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all := groupOf(time.Hour, 4000)
		g.at(t, 0, 1)
		synctest.Wait()
		g.at(t, 0, 1)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []ran{{0, 1}, {overdue, 1}}, *all)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.Zero(t, g.running)
	})
}

// Every call of a failed transaction returns its error.
func TestAllWritesOfATransactionGetItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("the database is away")
		g := &group{most: 4000, sharing: shared, run: func([]*write) error { return away }}
		answers := make(chan error)
		for range 3 {
			go func() { answers <- g.do(context.Background(), &write{entries: make([]*Entry, shared.busy)}) }()
		}
		for range 3 {
			require.ErrorIs(t, <-answers, away)
		}
		synctest.Wait()
		require.Zero(t, g.running)
	})
}
