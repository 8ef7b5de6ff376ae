package dlq

import (
	"context"
	"fmt"
	"iter"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

const (
	// chunkLetters is how many letters are dealt with at a time. A redrive that
	// is killed has sent at most so many without writing that down.
	chunkLetters = 100
	// chunkBytes keeps a chunk within one request of Kafka's default size. A
	// larger letter is sent alone.
	chunkBytes = 512 << 10
	// loadBytes is how much of letters' values is in memory at a time; a larger
	// letter is loaded alone.
	loadBytes = 16 << 20
)

// By says who deals with letters, and why.
type By struct{ Actor, Why string }

// Outcome is what became of a letter.
type Outcome struct {
	Item Item
	// Copy is where a redriven letter was sent.
	Copy letter.Place
	// Err says why nothing was done with it; the work continues.
	Err error
}

// Chunks are the letters that can be loaded at a time: at most so many, and fewer if they
// are large.
func Chunks(refs []Ref, most int) iter.Seq[[]Ref] {
	return func(yield func([]Ref) bool) {
		start, bytes := 0, int64(0)
		for i := range refs {
			if i > start && (i-start == most || bytes+refs[i].Size > loadBytes) {
				if !yield(refs[start:i]) {
					return
				}
				start, bytes = i, 0
			}
			bytes += refs[i].Size
		}
		if start < len(refs) {
			yield(refs[start:])
		}
	}
}

// chunks calls use with some of the letters at a time.
func chunks(ctx context.Context, refs []Ref, use func([]Ref) error) error {
	for some := range Chunks(refs, chunkLetters) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := use(some); err != nil {
			return err
		}
	}
	return nil
}

// Discard resolves letters that nobody wants any more. It calls done for each.
func (q *Queue) Discard(ctx context.Context, view *View, refs []Ref, by By, done func(Outcome)) error {
	return chunks(ctx, refs, func(refs []Ref) error {
		items, err := view.current(ctx, refs, letter.Open, func(i Item) { done(Outcome{Item: i, Err: ErrNotOpen}) })
		if err != nil {
			return err
		}
		resolutions := make([]letter.Resolution, len(items))
		for i := range items {
			resolutions[i] = letter.Resolution{Kind: letter.Discarded, By: by.Actor, Why: by.Why}
		}
		return q.resolve(ctx, items, resolutions, func(i int) { done(Outcome{Item: items[i]}) })
	})
}

// resolve writes the resolutions of letters, and calls done with the number of
// each that is written. They go into the letter's partition or, of a letter of
// another topic, into one that its id decides.
func (q *Queue) resolve(ctx context.Context, items []Item, resolutions []letter.Resolution, done func(int)) error {
	if len(items) == 0 {
		return nil
	}
	var partitions int32
	if !q.onlyOurs() {
		var err error
		if partitions, err = q.client.Partitions(ctx, q.opts.Topic); err != nil {
			return err
		}
	}
	records := make([]*kgo.Record, len(items))
	for i := range items {
		partition := items[i].Place.Partition
		switch {
		case items[i].Place.Topic == q.opts.Topic:
		case items[i].Ref.Status == letter.Resolved:
			partition = items[i].Ref.resolution().Partition
		default:
			partition = partitionOf(items[i].ID, partitions)
		}
		resolutions[i].ID, resolutions[i].When = items[i].ID, q.opts.Now()
		records[i] = resolutions[i].Record(q.opts.Topic, partition)
	}
	var failure error
	for i, p := range q.client.Produce(ctx, records...) {
		switch {
		case p.Err != nil && failure == nil:
			failure = fmt.Errorf("write down what was done: %w", p.Err)
		case p.Err == nil:
			done(i)
		}
	}
	return failure
}
