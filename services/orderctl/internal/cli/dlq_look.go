package cli

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/pasted"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

const peopleLimit = 50

func (a *app) dlqListCommand() *cobra.Command {
	var s kafkaSettings
	var where kafkaFlags
	var which filterFlags
	var status letter.Status
	var limit int
	var follow bool
	cmd := a.command("dlq list", &s, noArgs(": 'orderctl dlq show' shows a letter"), func(cmd *cobra.Command, _ []string) error {
		if limit < 0 {
			return usagef("--limit: at least 0, which means all, not %d", limit)
		}
		if !cmd.Flags().Changed("limit") && a.output == outputText {
			limit = peopleLimit
		}
		view, err := a.scan(cmd.Context(), &where, &s.Kafka, which.Filter)
		if err != nil {
			return err
		}
		return a.list(cmd.Context(), view, status, limit, follow)
	})
	where.registerLetters(cmd)
	which.register(cmd)
	choice(cmd, cmd.Flags(), &status, "status", "`status` of the letters: open, resolved or any", letter.Open, letter.Resolved, letter.Any)
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many letters; 0: all (default: 50 for people, all with --output json)")
	cmd.Flags().BoolVar(&follow, "follow", false, "print new letters as they arrive, until Ctrl-C")
	return cmd
}

// scan reads the letters that match, and says which were gone.
func (a *app) scan(ctx context.Context, where *kafkaFlags, cfg *config.Kafka, filter letter.Filter) (*dlq.View, error) {
	queue, err := a.letters(where, cfg)
	if err != nil {
		return nil, err
	}
	view, err := queue.Scan(ctx, filter)
	if err == nil {
		a.sayGaps(view)
	}
	return view, err
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
		lines[i] = dlqview.LineOf(r.Head(), r.Status)
	}
	var err error
	if len(lines) > 0 {
		err = write(lines...)
	}
	if len(refs) < len(all) {
		a.say("%d of %s; --limit 0 lists all", len(refs), dlqview.Plural(len(all), "letter"))
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
	var reveal bool
	var actor string
	cmd := a.command("dlq show", &s, oneArg("name one letter by its id"), func(cmd *cobra.Command, args []string) error {
		orders, ordersErr := a.orders(s.Database)
		queue, err := a.letters(&where, &s.Letters.Kafka)
		if err := cmp.Or(ordersErr, err); err != nil {
			return err
		}
		details, err := dlqview.Inspect(cmd.Context(), queue, args[0], model.New(s.Rules.Options()), orders)
		if err == nil && reveal {
			err = a.auditedItems(cmd.Context(), &s.Letters, dlq.By{Actor: actor}, "reveal", details.Item)
		}
		if err != nil {
			return err
		}
		return a.show(dlqview.Present(details, reveal), "letter.txt")
	})
	where.registerLetters(cmd)
	cmd.Flags().BoolVar(&reveal, "reveal", false, "show personal data too, and write that to the audit log")
	actorFlag(cmd, &actor, "who looks")
	return cmd
}

func (a *app) dlqStatsCommand() *cobra.Command {
	var s kafkaSettings
	var where kafkaFlags
	var which filterFlags
	var watch time.Duration
	cmd := a.command("dlq stats", &s, nil, func(cmd *cobra.Command, _ []string) error {
		if watch < 0 {
			return usagef("--watch: a span of time such as 5s, not %s", watch)
		}
		view, err := a.scan(cmd.Context(), &where, &s.Kafka, which.Filter)
		if err != nil {
			return err
		}
		if orphans := len(view.Orphans()); orphans > 0 && !which.set() && len(where.foreign) == 0 {
			a.say("%s without a letter in %s: of letters that are in another topic (--foreign), or that were removed by hand", dlqview.Plural(orphans, "resolution"), s.Kafka.DLQTopic)
		}
		if watch == 0 {
			return a.stats(a.stdout, view)
		}
		return untilStopped(cmd.Context(), a.watchStats(cmd.Context(), view, watch))
	})
	where.registerLetters(cmd)
	which.register(cmd)
	cmd.Flags().DurationVar(&watch, "watch", 0, "count again so often; --watch alone: every 2s")
	cmd.Flag("watch").NoOptDefVal = "2s"
	cmd.Flag("watch").DefValue = ""
	return cmd
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

type findSettings struct {
	Kafka    config.Kafka
	Database config.Database
}

func (a *app) findCommand() *cobra.Command {
	var s findSettings
	var where kafkaFlags
	cmd := a.command("find", &s, oneArg("name one order by its order_uid"), func(cmd *cobra.Command, args []string) error {
		return a.find(cmd.Context(), &where, &s, pasted.Choose(args[0], model.IsOrderUID))
	})
	where.registerLetters(cmd)
	return cmd
}

type found struct {
	UID         string                `json:"order_uid"`
	Stored      bool                  `json:"stored"`
	DateCreated *time.Time            `json:"date_created,omitempty"`
	StoredAt    *time.Time            `json:"stored_at,omitempty"`
	UpdatedAt   *time.Time            `json:"updated_at,omitempty"`
	DeletedAt   *time.Time            `json:"deleted_at,omitempty"` // by a record
	Versions    int                   `json:"versions,omitempty"`   // earlier ones
	Letters     []dlqview.HistoryLine `json:"letters"`
}

func (a *app) find(ctx context.Context, where *kafkaFlags, s *findSettings, uid string) error {
	queue, queueErr := a.letters(where, &s.Kafka)
	db, err := a.openDatabase(s.Database)
	if err := cmp.Or(queueErr, err); err != nil {
		return err
	}
	stored, err := db.stored(ctx, []string{uid})
	if err != nil {
		return err
	}
	past, err := orderdb.ReadPast(ctx, db.pool, uid)
	if err != nil {
		return db.explain(err)
	}
	items, view, err := queue.List(ctx, letter.Filter{UID: uid}, letter.Any, 0)
	if err != nil {
		return err
	}
	a.sayGaps(view)
	answer := found{UID: uid, Letters: []dlqview.HistoryLine{}}
	if s, there := stored[uid]; there {
		answer.Stored, answer.DateCreated = true, &s.Order.DateCreated
	}
	if past != nil {
		answer.StoredAt, answer.UpdatedAt, answer.DeletedAt, answer.Versions = past.StoredAt, past.UpdatedAt, past.DeletedAt, past.Versions
	}
	slices.Reverse(items)
	for i := range items {
		answer.Letters = append(answer.Letters, dlqview.HistoryOf(&items[i]))
	}
	if err := a.show(answer, "find.txt"); err != nil {
		return err
	}
	if !answer.Stored && len(items) == 0 && answer.Versions == 0 && answer.DeletedAt == nil {
		return nothing("")
	}
	return nil
}
