// Package dlq finds dead letters and deals with them: it reads their topic, sends
// letters back to their source topics, and writes down what was done. The topic
// is the only store.
package dlq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/platform/pasted"
)

// Options of a Queue.
type Options struct {
	// Topic holds our worker's letters, and all resolutions.
	Topic string
	// Foreign are topics of letters that other systems wrote. If there are any, their
	// letters are the queue's, and those of Topic only if it is among them.
	Foreign []string
	// Orders is the topic of the orders, to which letters of NATS messages go back.
	Orders string
	// Erasures is the key by which erased orders are known; nil: none was ever erased, or
	// letters cannot be sent.
	Erasures *erasure.Key
}

// Queue is one or several topics of dead letters. Safe for concurrent use.
type Queue struct {
	client  *Client
	opts    Options
	letters []string // the topics of the letters
	erased  erasedOrders
}

// New returns a queue that reads and writes through a client.
func New(client *Client, opts Options) *Queue {
	q := &Queue{client: client, opts: opts, letters: []string{opts.Topic}}
	if len(opts.Foreign) > 0 {
		q.letters = nil
	}
	for _, topic := range opts.Foreign {
		if !slices.Contains(q.letters, topic) {
			q.letters = append(q.letters, topic)
		}
	}
	return q
}

// Letters are the topics that the letters are in.
func (q *Queue) Letters() []string { return q.letters }

// onlyOurs reports whether the letters are those of our own topic.
func (q *Queue) onlyOurs() bool { return len(q.letters) == 1 && q.letters[0] == q.opts.Topic }

// topics are those of the letters and that of the resolutions.
func (q *Queue) topics() []string {
	if slices.Contains(q.letters, q.opts.Topic) {
		return q.letters
	}
	return append([]string{q.opts.Topic}, q.letters...)
}

// Scan reads the topics from their start to their present end.
func (q *Queue) Scan(ctx context.Context, filter letter.Filter) (*View, error) {
	v := newView(q.letters, q.opts.Topic, filter)
	v.queue, v.erased = q, &q.erased
	return v, v.Refresh(ctx)
}

// Item is a letter with what was done about it.
type Item struct {
	letter.Letter
	Ref Ref
	// Resolution is nil while the letter is open.
	Resolution *letter.Resolution
	// Record and ResolutionRecord are the two as they stand in their topics.
	Record, ResolutionRecord *kgo.Record
}

// ErrChanged says that letters were gone when they were read again: purged, or
// replaced by a copy, since.
var ErrChanged = errors.New("the letters changed while they were read; run the command again")

// nearby is the largest distance between two wanted records that are read
// together with those between them.
const nearby = 200

// Load reads letters again, in the order of refs. The error is ErrChanged where
// one is gone; the others are given all the same.
func (q *Queue) Load(ctx context.Context, refs []Ref) ([]Item, error) {
	wanted := map[letter.Place]*kgo.Record{}
	for _, r := range refs {
		if r.HasLetter() {
			wanted[r.Place] = nil
		}
		if r.Status == letter.Resolved {
			wanted[r.resolution()] = nil
		}
	}
	for _, topic := range q.topics() {
		if err := q.fetch(ctx, topic, wanted); err != nil {
			return nil, err
		}
	}
	items := make([]Item, 0, len(refs))
	var changed error
	for _, r := range refs {
		item := Item{Ref: r}
		if r.HasLetter() {
			if item.Record = wanted[r.Place]; item.Record == nil {
				changed = ErrChanged
				continue
			}
			item.Letter = letter.Parse(item.Record)
		}
		if r.Status == letter.Resolved {
			if item.ResolutionRecord = wanted[r.resolution()]; item.ResolutionRecord == nil {
				changed = ErrChanged
				continue
			}
			// One that cannot be read resolves its letter all the same.
			parsed, _ := letter.ParseResolution(item.ResolutionRecord)
			item.Resolution = &parsed
		}
		items = append(items, item)
	}
	return items, changed
}

// listChunk is how many letters InChunks reads at a time.
const listChunk = 500

// InChunks reads letters again and calls use with some of them at a time. Those that are
// gone by now are left out.
func (q *Queue) InChunks(ctx context.Context, refs []Ref, use func([]Item) error) error {
	for some := range chunks(refs, listChunk, loadBytes) {
		items, err := q.Load(ctx, some)
		if err != nil && !errors.Is(err, ErrChanged) {
			return err
		}
		if err := use(items); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// fetch fills in the wanted records of a topic, as far as they still exist. Those
// that are near each other are read together.
func (q *Queue) fetch(ctx context.Context, topic string, wanted map[letter.Place]*kgo.Record) error {
	offsets := map[int32][]int64{}
	for p := range wanted {
		if p.Topic == topic {
			offsets[p.Partition] = append(offsets[p.Partition], p.Offset)
		}
	}
	spans := map[int32][]Span{}
	for partition, of := range offsets {
		slices.Sort(of)
		var merged []Span
		for _, offset := range of {
			if n := len(merged); n > 0 && offset-merged[n-1].To < nearby {
				merged[n-1].To = offset + 1
				continue
			}
			merged = append(merged, Span{From: offset, To: offset + 1})
		}
		spans[partition] = merged
	}
	var mu sync.Mutex
	_, err := q.client.Read(ctx, topic, spans, func(r *kgo.Record) error {
		at := letter.Place{Topic: topic, Partition: r.Partition, Offset: r.Offset}
		mu.Lock()
		defer mu.Unlock()
		if _, is := wanted[at]; is {
			wanted[at] = r
		}
		return nil
	})
	return err
}

// rescans is how often List begins anew where letters changed meanwhile.
const rescans = 3

// List finds letters, newest first, at most limit of them (0: all).
func (q *Queue) List(ctx context.Context, filter letter.Filter, status letter.Status, limit int) ([]Item, *View, error) {
	for attempt := 1; ; attempt++ {
		view, err := q.Scan(ctx, filter)
		if err != nil {
			return nil, nil, err
		}
		items, err := q.Load(ctx, view.Select(status, limit))
		if errors.Is(err, ErrChanged) && attempt < rescans {
			continue
		}
		return items, view, err
	}
}

// Errors of Find.
var (
	ErrNotFound  = errors.New("there is no such letter")
	ErrAmbiguous = errors.New("several letters have this topic, partition and offset: give the id with its 8 hex digits")
)

// Find gives the letters with the ids, which may lack their hex digits where
// that is unique, in the order given. The error names the id that is not found or
// not unique.
func (q *Queue) Find(ctx context.Context, ids ...string) ([]Item, *View, error) {
	ids = slices.Clone(ids)
	for i, id := range ids {
		ids[i] = pasted.Choose(id, letter.IsID)
	}
	items, view, err := q.List(ctx, letter.Filter{IDs: ids}, letter.Any, 0)
	if err != nil {
		return nil, nil, err
	}
	found := make([]Item, 0, len(ids))
	for _, id := range ids {
		matches := slices.DeleteFunc(slices.Clone(items), func(i Item) bool { return !letter.SameID(id, i.ID) })
		switch len(matches) {
		case 0:
			return nil, nil, fmt.Errorf("%s: %w", id, ErrNotFound)
		case 1:
			if !slices.ContainsFunc(found, func(i Item) bool { return i.ID == matches[0].ID }) {
				found = append(found, matches[0])
			}
		default:
			return nil, nil, fmt.Errorf("%s: %w", id, ErrAmbiguous)
		}
	}
	return found, view, nil
}

// History gives the letters that a record left in its redrives, the first first.
func (q *Queue) History(ctx context.Context, item Item) ([]Item, error) {
	items, _, err := q.List(ctx, letter.Filter{Origin: item.Origin}, letter.Any, 0)
	slices.Reverse(items)
	return items, err
}

// Write writes letters as the worker does: each into the partition that its id decides, so
// that compaction keeps one of a letter that is written twice, and cut as far as the topic
// takes it. It returns when all are acknowledged. After an error it can be called again.
func (q *Queue) Write(ctx context.Context, letters []deadletter.Letter) error {
	if len(letters) == 0 {
		return nil
	}
	partitions, err := q.client.Partitions(ctx, q.opts.Topic)
	if err != nil {
		return err
	}
	byKey := kgo.StickyKeyPartitioner(nil).ForTopic(q.opts.Topic) // as kafkago.Balancer, the worker's
	recordOf := func(l *deadletter.Letter) *kgo.Record {
		r := &kgo.Record{Topic: q.opts.Topic, Key: []byte(l.ID), Value: l.Value}
		for _, h := range l.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader(h))
		}
		r.Partition = int32(byKey.Partition(r, int(partitions)))
		return r
	}
	for some := range slices.Chunk(letters, chunkLetters) {
		records := make([]*kgo.Record, len(some))
		for i := range some {
			records[i] = recordOf(&some[i])
		}
		for i, p := range q.client.produceApart(ctx, records) {
			for tooLarge(p.Err) && some[i].Shorten() {
				p = q.client.Produce(ctx, recordOf(&some[i]))[0]
			}
			if p.Err != nil {
				return p.Err
			}
		}
	}
	return nil
}

// A note is what a program keeps in the topic beside the letters. It has the form of a
// resolution whose letter does not exist, so every version of every program leaves it
// alone, and compaction keeps the latest of each. Topics have no colon in their names, so
// no letter has such an id, and no purge removes notes. They are in partition 0.
const (
	notePrefix = "note:"
	noteKind   = letter.ResolutionKind("note")
)

// Notes are those that a view knows whose names begin with prefix, by what follows it.
func (q *Queue) Notes(ctx context.Context, view *View, prefix string) (map[string][]byte, error) {
	var refs []Ref
	for _, ref := range view.Orphans() {
		if strings.HasPrefix(ref.ID, notePrefix+prefix) {
			refs = append(refs, ref)
		}
	}
	items, err := q.Load(ctx, refs)
	if err != nil && !errors.Is(err, ErrChanged) { // those that are gone are no notes any more
		return nil, err
	}
	notes := make(map[string][]byte, len(items))
	for _, item := range items {
		notes[strings.TrimPrefix(item.Ref.ID, notePrefix+prefix)] = item.ResolutionRecord.Value
	}
	return notes, nil
}

// WriteNotes writes notes by their names, and removes those that are nil.
func (q *Queue) WriteNotes(ctx context.Context, prefix string, notes map[string][]byte) error {
	records := make([]*kgo.Record, 0, len(notes))
	for name, value := range notes {
		r := letter.UndoRecord(q.opts.Topic, 0, notePrefix+prefix+name)
		if value != nil {
			r.Value, r.Headers = value, []kgo.RecordHeader{{Key: letter.HeaderResolution, Value: []byte(noteKind)}}
		}
		records = append(records, r)
	}
	return q.client.produceAll(ctx, records)
}
