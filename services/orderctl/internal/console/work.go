package console

import (
	"context"
	"errors"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
)

// tryOutChunk is how many letters of a dry run are read at a time.
const tryOutChunk = 200

// work is what a job does with letters.
func (c *Console) work(refs []dlq.Ref, o order) func(context.Context, *job) error {
	switch o.Kind {
	case dryRun:
		return func(ctx context.Context, j *job) error { return c.tryOut(ctx, j, refs) }
	case redrive:
		return c.thenCatchUp(func(ctx context.Context, j *job, snap *dlq.View) error {
			return c.store.Redrive(ctx, snap, refs, dlq.Redrive{
				By: dlq.By{Actor: o.Actor, Why: o.Why}, MaxRedrives: o.MaxRedrives, Rate: o.Rate, Done: j.outcome,
			})
		})
	case discard:
		return c.thenCatchUp(func(ctx context.Context, j *job, snap *dlq.View) error {
			return c.store.Discard(ctx, snap, refs, dlq.By{Actor: o.Actor, Why: o.Why}, j.outcome)
		})
	case undo:
		return c.thenCatchUp(func(ctx context.Context, j *job, snap *dlq.View) error {
			mine, err := c.ownResolutions(ctx, j, snap, refs)
			if err != nil {
				return err
			}
			return c.store.Undo(ctx, snap, mine, j.outcome)
		})
	}
	return func(context.Context, *job) error { return errors.New("no such kind of job") }
}

// workEdited sends a value in a letter's place.
func (c *Console) workEdited(ref dlq.Ref, value []byte, o order) func(context.Context, *job) error {
	return c.thenCatchUp(func(ctx context.Context, j *job, snap *dlq.View) error {
		return c.store.Redrive(ctx, snap, []dlq.Ref{ref}, dlq.Redrive{
			By: dlq.By{Actor: o.Actor, Why: o.Why}, MaxRedrives: o.MaxRedrives, Done: j.outcome,
			Edit: func(*dlq.Item) ([]byte, error) { return value, nil },
		})
	})
}

// thenCatchUp makes sure that the pages show what a job did once it has ended,
// also where it was stopped on its way.
func (c *Console) thenCatchUp(do func(context.Context, *job, *dlq.View) error) func(context.Context, *job) error {
	return func(ctx context.Context, j *job) error {
		defer c.live.catchUp(context.WithoutCancel(ctx))
		return do(ctx, j, c.live.current())
	}
}

// ownResolutions leaves, where a job is to be undone, only the letters that were
// resolved by it: somebody else may have opened and resolved others since.
func (c *Console) ownResolutions(ctx context.Context, j *job, snap *dlq.View, refs []dlq.Ref) ([]dlq.Ref, error) {
	undone := c.jobs.find(j.UndoOf)
	if j.UndoOf == "" || undone == nil {
		return refs, nil
	}
	if err := snap.Refresh(ctx); err != nil {
		return nil, err
	}
	for i := range refs {
		refs[i], _ = snap.Current(refs[i]) // one that is gone is not loaded below
	}
	const slack = time.Second
	from, to := undone.Began.Add(-slack), undone.view().Ended.Add(slack)
	var mine []dlq.Ref
	for len(refs) > 0 {
		n := min(tryOutChunk, len(refs))
		items, err := c.load(ctx, refs[:n])
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			res := item.Resolution
			if res != nil && res.By == undone.Actor && !res.When.Before(from) && !res.When.After(to) {
				mine = append(mine, item.Ref)
				continue
			}
			j.left(row{ID: shownID(&item), At: place{item.Ref.Partition, item.Ref.Offset}, Text: "was dealt with by somebody since"})
		}
		refs = refs[n:]
	}
	return mine, nil
}

// outcome notes what became of a letter.
func (j *job) outcome(o dlq.Outcome) {
	at := place{o.Item.Ref.Partition, o.Item.Ref.Offset}
	if o.Err != nil {
		j.left(row{ID: shownID(&o.Item), At: at, Text: o.Err.Error()})
		return
	}
	j.did(at)
}

// tryOut plays the worker: what would become of letters that are redriven now.
func (c *Console) tryOut(ctx context.Context, j *job, refs []dlq.Ref) error {
	run := dryrun.New(c.opts.Codec, c.opts.Orders, c.opts.OrdersTopic, j.MaxRedrives)
	dlq.InSourceOrder(refs)
	for len(refs) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(tryOutChunk, len(refs))
		items, err := c.load(ctx, refs[:n])
		if err != nil {
			return err
		}
		verdicts, err := run.Judge(ctx, items)
		if err != nil {
			return err
		}
		for i, verdict := range verdicts {
			j.judged(rowOf(&items[i], verdict), passes(verdict))
		}
		refs = refs[n:]
	}
	return nil
}

// passes says whether a letter, redriven now, would be dealt with for good.
func passes(v dryrun.Verdict) bool {
	return v.Would == dryrun.Stored || v.Would == dryrun.Duplicate || v.Would == dryrun.Pass
}

// rowErrors is how many failures of a letter a job's page names.
const rowErrors = 20

func rowOf(item *dlq.Item, verdict dryrun.Verdict) row {
	r := row{ID: shownID(item), At: place{item.Ref.Partition, item.Ref.Offset}, Would: verdict.Would, Text: verdict.Reason}
	for i, failure := range verdict.Errors {
		if i == rowErrors {
			r.Errors = append(r.Errors, "and "+dlqview.Plural(len(verdict.Errors)-i, "more failure"))
			break
		}
		r.Errors = append(r.Errors, textOf(failure))
	}
	return r
}

func textOf(f model.FieldError) string { return clean(f.String()) + " [" + clean(f.Rule) + "]" }
