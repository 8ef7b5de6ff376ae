package dlq

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

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
	// writeDown bounds the writing of the resolutions of what is done, which
	// happens even if the work was interrupted.
	writeDown = 40 * time.Second
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

// chunks are the letters that can be loaded at a time: at most so many, and fewer if they
// have more bytes together.
func chunks(refs []Ref, most int, bytes int64) iter.Seq[[]Ref] {
	return func(yield func([]Ref) bool) {
		start, size := 0, int64(0)
		for i := range refs {
			if i > start && (i-start == most || size+refs[i].Size > bytes) {
				if !yield(refs[start:i]) {
					return
				}
				start, size = i, 0
			}
			size += refs[i].Size
		}
		if start < len(refs) {
			yield(refs[start:])
		}
	}
}

// deal calls work with some open letters at a time, at a rate a second, or as fast as possible if
// that is 0. It skips letters that others have resolved, as was known maxAge ago at the latest.
func (q *Queue) deal(ctx context.Context, view *View, refs []Ref, perSecond float64, maxAge time.Duration, done func(Outcome), work func([]Item) error) error {
	pace, most := rate.NewLimiter(rate.Inf, 0), chunkLetters
	if perSecond > 0 {
		pace, most = rate.NewLimiter(rate.Limit(perSecond), 1), 1
	}
	var refreshed time.Time
	for some := range chunks(refs, most, chunkBytes) {
		if err := pace.WaitN(ctx, len(some)); err != nil {
			return err
		}
		if time.Since(refreshed) >= maxAge {
			if err := view.Refresh(ctx); err != nil {
				return err
			}
			refreshed = time.Now()
		}
		items, err := view.current(ctx, some, letter.Open, func(i Item) { done(Outcome{Item: i, Err: ErrNotOpen}) })
		if err != nil {
			return err
		}
		if err := work(items); err != nil {
			return err
		}
	}
	return nil
}

// Discard resolves letters that nobody wants any more. It calls done for each.
func (q *Queue) Discard(ctx context.Context, view *View, refs []Ref, by By, done func(Outcome)) error {
	return q.deal(ctx, view, refs, 0, 0, done, func(items []Item) error {
		resolutions := slices.Repeat([]letter.Resolution{{Kind: letter.Discarded, By: by.Actor, Why: by.Why}}, len(items))
		return q.resolve(ctx, items, resolutions, func(i int) { done(Outcome{Item: items[i]}) })
	})
}

// Acceptance says how the contents of letters become the newest versions of their orders.
type Acceptance struct {
	By By
	// Rate is in letters a second; 0 means as fast as possible.
	Rate float64
	// Store changes the orders, and says of each letter what became of it. After an error,
	// which is not a letter's own, all of the letters stay open.
	Store func(context.Context, []Item) ([]Accepted, error)
	// Done is called for each letter.
	Done func(Outcome)
}

// Accepted is what became of a letter.
type Accepted struct {
	// Replaced is the number of the version of the order that the letter replaced; 0: none.
	Replaced int64
	// Err says why the letter was not accepted.
	Err error
}

// Accept has letters' contents stored, in the order of their sources, and resolves each once
// that is committed. Killed in between, it leaves letters open whose contents are stored: run
// again, it finds the order like that, and resolves them.
func (q *Queue) Accept(ctx context.Context, view *View, refs []Ref, how Acceptance) error {
	return q.deal(ctx, view, inSourceOrder(refs), how.Rate, 0, how.Done, func(items []Item) error {
		// What is stored must be written down, whatever happens meanwhile.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeDown)
		defer cancel()
		all, err := how.Store(ctx, items)
		if err != nil {
			return err
		}
		var accepted []Item
		var resolutions []letter.Resolution
		for i, a := range all {
			if a.Err != nil {
				how.Done(Outcome{Item: items[i], Err: a.Err})
				continue
			}
			accepted = append(accepted, items[i])
			resolutions = append(resolutions, letter.Resolution{Kind: letter.Accepted, By: how.By.Actor, Why: how.By.Why, Replaced: a.Replaced})
		}
		return q.resolve(ctx, accepted, resolutions, func(i int) { how.Done(Outcome{Item: accepted[i]}) })
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
		resolutions[i].ID, resolutions[i].When = items[i].ID, time.Now()
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
