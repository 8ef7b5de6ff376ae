package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/accept"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
)

type acceptFlags struct {
	lookSettings
	targetFlags
	dryRun, reveal bool
	rate           float64
}

func (a *app) dlqAcceptCommand() *cobra.Command {
	var f acceptFlags
	cmd := a.command("dlq accept", &f.lookSettings, f.check, func(cmd *cobra.Command, ids []string) error {
		if f.Database.URL == "" {
			return usagef("DATABASE_URL: name the database with the orders")
		}
		return a.accept(cmd.Context(), &f, ids)
	})
	f.register(cmd, "accept")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "at most so many letters, those of the first records; 0: all")
	byFlags(cmd, &f.by, "with the letters")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only show how the letters differ from the stored orders")
	cmd.Flags().BoolVar(&f.reveal, "reveal", false, "with --dry-run: show personal data too, and write that to the audit log")
	cmd.Flags().Float64Var(&f.rate, "rate", 0, "letters a second; 0: as fast as possible")
	return cmd
}

// check refuses arguments, and chooses conflicts alone among letters that are not named.
func (f *acceptFlags) check(cmd *cobra.Command, ids []string) error {
	const conflict = deadletter.ReasonConflict
	switch err := f.targetFlags.check(cmd, ids); {
	case err != nil:
		return err
	case f.limit < 0:
		return usagef("--limit: at least 0, which means all, not %d", f.limit)
	case slices.ContainsFunc(f.which.Reasons, func(reason string) bool { return reason != conflict }):
		return usagef("--reason: only letters of the reason %s can be accepted", conflict)
	}
	f.which.Reasons = []string{conflict}
	return checkRate(f.rate)
}

// acceptor opens the database, if the settings name one.
func (a *app) acceptor(queue *dlq.Queue, s *lookSettings) (*accept.Acceptor, error) {
	db, err := a.openIfNamed(s.Database)
	if db == nil {
		return nil, err
	}
	return db.acceptor(queue, &s.Rules, s.Letters.Erasures.NewKey()), nil
}

// accept makes the contents of letters the newest versions of their orders, or with --dry-run
// shows the differences.
func (a *app) accept(ctx context.Context, f *acceptFlags, ids []string) error {
	c, err := a.choose(ctx, &f.targetFlags, &f.Letters, ids, letter.Open, f.dryRun, "accept %s")
	if err != nil {
		return err
	}
	acceptor, err := a.acceptor(c.queue, &f.lookSettings)
	if err != nil {
		return err
	}
	if !f.dryRun {
		r := &report{app: a, did: "accepted", of: len(c.refs), bar: a.newBar(len(c.refs), "accepting", "letters")}
		how := dlq.Acceptance{By: f.by, Rate: f.rate, Store: acceptor.Store, Done: r.outcome}
		return r.end(ctx, c.queue.Accept(ctx, c.view, c.refs, how))
	}
	counts, err := a.judge(ctx, &c, a.revealing(ctx, f.reveal, &f.Letters, f.by), acceptor.Try(f.reveal))
	if err != nil {
		return err
	}
	a.say("of %s: %d would replace the order, %d are like it, %d stay", dlqview.Plural(len(c.refs), "letter"),
		counts[dryrun.Replaced], counts[dryrun.Duplicate], counts[dryrun.Stay])
	if counts[dryrun.Stay] > 0 {
		return failed()
	}
	return nil
}
