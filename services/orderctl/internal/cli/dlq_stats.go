package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/index"
	"github.com/orderhub/orderhub/libs/deadletter/store"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

func (a *app) dlqStatsCommand() *cobra.Command {
	var where dlqFlags
	var which filterFlags
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count dead letters by reason, rule, source, time and cause",
		Long: `Count dead letters by reason, rule, source, time and cause (reason, rule and path
together). A letter with several failures counts under each of its rules and
causes. In JSON, by_reason has open and resolved letters together.`,
		Example: `  orderctl dlq stats
  orderctl dlq stats --since 1d --output json`,
		Args: noArgs(""),
		RunE: a.work(func(cmd *cobra.Command, _ []string) error {
			filter, err := which.filter(time.Now())
			if err != nil {
				return err
			}
			box, err := where.open()
			if err != nil {
				return err
			}
			defer box.close()
			return explainLetters(box.cfg, a.stats(cmd.Context(), box, filter, !which.set(cmd) && where.foreign == ""))
		}),
	}
	where.register(cmd)
	which.register(cmd)
	a.settings[cmd] = &kafkaSettings{}
	return cmd
}

func (a *app) stats(ctx context.Context, box *letters, filter index.Filter, everything bool) error {
	snap, err := box.Scan(ctx, filter)
	if err != nil {
		return err
	}
	a.sayGaps(snap, box.cfg.DLQTopic)
	stats := dlqview.StatsOf(snap.Select(index.Any, 0))
	newest := make([]index.Ref, len(stats.Causes))
	for i, c := range stats.Causes {
		newest[i] = c.Newest
	}
	items, err := box.Load(ctx, newest)
	if err != nil && !errors.Is(err, store.ErrChanged) {
		return err
	}
	for _, item := range items {
		for _, c := range stats.Causes {
			if c.Newest.Partition == item.Ref.Partition && c.Newest.Offset == item.Ref.Offset {
				c.Sample = item.ID
			}
		}
	}
	if orphans := len(snap.Orphans()); everything && orphans > 0 {
		a.say("%s without a letter in %s: of letters that were purged halfway, or that are in another topic (--foreign)", plural(orphans, "resolution"), box.cfg.DLQTopic)
	}
	if a.output == outputJSON {
		return writeJSON(a.stdout, stats)
	}
	return dlqview.ShowStats(a.stdout, a.style(), stats)
}
