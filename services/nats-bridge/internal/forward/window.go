package forward

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/orderhub/orderhub/libs/platform/retry"
)

// identity tells messages apart. The time is part of it since a stream that was
// made anew counts from 1 again.
type identity struct {
	sequence uint64
	nanos    int64
}

func identityOf(m *Message) identity { return identity{m.Sequence, m.Time.UnixNano()} }

type item struct {
	message  Message
	record   *kgo.Record
	size     int
	accepted time.Time
	reported time.Time // when the delivery was last told that it is in progress
	produced bool      // acknowledged by Kafka; the item may wait for those before it
	retry    *retry.Backoff
	span     trace.Span // nil unless the message's producer sampled its trace

	next        *item // in the order of acceptance
	nextWithKey *item // waits until this one is in Kafka
}

// rememberedMessages is how many forwarded messages are recognized when they are
// delivered again.
const rememberedMessages = 1 << 16

// window holds the messages in flight, in the order in which they were accepted.
// They leave in that order, so that the stream's oldest message without
// acknowledgement is also the oldest that may be missing in Kafka. It is not safe
// for concurrent use.
type window struct {
	head, tail *item
	items      map[identity]*item
	lastOfKey  map[string]*item
	messages   int
	bytes      int

	forwarded []identity // by sequence modulo its length
}

func newWindow() window {
	return window{
		items: map[identity]*item{}, lastOfKey: map[string]*item{},
		forwarded: make([]identity, rememberedMessages),
	}
}

// add appends an item. It reports whether the item may be produced at once:
// otherwise it waits for another with the same key.
func (w *window) add(it *item) (mayProduce bool) {
	if w.tail == nil {
		w.head = it
	} else {
		w.tail.next = it
	}
	w.tail = it
	w.items[identityOf(&it.message)] = it
	w.messages++
	w.bytes += it.size
	if it.record.Key == nil {
		return true
	}
	before := w.lastOfKey[string(it.record.Key)]
	w.lastOfKey[string(it.record.Key)] = it
	if before == nil {
		return true
	}
	before.nextWithKey = it
	return false
}

// produced marks an item that is in Kafka. It returns the items that leave the
// window for it, and the one that may be produced next, or nil.
func (w *window) produced(it *item) (leaving []*item, next *item) {
	it.produced = true
	next = it.nextWithKey
	if next == nil && it.record.Key != nil {
		delete(w.lastOfKey, string(it.record.Key))
	}
	for w.head != nil && w.head.produced {
		left := w.head
		if w.head = left.next; w.head == nil {
			w.tail = nil
		}
		id := identityOf(&left.message)
		delete(w.items, id)
		w.forwarded[id.sequence%rememberedMessages] = id
		w.messages--
		w.bytes -= left.size
		leaving = append(leaving, left)
	}
	return leaving, next
}

func (w *window) isForwarded(id identity) bool {
	return w.forwarded[id.sequence%rememberedMessages] == id
}
