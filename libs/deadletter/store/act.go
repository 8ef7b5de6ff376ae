package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/index"
	"github.com/orderhub/orderhub/libs/deadletter/resolution"
)

const (
	// chunk is how many letters are dealt with at a time: so many may have been
	// sent without being written down as such, when a redrive is killed.
	chunk = 100
	// chunkBytes keeps a chunk within one request of Kafka's default size. A
	// larger letter goes alone.
	chunkBytes = 512 << 10
	// writeDown bounds the resolutions of what is sent already, which are
	// written even where the work was interrupted.
	writeDown = 40 * time.Second
)

// By says who deals with letters, and why.
type By struct{ Actor, Why string }

// Discard resolves letters that are not wanted any more. done is told of each.
func (s *Store) Discard(ctx context.Context, refs []index.Ref, by By, done func(Item)) error {
	return s.chunks(ctx, refs, func(items []Item) error {
		var records []*kgo.Record
		for _, item := range items {
			r, err := s.resolve(ctx, item, resolution.Resolution{
				ID: item.ID, Kind: resolution.Discarded, By: by.Actor, When: s.opts.Now(), Why: by.Why,
			})
			if err != nil {
				return err
			}
			records = append(records, r)
		}
		return s.write(ctx, items, records, done)
	})
}

// Undo takes back what was done about resolved letters: they are open again.
// What was sent stays sent.
func (s *Store) Undo(ctx context.Context, refs []index.Ref, done func(Item)) error {
	return s.chunks(ctx, refs, func(items []Item) error {
		for _, item := range items {
			for _, partition := range item.Ref.Resolutions {
				if err := s.write(ctx, nil, []*kgo.Record{resolution.Undo(s.opts.Topic, partition, item.ID)}, nil); err != nil {
					return err
				}
			}
			done(item)
		}
		return nil
	})
}

// Purge removes from the topic what was resolved before a time: first the
// letters, then their resolutions, so that none is open in between. Letters that
// are not ours stay, and so do their resolutions, without which they would be
// open again. A resolution whose letter is gone is removed where the letter came
// from source.
func (s *Store) Purge(ctx context.Context, snap *Snapshot, before time.Time, source string, dryRun bool, done func(id string)) error {
	if s.opts.Foreign != "" {
		return errors.New("letters of a topic that others write cannot be purged")
	}
	old := func(items []Item, ours func(Item) bool) []Item {
		var kept []Item
		for _, item := range items {
			if r := item.Resolution; r != nil && !r.When.IsZero() && r.When.Before(before) && ours(item) {
				kept = append(kept, item)
			}
		}
		return kept
	}
	purge := func(items []Item) error {
		for _, item := range items {
			id := item.Resolution.ID
			if !dryRun {
				for _, partition := range item.Ref.Letters {
					if err := s.write(ctx, nil, []*kgo.Record{{Topic: s.opts.Topic, Partition: partition, Key: []byte(id)}}, nil); err != nil {
						return err
					}
				}
				for _, partition := range item.Ref.Resolutions {
					if err := s.write(ctx, nil, []*kgo.Record{resolution.Undo(s.opts.Topic, partition, id)}, nil); err != nil {
						return err
					}
				}
			}
			done(id)
		}
		return nil
	}
	err := s.chunks(ctx, snap.Select(index.Resolved, 0), func(items []Item) error {
		return purge(old(items, func(i Item) bool { return string(i.Key) == i.ID }))
	})
	if err != nil {
		return err
	}
	return s.chunks(ctx, snap.Orphans(), func(items []Item) error {
		return purge(old(items, func(i Item) bool { return strings.HasPrefix(i.Resolution.ID, source+"/") }))
	})
}

// chunks loads letters some at a time. Those that are gone are passed over:
// somebody else has dealt with them.
func (s *Store) chunks(ctx context.Context, refs []index.Ref, use func([]Item) error) error {
	for len(refs) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(chunk, len(refs))
		items, err := s.Load(ctx, refs[:n])
		if err != nil && !errors.Is(err, ErrChanged) {
			return err
		}
		if err := use(items); err != nil {
			return err
		}
		refs = refs[n:]
	}
	return nil
}

// resolve makes the record of a letter's resolution: in the letter's partition,
// or, for a letter of another topic, in one that its id decides.
func (s *Store) resolve(ctx context.Context, item Item, r resolution.Resolution) (*kgo.Record, error) {
	if s.opts.Foreign == "" {
		return r.Record(s.opts.Topic, item.Place.Partition), nil
	}
	if item.Ref.Status == index.Resolved {
		return r.Record(s.opts.Topic, item.Ref.ResolutionPartition), nil
	}
	partitions, err := s.client.Partitions(ctx, s.opts.Topic)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(item.ID))
	return r.Record(s.opts.Topic, int32(binary.BigEndian.Uint32(sum[:])%uint32(partitions))), nil
}

// write sends records, one for each item if done is to be told of them.
func (s *Store) write(ctx context.Context, items []Item, records []*kgo.Record, done func(Item)) error {
	var failure error
	for i, p := range s.client.Produce(ctx, records...) {
		switch {
		case p.Err != nil && failure == nil:
			failure = fmt.Errorf("write down what was done: %w", p.Err)
		case p.Err == nil && done != nil:
			done(items[i])
		}
	}
	return failure
}
