// Package stream passes on the changes that come into the cache: to any number of
// listeners, and from any position that any replica has given out.
package stream

import (
	"bytes"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// maxBatchBytes is the most JSON that a batch may have. The orders take about as much
// memory again.
const maxBatchBytes = 16 << 20

// Event is a change of one order.
type Event struct {
	UID   string
	Order *model.Order // as it is now; nil: it was deleted
	JSON  []byte       // its canonical JSON
	// Updated is changes.Order's.
	Updated uint32
	// Inserted is changes.Order's: the order has been as it is since its insertion.
	Inserted bool
	Left     bool // it does not match the filter, and may have matched it before
}

// Batch is what changed between two positions. It is immutable once published.
type Batch struct {
	From, To string // the positions' tokens
	Events   []Event
	// Reset is why the changes are unknown, so that the listener must read all orders
	// again; "" if Events has the changes.
	Reset string

	to   changes.Position
	size int
}

// Matching calls use with the events that concern a filter. Deletions always do, since the
// deleted order is not known any more. What a changed order was is not known either, so one
// that does not match has left.
func (b *Batch) Matching(filter orders.Filter, use func(Event)) {
	for _, event := range b.Events {
		switch {
		case event.Order == nil || filter.Matches(event.Order, event.Updated):
			use(event)
		case !event.Inserted:
			use(Event{UID: event.UID, Left: true})
		}
	}
}

// collector is a changes.Sink that keeps a round's changes.
type collector struct {
	full     func() // called when there are too many; nil: nobody needs to know
	events   []Event
	size     int
	overflow bool
}

const eventOverhead = 64 // bytes, about

func (c *collector) Put(o changes.Order) bool {
	c.add(Event{UID: o.OrderUID, Order: o.Order, JSON: o.Canonical, Updated: o.Updated, Inserted: o.Inserted})
	return true
}

func (c *collector) Delete(uid string) bool {
	c.add(Event{UID: uid})
	return true
}

// LeaveOut implements changes.Sink. Only a snapshot calls it.
func (c *collector) LeaveOut() {}

func (c *collector) add(event Event) {
	if c.overflow {
		return
	}
	event.JSON = bytes.Clone(event.JSON)
	c.events = append(c.events, event)
	c.size += eventOverhead + len(event.UID) + len(event.JSON)
	if c.size > maxBatchBytes {
		c.overflow, c.events, c.size = true, nil, 0
		if c.full != nil {
			c.full()
		}
	}
}

// Reasons of a reset.
const (
	tooMany = "too much has changed to send it one by one"
	tooFar  = "the changes since this position are no longer known"
)

// batch is what was collected between two positions.
func (c *collector) batch(from, to changes.Position) *Batch {
	b := &Batch{From: from.Token(), To: to.Token(), Events: c.events, to: to, size: c.size}
	if c.overflow {
		b.Reset = tooMany
	}
	return b
}
