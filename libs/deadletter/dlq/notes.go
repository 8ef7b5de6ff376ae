package dlq

import (
	"context"
	"errors"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

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
	var failures []error
	for _, p := range q.client.Produce(ctx, records...) {
		failures = append(failures, p.Err)
	}
	return errors.Join(failures...)
}
