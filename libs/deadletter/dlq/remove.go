package dlq

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

// Undo and Purge remove records. A purge that did not know of an undo would
// remove an open letter, and Kafka has no "write if nothing changed". So both
// write with the same transactional id: the one that begins fences the other, reads
// the topic up to its end, and only then writes. Either what it read still holds
// when its records are committed, or they are not committed.

const (
	// tries is how often fenced work begins anew.
	tries = 8
	// longestPause is the longest pause before that. It is random, so that two
	// do not keep interrupting each other.
	longestPause = 300 * time.Millisecond
)

// exclusively runs work as the only writer of the topic's undos and purges. It
// begins anew when another writer fences it.
func (q *Queue) exclusively(ctx context.Context, work func(*Exclusive) error) error {
	once := func() error {
		only, err := q.client.Exclusive(ctx, "orderhub-dlq/"+q.opts.Topic)
		if err != nil {
			return err
		}
		defer only.Close()
		return work(only)
	}
	for try := 1; ; try++ {
		err := once()
		if !errors.Is(err, ErrInterfered) || try == tries {
			return err
		}
		if err := retry.Sleep(ctx, rand.N(longestPause)); err != nil {
			return err
		}
	}
}

// Undo reopens resolved letters. What a redrive sent stays sent.
func (q *Queue) Undo(ctx context.Context, view *View, refs []Ref, done func(Outcome)) error {
	return chunks(ctx, refs, func(refs []Ref) error {
		return q.exclusively(ctx, func(only *Exclusive) error {
			var outcomes []Outcome
			items, err := view.current(ctx, refs, letter.Resolved, func(i Item) { outcomes = append(outcomes, Outcome{Item: i, Err: ErrNotResolved}) })
			if err != nil {
				return err
			}
			var records []*kgo.Record
			for _, item := range items {
				outcomes = append(outcomes, Outcome{Item: item})
				for _, at := range item.Ref.resolutions {
					records = append(records, letter.UndoRecord(q.opts.Topic, at.Partition, item.ID))
				}
			}
			if len(records) > 0 {
				if err := only.Write(ctx, records...); err != nil {
					return err
				}
			}
			for _, o := range outcomes {
				done(o)
			}
			return nil
		})
	})
}

// PurgeOptions say what Purge removes.
type PurgeOptions struct {
	// Before is when a letter was resolved at the latest.
	Before time.Time
	// Source is the topic whose letters Topic holds: resolutions without a
	// letter are removed only if that came from there. Others may be of letters
	// in a foreign topic.
	Source string
	// DryRun only reports.
	DryRun bool
}

// Purge removes what was resolved before a time, letter and resolution together.
// Letters that are not ours stay, and so do their resolutions, without which they
// would be open again. It calls done for each letter that is gone.
func (q *Queue) Purge(ctx context.Context, o PurgeOptions, done func(id string)) error {
	switch {
	case !q.onlyOurs():
		return errors.New("letters of a topic that others write cannot be purged")
	case o.DryRun:
		return q.purge(ctx, nil, o, done)
	}
	return q.exclusively(ctx, func(only *Exclusive) error { return q.purge(ctx, only, o, done) })
}

func (q *Queue) purge(ctx context.Context, only *Exclusive, o PurgeOptions, done func(id string)) error {
	view, err := q.Scan(ctx, letter.Filter{})
	if err != nil {
		return err
	}
	isOurs := func(i *Item) bool {
		if !i.Ref.HasLetter() {
			return strings.HasPrefix(i.Resolution.ID, o.Source+"/")
		}
		return string(i.Key) == i.ID
	}
	return chunks(ctx, append(view.Select(letter.Resolved, 0), view.Orphans()...), func(refs []Ref) error {
		items, err := q.Load(ctx, refs)
		if err != nil && !errors.Is(err, ErrChanged) {
			return err
		}
		var ids []string
		var records []*kgo.Record
		for i := range items {
			item, r := &items[i], items[i].Resolution
			if r == nil || r.When.IsZero() || !r.When.Before(o.Before) || !isOurs(item) {
				continue
			}
			ids = append(ids, r.ID)
			for _, at := range item.Ref.letters {
				records = append(records, &kgo.Record{Topic: q.opts.Topic, Partition: at.Partition, Key: []byte(r.ID)})
			}
			for _, at := range item.Ref.resolutions {
				records = append(records, letter.UndoRecord(q.opts.Topic, at.Partition, r.ID))
			}
		}
		if only != nil && len(records) > 0 {
			if err := only.Write(ctx, records...); err != nil {
				return err
			}
		}
		for _, id := range ids {
			done(id)
		}
		return nil
	})
}
