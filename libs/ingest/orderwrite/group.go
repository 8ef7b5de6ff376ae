package orderwrite

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/orderhub/orderhub/libs/batch"
)

// sharing says when calls share a transaction. It follows from the limits of the
// callers' batches, which are flushed at the same instants under load.
type sharing struct {
	// busy is from how many orders on a call waits for others to join.
	busy int
	// enough is from how many waiting orders on a transaction begins although another
	// one is running: a larger one costs hardly less per order, and takes long.
	enough int
	// joining is how long the first call waits for others.
	joining time.Duration
}

func sharingOf(l batch.Limits) sharing {
	return sharing{busy: l.Busy, enough: l.Count * 3 / 4, joining: l.Period / 20}
}

// group lets calls of Write that come at about the same time share a transaction,
// which costs the database as much as dozens of orders in it. A transaction begins
// when none is running, or when enough orders are waiting. So transactions are few
// and small under light load, and as many as needed under heavy load. Fewer at a
// time also leave more of the database to readers. Safe for concurrent use.
type group struct {
	most    int // orders of a transaction, unless it has a single write
	sharing sharing
	run     func([]*write) error

	mu      sync.Mutex
	waiting []*write
	orders  int // of the waiting writes
	running int // transactions, except those that are overdue
}

// write is a call of Writer.Write.
type write struct {
	ctx      context.Context
	entries  []*Entry
	position *Position  // to be moved; nil: none, or no longer
	done     chan error // receives what run returned
}

// part is a write of some of the entries, which checks the position and leaves it.
func (w *write) part(entries []*Entry) *write {
	part := &write{entries: entries}
	if w.position != nil {
		p := *w.position
		p.Next = p.From
		part.position = &p
	}
	return part
}

// pending returns the entries of the writes that are not decided.
func pending(writes []*write) (entries []*Entry) {
	for _, w := range writes {
		entries = slices.Grow(entries, len(w.entries))
		for _, e := range w.entries {
			if e.Outcome == Pending {
				entries = append(entries, e)
			}
		}
	}
	return entries
}

// overdue is after how long a transaction no longer keeps others from beginning.
const overdue = 2 * lockPatience

// do runs a write in a transaction with others, and returns its error.
func (g *group) do(ctx context.Context, w *write) error {
	w.ctx, w.done = ctx, make(chan error, 1)
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	g.orders += len(w.entries)
	g.begin()
	g.mu.Unlock()
	return <-w.done
}

// begin begins a transaction if it is time for one. The caller holds the lock.
func (g *group) begin() {
	if len(g.waiting) == 0 || g.running > 0 && g.orders < g.sharing.enough {
		return
	}
	g.running++
	go g.share(g.orders >= g.sharing.busy && g.orders < g.sharing.enough)
}

// share runs one transaction for the waiting writes, unless another one has taken
// them by then.
func (g *group) share(join bool) {
	if join {
		time.Sleep(g.sharing.joining)
	}
	g.mu.Lock()
	writes := g.take()
	g.begin() // the rest may be enough for another
	g.mu.Unlock()
	over := sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.running--
		g.begin()
	})
	defer over()
	if len(writes) == 0 {
		return
	}
	timer := time.AfterFunc(overdue, over)
	defer timer.Stop()
	err := g.run(writes)
	for _, w := range writes {
		w.done <- err
	}
}

// take returns the writes for a transaction. The caller holds the lock.
func (g *group) take() []*write {
	n, orders := 0, 0
	for n < len(g.waiting) && (n == 0 || orders+len(g.waiting[n].entries) <= g.most) {
		orders += len(g.waiting[n].entries)
		n++
	}
	taken := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	g.orders -= orders
	return taken
}
