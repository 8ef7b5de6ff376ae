package cli

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

func (a *app) dlqStatsCommand() *cobra.Command {
	var where dlqFlags
	var which filterFlags
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count dead letters by reason, rule, source, time and cause",
		Long: `Count dead letters by reason, rule, source, time and cause (reason, rule and path
together). A letter with several failures counts under each of its rules and
causes. In JSON, by_reason has open and resolved letters together.

With --watch they are counted again and again until Ctrl-C, of which each time only
what has come since is read.`,
		Example: `  orderctl dlq stats
  orderctl dlq stats --since 1d --output json
  orderctl dlq stats --watch=5s`,
		Args: noArgs(""),
		RunE: a.work(func(cmd *cobra.Command, _ []string) error {
			if watch < 0 {
				return usagef("--watch: a span of time such as 5s, not %s", watch)
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
			snap, err := box.Scan(cmd.Context(), filter)
			if err != nil {
				return explainLetters(box.cfg, err)
			}
			a.sayGaps(snap, box.cfg.DLQTopic)
			everything := !which.set(cmd) && where.foreign == ""
			if watch > 0 {
				return a.watchStats(cmd.Context(), box, snap, everything, watch)
			}
			return explainLetters(box.cfg, a.stats(cmd.Context(), a.stdout, box, snap, everything))
		}),
	}
	where.register(cmd)
	which.register(cmd)
	cmd.Flags().DurationVar(&watch, "watch", 0, "count again so often; --watch alone: every 2s")
	cmd.Flag("watch").NoOptDefVal = "2s"
	cmd.Flag("watch").DefValue = ""
	a.settings[cmd] = &kafkaSettings{}
	return cmd
}

func (a *app) stats(ctx context.Context, w io.Writer, box *letters, snap *dlq.View, everything bool) error {
	counted := dlq.StatsOf(snap.Each(letter.Any), dlq.StatsOptions{})
	if orphans := len(snap.Orphans()); everything && orphans > 0 {
		a.say("%s without a letter in %s: of letters that are in another topic (--foreign), or that were removed by hand", plural(orphans, "resolution"), box.cfg.DLQTopic)
	}
	dlqview.MaskStats(counted)
	if a.output == outputJSON {
		return writeJSON(w, counted)
	}
	return dlqview.ShowStats(w, a.style(), counted)
}

// watchStats counts until the context ends. On a terminal the counts stay in
// their place.
func (a *app) watchStats(ctx context.Context, box *letters, snap *dlq.View, everything bool, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		var text bytes.Buffer
		err := a.stats(ctx, &text, box, snap, everything)
		if err == nil {
			if a.output == outputText && isTerminal(a.stdout) {
				const home = "\x1b[H\x1b[2J"
				_, err = io.WriteString(a.stdout, home)
			}
			if err == nil {
				_, err = a.stdout.Write(text.Bytes())
			}
			everything = false // what is said besides is said once
		}
		if err == nil {
			select {
			case <-ticker.C:
				err = snap.Refresh(ctx)
			case <-ctx.Done():
			}
		}
		switch {
		case ctx.Err() != nil:
			return silent(exitInterrupted) // Ctrl-C is how it ends
		case err != nil:
			return explainLetters(box.cfg, err)
		}
	}
}
