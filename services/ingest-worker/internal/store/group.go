package store

import (
	"context"
	"slices"
	"sync"
	"time"
)

// group lets writes that come at about the same time share a transaction, which
// costs the database as much as dozens of orders in it. One begins when none is
// running, or when enough has gathered for one of its own: so there are few and small
// ones while little comes, and as many as the load asks for while much does. Fewer at
// a time also leave more of the database to those who read. Safe for concurrent use.
type group struct {
	most int // orders of a transaction, unless it is one write's
	run  func([]*write) error

	mu      sync.Mutex
	waiting []*write
	orders  int // of those that wait
	running int // transactions, but for those that are overdue
}

// write is a call of Store.Write.
type write struct {
	ctx     context.Context
	entries []*Entry
	done    chan error // holds what the run returned
}

const (
	// enoughOrders is from where on a transaction does not wait for another's end: a
	// larger one costs hardly less an order, and takes long.
	enoughOrders = 750
	// Under a load, which this many orders of a write tell of, partitions write at
	// the same instants. Who comes first waits joining for the others.
	busyOrders = 8
	joining    = 2 * time.Millisecond
	// overdue is when a transaction no longer keeps others from beginning.
	overdue = 2 * lockPatience
)

// do has entries written in a transaction with others, and returns what its run does.
func (g *group) do(ctx context.Context, entries []*Entry) error {
	w := &write{ctx: ctx, entries: entries, done: make(chan error, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	g.orders += len(entries)
	g.begin()
	g.mu.Unlock()
	return <-w.done
}

// begin begins a transaction if it is time for one. The caller holds the lock.
func (g *group) begin() {
	if len(g.waiting) == 0 || g.running > 0 && g.orders < enoughOrders {
		return
	}
	g.running++
	go g.share(g.orders >= busyOrders && g.orders < enoughOrders)
}

// share runs one transaction for the writes that wait, if nobody else has by then.
func (g *group) share(join bool) {
	if join {
		time.Sleep(joining)
	}
	g.mu.Lock()
	writes := g.take()
	g.begin() // what is left may be enough for another
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
