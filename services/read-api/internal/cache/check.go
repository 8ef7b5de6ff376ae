package cache

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

const (
	// checkedOrders is how many orders of the tables are compared with the cache at a
	// time, and how many of the cache with the tables.
	checkedOrders = 100
	// mendChecks is how many intervals of checks pass between two relists that
	// differences lead to.
	mendChecks = 10
)

// read reads a round of changes. When a check is due, it also compares a sample of the
// orders, in the transaction that the changes come from: what is still different is no
// change that is about to arrive. The cache has then what was found.
func (r *Reflector) read(ctx context.Context, f *feed, into *sink) (changes.Round, error) {
	switch {
	case f.checkpoint != nil:
		return r.source.Resume(ctx, *f.checkpoint, into)
	case r.saver.running != nil:
		select {
		case err := <-r.saver.running.written:
			return r.mark(ctx, f, into, err)
		default:
		}
	}
	if !f.published || r.options.Check == 0 || time.Since(r.checked) < r.options.Check {
		return r.source.Tail(ctx, f.position, into)
	}
	r.checked = time.Now() // a check that fails must not keep failing the rounds after this one
	c := &comparison{sink: into}
	sample := changes.Sample{Rows: checkedOrders, Expected: f.store.Stats().Orders, UIDs: f.store.Sample(checkedOrders)}
	round, err := r.source.Check(ctx, f.position, into, sample, c)
	if c.differences > 0 {
		r.differ = true
		r.figure.differences.Add(int64(c.differences))
		r.log.Warn("orders in memory differed from the tables: they were changed in a way that the triggers do not see",
			zap.Int("differences", c.differences), zap.Int("checked_about", 2*checkedOrders))
	}
	return round, err
}

// mend asks for a relist where orders had changed unseen, since others will have as well.
func (r *Reflector) mend() error {
	if !r.differ || time.Since(r.mended) < mendChecks*r.options.Check {
		return nil
	}
	r.mended = time.Now()
	return &changes.RelistError{Reason: "orders were changed in a way that the triggers do not see"}
}

// reportTriggers says in the log, when it changes, and for /readyz whether the triggers
// are as they should be.
func (r *Reflector) reportTriggers(off int) {
	detail := "in step with the tables"
	if off > 0 {
		detail = fmt.Sprintf("in step with the tables, but %d of their triggers are off, so that some changes are not seen: run `SELECT order_triggers_enable()` in the database", off)
	}
	if was := r.figure.triggersOff.Swap(int64(off)); was != int64(off) {
		if off > 0 {
			r.log.Warn("triggers of the tables are off: some changes are not seen; run `SELECT order_triggers_enable()` in the database", zap.Int("triggers", off))
		} else {
			r.log.Info("all triggers of the tables are on again")
		}
	}
	r.options.Health.Ready(detail)
}

// comparison is the sink of a sample: it counts, and corrects, what the store has
// differently.
type comparison struct {
	*sink
	differences int
}

func (c *comparison) Put(o changes.Order) bool {
	if !c.store.Complete(o.OrderUID) {
		if _, has := c.store.Get(o.OrderUID); !has {
			return false // left out for want of room
		}
	}
	return c.correct(c.store.Put(o.OrderUID, o.Canonical, o.Updated), func(s Subscriber) { s.Put(o, true) })
}

func (c *comparison) Delete(uid string) bool {
	return c.correct(c.store.Delete(uid), func(s Subscriber) { s.Delete(uid, true) })
}

func (c *comparison) correct(changed bool, tell func(Subscriber)) bool {
	if changed {
		c.differences++
		for _, s := range c.subscribers {
			tell(s)
		}
	}
	return changed
}
