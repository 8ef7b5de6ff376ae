// Package stream hands on the changes that come into the cache: to any number
// of listeners, and from any position that any replica has given out.
package stream

import (
	"fmt"
	"sync"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// maxBatchBytes is the most that changes may take to be told one by one.
const maxBatchBytes = 16 << 20

// Event is a change of one order.
type Event struct {
	UID   string
	Order []byte // the canonical JSON as it is now; nil: the order is gone
}

// Batch is what changed between two positions. It isn't changed once it has
// been given out.
type Batch struct {
	From, To string // the positions' tokens
	Events   []Event
	// Reset is why the changes can't be told, "" where Events has them: whoever
	// follows has to read anew what he has.
	Reset string

	to         changes.Position
	size       int
	once       sync.Once
	attributes []orders.Attributes
}

// Matching gives use the batch's events that a filter lets through. Deletions
// always are: what the order was is not known any more.
func (b *Batch) Matching(filter orders.Filter, use func(Event)) {
	if filter == (orders.Filter{}) {
		for _, event := range b.Events {
			use(event)
		}
		return
	}
	b.once.Do(func() {
		b.attributes = make([]orders.Attributes, len(b.Events))
		for i, event := range b.Events {
			if event.Order == nil {
				continue
			}
			var err error
			if b.attributes[i], err = orders.AttributesOf(event.Order); err != nil {
				panic(fmt.Sprintf("the canonical JSON of %s can't be read: %v", event.UID, err)) // it is ours
			}
		}
	})
	for i, event := range b.Events {
		if event.Order == nil || filter.Matches(b.attributes[i]) {
			use(event)
		}
	}
}

// collector passes changes on to a sink and keeps them.
type collector struct {
	changes.Sink        // nil: nobody else wants them
	all          bool   // changes that the sink has already are kept too
	full         func() // called when there are too many
	events       []Event
	size         int
	overflow     bool
}

const eventOverhead = 64 // bytes, about

func (c *collector) Put(uid string, canonical []byte) bool {
	changed := c.Sink == nil || c.Sink.Put(uid, canonical)
	if changed || c.all {
		c.add(Event{UID: uid, Order: append([]byte(nil), canonical...)})
	}
	return changed
}

func (c *collector) Delete(uid string) bool {
	changed := c.Sink == nil || c.Sink.Delete(uid)
	if changed || c.all {
		c.add(Event{UID: uid})
	}
	return changed
}

// LeaveOut is of snapshots alone.
func (c *collector) LeaveOut() {}

func (c *collector) add(event Event) {
	if c.overflow {
		return
	}
	c.events = append(c.events, event)
	c.size += eventOverhead + len(event.UID) + len(event.Order)
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
