package dlq

import (
	"context"
	"slices"

	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

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
	refs = slices.Clone(refs)
	InSourceOrder(refs)
	pace, most := paceOf(how.Rate), chunkLetters
	if how.Rate > 0 {
		most = 1
	}
	for some := range Chunks(refs, most) {
		if err := pace.WaitN(ctx, len(some)); err != nil {
			return err
		}
		items, err := view.current(ctx, some, letter.Open, func(i Item) { how.Done(Outcome{Item: i, Err: ErrNotOpen}) })
		if err != nil {
			return err
		}
		if err := q.accept(ctx, items, how); err != nil {
			return err
		}
	}
	return nil
}

func (q *Queue) accept(ctx context.Context, items []Item, how Acceptance) error {
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
}

// paceOf lets single letters pass at a rate a second, or any number at once if that is 0.
func paceOf(perSecond float64) *rate.Limiter {
	if perSecond == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), 1)
}
