package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/index"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/deadletter/resolution"
)

const (
	// chunk is how many letters are dealt with at a time: so many may have been
	// sent without being written down as such, when a redrive is killed.
	chunk = 100
	// chunkBytes keeps a chunk within one request of Kafka's default size. A
	// larger letter goes alone.
	chunkBytes = 512 << 10
	// loadBytes is how much of letters' values is in memory at a time; a larger
	// letter is there alone.
	loadBytes = 16 << 20
	// writeDown bounds the resolutions of what is sent already, which are
	// written even where the work was interrupted.
	writeDown = 40 * time.Second
)

// By says who deals with letters, and why.
type By struct{ Actor, Why string }

// Outcome is what became of a letter.
type Outcome struct {
	Item Item
	// Copy is where a letter was sent to that was redriven.
	Copy letter.Place
	// Err says why nothing was done with it; the work goes on.
	Err error
}

// Errors of letters that somebody else dealt with meanwhile.
var (
	ErrNotOpen     = errors.New("is resolved by now")
	ErrNotResolved = errors.New("is open by now")
)

// Discard resolves letters that are not wanted any more. done is told of each.
func (s *Store) Discard(ctx context.Context, snap *Snapshot, refs []index.Ref, by By, done func(Outcome)) error {
	return chunks(ctx, refs, func(refs []index.Ref) error {
		items, err := snap.current(ctx, refs, index.Open, func(i Item) { done(Outcome{Item: i, Err: ErrNotOpen}) })
		if err != nil {
			return err
		}
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
		return s.write(ctx, items, records, func(i Item) { done(Outcome{Item: i}) })
	})
}

// Chunk is how many of the letters, from the first on, can be loaded at a time:
// at most so many, and fewer if they are large.
func Chunk(refs []index.Ref, most int) int {
	n, bytes := 0, int64(0)
	for n < min(most, len(refs)) {
		if bytes += refs[n].Size; n > 0 && bytes > loadBytes {
			break
		}
		n++
	}
	return n
}

// chunks hands out letters some at a time.
func chunks(ctx context.Context, refs []index.Ref, use func([]index.Ref) error) error {
	for len(refs) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := Chunk(refs, chunk)
		if err := use(refs[:n]); err != nil {
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
	return r.Record(s.opts.Topic, partitionOf(item.ID, partitions)), nil
}

// write sends the resolutions of items, and tells done of each.
func (s *Store) write(ctx context.Context, items []Item, records []*kgo.Record, done func(Item)) error {
	var failure error
	for i, p := range s.client.Produce(ctx, records...) {
		switch {
		case p.Err != nil && failure == nil:
			failure = fmt.Errorf("write down what was done: %w", p.Err)
		case p.Err == nil:
			done(items[i])
		}
	}
	return failure
}
