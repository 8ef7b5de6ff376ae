package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

func (a *app) dlqDiscardCommand() *cobra.Command {
	var f targetFlags
	cmd := &cobra.Command{
		Use:   "discard ID...",
		Short: "Mark letters as not wanted",
		Long: `Mark open letters as not wanted: they are resolved then, and stay in the topic
until 'orderctl dlq purge'. 'orderctl dlq undo' opens them again.

Exit code 3: no open letter matches.`,
		Example: `  orderctl dlq discard orders/0/17 --why 'a test of ours'
  orderctl dlq discard --reason pretty_printed --since 1h --why 'sent a file by hand' --yes`,
		Args: func(cmd *cobra.Command, ids []string) error {
			if err := f.check(cmd, ids); err != nil {
				return err
			}
			if strings.TrimSpace(f.by.Why) == "" {
				return usagef("--why: say why they are not wanted")
			}
			return nil
		},
		RunE: a.work(func(cmd *cobra.Command, ids []string) error {
			return a.resolve(cmd.Context(), &f, ids, letter.Open, "discard", "discarded", func(ctx context.Context, box *letters, snap *dlq.View, refs []dlq.Ref, done func(dlq.Outcome)) error {
				return box.Discard(ctx, snap, refs, f.by, done)
			})
		}),
	}
	f.register(cmd, "discard")
	f.registerBy(cmd)
	a.settings[cmd] = &kafkaSettings{}
	return cmd
}

func (a *app) dlqUndoCommand() *cobra.Command {
	var f targetFlags
	cmd := &cobra.Command{
		Use:   "undo ID...",
		Short: "Open letters again that were redriven or discarded",
		Long: `Open letters again that were redriven or discarded. What a redrive sent stays sent.

Exit code 3: no resolved letter matches.`,
		Example: `  orderctl dlq undo orders/0/17
  orderctl dlq undo --reason conflict --since 1h`,
		Args: f.check,
		RunE: a.work(func(cmd *cobra.Command, ids []string) error {
			return a.resolve(cmd.Context(), &f, ids, letter.Resolved, "open again", "opened", func(ctx context.Context, box *letters, snap *dlq.View, refs []dlq.Ref, done func(dlq.Outcome)) error {
				return box.Undo(ctx, snap, refs, done)
			})
		}),
	}
	f.register(cmd, "open")
	a.settings[cmd] = &kafkaSettings{}
	return cmd
}

// resolve finds letters and changes their status.
func (a *app) resolve(ctx context.Context, f *targetFlags, ids []string, status letter.Status, verb, did string,
	do func(context.Context, *letters, *dlq.View, []dlq.Ref, func(dlq.Outcome)) error) error {
	box, err := f.where.open()
	if err != nil {
		return err
	}
	defer box.close()
	snap, refs, err := f.find(ctx, a, box, ids, status)
	if err != nil {
		return err
	}
	if err := a.confirm(f.yes || len(ids) > 0, verb+" "+plural(len(refs), "letter")); err != nil {
		return err
	}
	done := 0
	var writing error
	err = do(ctx, box, snap, refs, func(o dlq.Outcome) {
		if o.Err != nil {
			a.say("%s %v", mask.ID(o.Item.ID), o.Err)
			return
		}
		done++
		writing = errors.Join(writing, a.writeID(o.Item.ID, did))
	})
	return errors.Join(a.ended(ctx, box, done, len(refs), did, err), writing)
}

func (a *app) dlqPurgeCommand() *cobra.Command {
	var where dlqFlags
	var resolved, dryRun, yes bool
	var olderThan string
	cmd := &cobra.Command{
		Use:   "purge --resolved --older-than AGE",
		Short: "Remove letters from the topic that were resolved long ago",
		Long: `Remove letters from the topic that were resolved long ago, and what is said about
them. Open letters stay. This cannot be undone: the broker deletes the values
when it next compacts the topic.

Letters that others wrote (--foreign) are not removed.

Exit code 3: there is nothing to remove.`,
		Example: `  orderctl dlq purge --resolved --older-than 30d --dry-run
  orderctl dlq purge --resolved --older-than 30d --yes`,
		Args: noArgs(": purge goes by age"),
		RunE: a.work(func(cmd *cobra.Command, _ []string) error {
			if !resolved {
				return usagef("--resolved: only resolved letters are removed; say so")
			}
			age, err := letter.ParseAge(olderThan)
			if err != nil || olderThan == "" {
				return usagef("--older-than: an age such as 30d or 12h, not %q", olderThan)
			}
			return a.purge(cmd.Context(), &where, time.Now().Add(-age), dryRun, yes)
		}),
	}
	where.registerOurs(cmd)
	cmd.Flags().BoolVar(&resolved, "resolved", false, "remove resolved letters; open ones are never removed")
	cmd.Flags().StringVar(&olderThan, "older-than", "", "only what was resolved so long ago: 30d, 12h")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	a.settings[cmd] = &kafkaSettings{}
	return cmd
}

func (a *app) purge(ctx context.Context, where *dlqFlags, before time.Time, dryRun, yes bool) error {
	box, err := where.open()
	if err != nil {
		return err
	}
	defer box.close()
	options := dlq.PurgeOptions{Before: before, Source: box.cfg.Topic, DryRun: true}
	var ids []string
	err = box.Purge(ctx, options, func(id string) { ids = append(ids, id) })
	switch {
	case err != nil:
		return explainLetters(box.cfg, err)
	case len(ids) == 0:
		a.say("no letter was resolved before %s", before.UTC().Format(time.RFC3339))
		return silent(exitNothing)
	case dryRun:
		for _, id := range ids {
			if err := a.writeID(id, "nothing"); err != nil {
				return err
			}
		}
		a.say("%s would be removed", plural(len(ids), "letter"))
		return nil
	}
	if err := a.confirm(yes, "remove "+plural(len(ids), "letter")+" for good"); err != nil {
		return err
	}
	options.DryRun = false
	done := 0
	var writing error
	err = box.Purge(ctx, options, func(id string) {
		done++
		writing = errors.Join(writing, a.writeID(id, "removed"))
	})
	return errors.Join(a.ended(ctx, box, done, len(ids), "removed", err), writing)
}
