package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
)

func (a *app) dryRun(ctx context.Context, f *redriveFlags, box *letters, refs []dlq.Ref, compare bool) error {
	codec, err := f.rules.codec()
	if err != nil {
		return err
	}
	orders, closing, err := storedOrders(compare)
	if err != nil {
		return err
	}
	defer closing()
	run := dryrun.New(codec, orders, box.cfg.Topic, f.maxRedrives)
	counts := map[string]int{}
	err = a.inSourceOrder(ctx, box, refs, func(items []dlq.Item) error {
		verdicts, err := run.Judge(ctx, items)
		for _, v := range verdicts {
			counts[v.Would]++
			if err := a.writeVerdict(v); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return a.dryRunEnded(len(refs), counts, compare)
}

// inSourceOrder loads letters some at a time, in the order in which they would be
// sent. Those that are gone by now are left out.
func (a *app) inSourceOrder(ctx context.Context, box *letters, refs []dlq.Ref, use func([]dlq.Item) error) error {
	dlq.InSourceOrder(refs)
	for rest := refs; len(rest) > 0; {
		n := dlq.Chunk(rest, listChunk)
		items, err := box.Load(ctx, rest[:n])
		if err != nil && !errors.Is(err, dlq.ErrChanged) {
			return explainLetters(box.cfg, err)
		}
		if err := use(items); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// dryRunEnded sums up.
func (a *app) dryRunEnded(letters int, counts map[string]int, compared bool) error {
	a.say("of %s: %d would be stored, %d duplicates, %d pass, %d fail, %d stay, %d unknown", plural(letters, "letter"),
		counts[dryrun.Stored], counts[dryrun.Duplicate], counts[dryrun.Pass], counts[dryrun.Fail], counts[dryrun.Stay], counts[dryrun.Unknown])
	if !compared {
		a.say("DATABASE_URL is not set: nothing was compared with the stored orders")
	}
	if counts[dryrun.Fail]+counts[dryrun.Stay] > 0 {
		return silent(exitFailed)
	}
	return nil
}

func (a *app) writeVerdict(v dryrun.Verdict) error {
	if a.output == outputJSON {
		return writeJSON(a.stdout, v)
	}
	text := v.Would
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	_, err := fmt.Fprintf(a.stdout, "%s  %s\n", dlqview.Clean(v.ID), dlqview.Clean(text))
	for _, e := range v.Errors {
		if err == nil {
			_, err = fmt.Fprintf(a.stdout, "    %s [%s]\n", dlqview.Clean(e.String()), dlqview.Clean(e.Rule))
		}
	}
	return err
}

// storedOrders gives what a dry run compares with: the database, if that is asked
// for, else nothing.
func storedOrders(compare bool) (orders dryrun.Orders, closing func(), err error) {
	if !compare {
		return nil, func() {}, nil
	}
	db, err := openDatabase()
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, uids []string) (map[string]orderdb.Stored, error) {
		return readOrders(ctx, db, uids)
	}, func() { _ = db.pool.Close() }, nil // nothing was written
}
