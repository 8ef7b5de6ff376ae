package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

// peopleLimit is how many letters people are shown.
const peopleLimit = 50

// keptHeads is how many letters are kept in memory while they are looked for, so
// that they need not be read again: some 20 MB.
const keptHeads = 50_000

// listChunk is how many letters are in memory at a time.
const listChunk = 500

func (a *app) dlqListCommand() *cobra.Command {
	var where dlqFlags
	var which filterFlags
	var status string
	var limit int
	var follow bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, newest first",
		Long: `List dead letters, newest first. Conditions of several flags are all to be met;
a flag with several values is met by any of them.

Exit code 3: no letter matches.`,
		Example: `  orderctl dlq list
  orderctl dlq list --reason invalid --path items[].price --since 2h
  orderctl dlq list --status any --text b563feb7b2b84b6test --output json
  orderctl dlq list --follow --reason conflict
  orderctl dlq list --foreign connect-orders.dlq`,
		Args: noArgs(": 'orderctl dlq show' shows a letter"),
		RunE: a.work(func(cmd *cobra.Command, _ []string) error {
			wanted, err := parseStatus(status)
			if err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit: at least 0, which means all, not %d", limit)
			}
			if !cmd.Flags().Changed("limit") && a.output == outputText {
				limit = peopleLimit
			}
			filter, err := which.filter(time.Now())
			if err != nil {
				return err
			}
			box, err := where.open()
			if err != nil {
				return err
			}
			defer box.close()
			return explainList(box, a.list(cmd.Context(), box, filter, wanted, limit, follow))
		}),
	}
	where.register(cmd)
	which.register(cmd)
	statusFlag(cmd, &status, letter.Open)
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many letters; 0: all (default: 50 for people, all with --output json)")
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with the letters that come, until Ctrl-C")
	a.settings[cmd] = &kafkaSettings{}
	return cmd
}

func explainList(box *letters, err error) error {
	if _, done := errors.AsType[silent](err); done {
		return err
	}
	return explainLetters(box.cfg, err)
}

func (a *app) list(ctx context.Context, box *letters, filter letter.Filter, status letter.Status, limit int, follow bool) error {
	snap, err := box.ScanHeads(ctx, filter, keptHeads)
	if err != nil {
		return err
	}
	a.sayGaps(snap, box.cfg.DLQTopic)
	all := snap.Select(status, 0)
	refs := all
	if limit > 0 && len(refs) > limit {
		refs = refs[:limit]
	}
	table := dlqview.NewTable(a.stdout, a.style())
	write := func(lines []dlqview.Line) error {
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
	var changed error
	for rest := refs; len(rest) > 0; {
		n := dlq.Chunk(rest, listChunk)
		items, err := snap.Heads(ctx, rest[:n])
		if err != nil && !errors.Is(err, dlq.ErrChanged) {
			return err
		}
		changed = errors.Join(changed, err)
		lines := make([]dlqview.Line, len(items))
		for i := range items {
			lines[i] = dlqview.LineOf(&items[i].Letter, items[i].Ref.Status)
		}
		if err := write(lines); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if len(refs) < len(all) {
		a.say("%d of %s; --limit 0 lists all", len(refs), plural(len(all), "letter"))
	}
	switch {
	case changed != nil:
		return dlq.ErrChanged
	case follow:
		return a.followLetters(ctx, snap, status, write)
	case len(all) == 0:
		a.say("no letter matches")
		return silent(exitNothing)
	}
	return nil
}

func (a *app) followLetters(ctx context.Context, snap *dlq.View, status letter.Status, write func([]dlqview.Line) error) error {
	err := snap.Follow(ctx, func(l *letter.Letter, s letter.Status) error {
		if status != letter.Any && s != status {
			return nil
		}
		return write([]dlqview.Line{dlqview.LineOf(l, s)})
	})
	if ctx.Err() != nil {
		return silent(exitInterrupted) // Ctrl-C is how it ends
	}
	return err
}
