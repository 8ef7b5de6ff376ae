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
}

// Batch is what changed between two positions. It isn't changed once it has
// been given out.
type Batch struct {
	From, To string // the positions' tokens
	Events   []Event
	// Reset is why the changes are unknown, and the listener has to read anew what it
	// has; "" where Events has them.
	Reset string

	to   changes.Position
	size int
}

// Matching gives use the events that a filter lets through. Deletions always are:
// what the order was is not known any more.
func (b *Batch) Matching(filter orders.Filter, use func(Event)) {
	for _, event := range b.Events {
		if event.Order == nil || filter.Matches(event.Order) {
			use(event)
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

// Put implements changes.Sink.
func (c *collector) Put(o *model.Order, canonical []byte) bool {
	c.add(Event{UID: o.OrderUID, Order: o, JSON: canonical})
	return true
}

// Delete implements changes.Sink.
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

// Why changes can't be told.
const (
	tooMany = "too much has changed to tell it one by one"
	tooFar  = "what has changed can't be told any more"
)

// batch is what was collected between two positions.
func (c *collector) batch(from, to changes.Position) *Batch {
	b := &Batch{From: from.Token(), To: to.Token(), Events: c.events, to: to, size: c.size}
	if c.overflow {
		b.Reset = tooMany
	}
	return b
}
