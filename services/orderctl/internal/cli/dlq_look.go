package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/inspect"
)

// peopleLimit is how many letters people are shown.
const peopleLimit = 50

func (a *app) dlqListCommand() *cobra.Command {
	var s kafkaSettings
	var where kafkaFlags
	var which filterFlags
	var status letter.Status
	var limit int
	var follow bool
	cmd := a.command(&cobra.Command{
		Use:   "list",
		Short: "List dead letters, newest first",
		Long: `List dead letters, newest first. Conditions of several flags are all to be met;
a flag with several values is met by any of them.

Exit code 3: no letter matches.`,
		Example: `  orderctl dlq list
  orderctl dlq list --reason invalid --path items[].price --since 2h
  orderctl dlq list --status any --text b563feb7b2b84b6test --output json
  orderctl dlq list --follow --reason conflict
  orderctl dlq list --foreign connect-orders.dlq,orders.DLT,orders.dlq`,
		Args: noArgs(": 'orderctl dlq show' shows a letter"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit: at least 0, which means all, not %d", limit)
			}
			if !cmd.Flags().Changed("limit") && a.output == outputText {
				limit = peopleLimit
			}
			return a.withLetters(&where, &s.Kafka, func(queue *dlq.Queue) error {
				view, err := queue.Scan(cmd.Context(), which.Filter)
				if err != nil {
					return err
				}
				a.sayGaps(view)
				return a.list(cmd.Context(), view, status, limit, follow)
			})
		},
	}, &s)
	where.registerLetters(cmd)
	which.register(cmd)
	statusFlag(cmd, &status, letter.Open)
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many letters; 0: all (default: 50 for people, all with --output json)")
	cmd.Flags().BoolVar(&follow, "follow", false, "print new letters as they arrive, until Ctrl-C")
	return cmd
}

func (a *app) list(ctx context.Context, view *dlq.View, status letter.Status, limit int, follow bool) error {
	table := dlqview.NewTable(a.stdout, a.style())
	write := func(lines ...dlqview.Line) error {
		if a.output == outputText {
			return table.Write(lines)
		}
		for _, line := range lines {
			if err := writeJSON(a.stdout, line); err != nil {
				return err
			}
		}
		return nil
	}
	all := view.Select(status, 0)
	refs := all
	if limit > 0 && len(refs) > limit {
		refs = refs[:limit]
	}
	lines := make([]dlqview.Line, len(refs))
	for i, r := range refs {
		lines[i] = dlqview.LineOf(r.Letter, r.Status)
	}
	var err error
	if len(lines) > 0 {
		err = write(lines...)
	}
	if len(refs) < len(all) {
		a.say("%d of %s; --limit 0 lists all", len(refs), plural(len(all), "letter"))
	}
	switch {
	case err != nil:
		return err
	case len(all) == 0 && !follow:
		return nothing("no letter matches")
	case !follow:
		return nil
	}
	err = view.Follow(ctx, func(l *letter.Letter, s letter.Status) error {
		if status != letter.Any && s != status {
			return nil
		}
		return write(dlqview.LineOf(l, s))
	})
	return untilStopped(ctx, err)
}

// untilStopped is the error of a command that Ctrl-C ends as a matter of course.
func untilStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errs.New(errs.Interrupted, "")
	}
	return err
}

func (a *app) dlqShowCommand() *cobra.Command {
	var s lookSettings
	var where kafkaFlags
	var rules ruleFlags
	var reveal bool
	var actor string
	cmd := a.command(&cobra.Command{
		Use:   "show ID",
		Short: "Show a dead letter: where it came from, why it failed, its value and history",
		Long: `Show a dead letter: where it came from, why it failed, with each failure pointed at
in its value, and what became of it and of its redrives. If the value is not JSON, a
caret marks the byte where reading failed; bytes that are not text are shown in hex.

If DATABASE_URL is set, a conflict is shown as the differences from the stored
order.

With --reveal nothing is masked, and who looked is written to the audit log.`,
		Example: `  orderctl dlq show orders/0/17
  orderctl dlq show orders/0/17/9f3a1c2e --reveal --actor ann
  orderctl dlq show orders/0/17 --output json`,
		Args: oneArg("name one letter by its id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			orders, closing, err := s.Database.orders()
			if err != nil {
				return err
			}
			defer closing()
			return a.withLetters(&where, &s.Letters.Kafka, func(queue *dlq.Queue) error {
				details, err := inspect.Letter(cmd.Context(), queue, args[0], rules.codec(s.Rules), orders)
				if err == nil && reveal {
					err = a.auditedItems(cmd.Context(), &s.Letters, dlq.By{Actor: actor}, "reveal", details.Item)
				}
				if err != nil {
					return err
				}
				return a.show(dlqview.Present(details, reveal), "letter.txt")
			})
		},
	}, &s)
	where.registerLetters(cmd)
	rules.register(cmd)
	cmd.Flags().BoolVar(&reveal, "reveal", false, "show personal data too, and write that to the audit log")
	actorFlag(cmd, &actor, "who looks")
	return cmd
}

func (a *app) dlqStatsCommand() *cobra.Command {
	var s kafkaSettings
	var where kafkaFlags
	var which filterFlags
	var watch time.Duration
	cmd := a.command(&cobra.Command{
		Use:   "stats",
		Short: "Count dead letters by reason, rule, source, time and cause",
		Long: `Count dead letters by reason, rule, source, time and cause (reason, rule and path
together). A letter with several failures counts under each of its rules and
causes. In JSON, by_reason has open and resolved letters together.

With --watch they are counted again until Ctrl-C. Each time only new records are
read.`,
		Example: `  orderctl dlq stats
  orderctl dlq stats --since 1d --output json
  orderctl dlq stats --watch=5s`,
		Args: noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch < 0 {
				return usagef("--watch: a span of time such as 5s, not %s", watch)
			}
			return a.withLetters(&where, &s.Kafka, func(queue *dlq.Queue) error {
				view, err := queue.Scan(cmd.Context(), which.Filter)
				if err != nil {
					return err
				}
				a.sayGaps(view)
				if !which.set() && len(where.foreign) == 0 {
					a.sayOrphans(view, &s.Kafka)
				}
				if watch == 0 {
					return a.stats(a.stdout, view)
				}
				return untilStopped(cmd.Context(), a.watchStats(cmd.Context(), view, watch))
			})
		},
	}, &s)
	where.registerLetters(cmd)
	which.register(cmd)
	cmd.Flags().DurationVar(&watch, "watch", 0, "count again so often; --watch alone: every 2s")
	cmd.Flag("watch").NoOptDefVal = "2s"
	cmd.Flag("watch").DefValue = ""
	return cmd
}

func (a *app) sayOrphans(view *dlq.View, cfg *config.Kafka) {
	if orphans := len(view.Orphans()); orphans > 0 {
		a.say("%s without a letter in %s: of letters that are in another topic (--foreign), or that were removed by hand", plural(orphans, "resolution"), cfg.DLQTopic)
	}
}

func (a *app) stats(w io.Writer, view *dlq.View) error {
	counted := dlq.StatsOf(view.Each(letter.Any), dlq.StatsOptions{})
	dlqview.MaskStats(counted)
	if a.output == outputJSON {
		return writeJSON(w, counted)
	}
	return dlqview.ShowStats(w, a.style(), counted)
}

// watchStats counts until the context ends. On a terminal the counts stay in
// their place.
func (a *app) watchStats(ctx context.Context, view *dlq.View, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		var text bytes.Buffer
		if err := a.stats(&text, view); err != nil {
			return err
		}
		home := ""
		if a.output == outputText && isTerminal(a.stdout) {
			home = "\x1b[H\x1b[2J"
		}
		if _, err := io.Copy(a.stdout, io.MultiReader(strings.NewReader(home), &text)); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := view.Refresh(ctx); err != nil {
			return err
		}
	}
}
