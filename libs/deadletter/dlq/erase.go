package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
)

// ErrErased keeps a letter from being sent or imported.
var ErrErased = errors.New("its order was erased, and is not to come back")

// erasedOrders are those of which the topic has a note. Safe for concurrent use.
type erasedOrders struct {
	mu    sync.Mutex
	notes map[erasure.HMAC]string // the id of the key
}

// add takes a record of the topic, and reports whether it is a note of an erased order.
func (e *erasedOrders) add(r *kgo.Record) bool {
	h, note, is := erasure.ParseNote(r.Key, r.Value)
	if is {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.notes == nil {
			e.notes = map[erasure.HMAC]string{}
		}
		e.notes[h] = note.Key
	}
	return is
}

// ErasedNotes are the erased orders of which the topic has a note, as far as it was read.
func (q *Queue) ErasedNotes() map[erasure.HMAC]string {
	q.erased.mu.Lock()
	defer q.erased.mu.Unlock()
	return maps.Clone(q.erased.notes)
}

// WriteErased writes notes of erased orders.
func (q *Queue) WriteErased(ctx context.Context, orders []erasure.HMAC, at time.Time) error {
	value, err := json.Marshal(erasure.Note{At: at.UTC(), Key: q.opts.Erasures.ID()})
	if err != nil {
		return err
	}
	for some := range slices.Chunk(orders, chunkLetters) {
		notes := make(map[string][]byte, len(some))
		for _, h := range some {
			notes[h.String()] = value
		}
		if err := q.WriteNotes(ctx, erasure.NotePrefix, notes); err != nil {
			return err
		}
	}
	return nil
}

// IsErased tells whether a record, or a letter of it, may be of an erased order, as far as
// the topic was read. The error is of the key.
func (q *Queue) IsErased(key, value []byte) (bool, error) {
	q.erased.mu.Lock()
	defer q.erased.mu.Unlock()
	if len(q.erased.notes) == 0 {
		return false, nil
	}
	if q.opts.Erasures == nil {
		return false, q.opts.Erasures.Check("")
	}
	for _, uid := range deadletter.OrderUIDs(key, value) {
		if by, is := q.erased.notes[q.opts.Erasures.Of(uid)]; is {
			return true, q.opts.Erasures.Check(by)
		}
	}
	return false, nil
}

// Erase removes letters, open or resolved, with their resolutions. It leaves out letters
// that other systems wrote, and returns how many these are.
func (q *Queue) Erase(ctx context.Context, refs []Ref) (foreign int, err error) {
	for some := range slices.Chunk(refs, chunkLetters) {
		var records []*kgo.Record
		for _, ref := range some {
			if ref.Format != letter.Orderhub {
				foreign++
				continue
			}
			records = append(records, ref.tombstones()...)
		}
		if err := q.client.produceAll(ctx, records); err != nil {
			return foreign, err
		}
	}
	return foreign, nil
}

// TopicSettings returns a topic's settings.
func (q *Queue) TopicSettings(ctx context.Context, topic string) (map[string]string, error) {
	return franz.Settings(ctx, q.client.client, topic)
}

// Redriven reads the copies that were made of letters by edits, as far as their topics
// still have them.
func (q *Queue) Redriven(ctx context.Context, items []Item) ([]*kgo.Record, error) {
	wanted := map[letter.Place]*kgo.Record{}
	for _, item := range items {
		if item.Resolution == nil || !item.Resolution.Edited {
			continue
		}
		if at, ok := letter.ParsePlace(item.Resolution.Became); ok {
			wanted[at] = nil
		}
	}
	topics := map[string]bool{}
	for at := range wanted {
		if !topics[at.Topic] {
			topics[at.Topic] = true
			if err := q.fetch(ctx, at.Topic, wanted); err != nil && !errors.Is(err, ErrNoTopic) {
				return nil, err
			}
		}
	}
	return slices.DeleteFunc(slices.Collect(maps.Values(wanted)), func(r *kgo.Record) bool { return r == nil }), nil
}
