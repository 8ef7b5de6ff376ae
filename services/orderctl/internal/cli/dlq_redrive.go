package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// redriveSettings are those of dlq redrive, of which the dry run takes the
// database and the rules.
type redriveSettings struct {
	Kafka    config.Kafka
	Database optionalDatabase
	Rules    ruleSettings
}

// defaultMaxRedrives stops a letter from going round for ever.
const defaultMaxRedrives = 3

type redriveFlags struct {
	targetFlags
	rules       ruleFlags
	dryRun      bool
	rate        float64
	maxRedrives int
}

func (a *app) dlqRedriveCommand() *cobra.Command {
	var f redriveFlags
	cmd := &cobra.Command{
		Use:   "redrive ID...",
		Short: "Send letters back to where they came from",
		Long: `Send open letters back to the partition that they came from, in the order that they
had there. Records that came later have overtaken them. A letter is resolved once
its copy is acknowledged; a copy that fails again becomes a new letter with the
history of the old.

Interrupted, it can be run again: what was sent twice is stored once. A letter
that was redriven --max-redrives times is left alone.

With --dry-run nothing is sent: each letter is decoded and validated by today's
rules and, if DATABASE_URL is set, compared with the stored orders.

Exit code 1: some letters were not sent (or would fail); 3: no open letter matches.`,
		Example: `  orderctl dlq redrive orders/0/17 --why 'price mended'
  orderctl dlq redrive --reason invalid --rule bcp47 --dry-run
  orderctl dlq redrive --all --rate 100 --yes`,
		Args: func(cmd *cobra.Command, ids []string) error {
			if err := f.check(cmd, ids); err != nil {
				return err
			}
			return f.checkRedrive()
		},
		RunE: a.work(func(cmd *cobra.Command, ids []string) error {
			return a.redrive(cmd.Context(), &f, ids)
		}),
	}
	f.register(cmd, "redrive")
	f.registerBy(cmd)
	f.rules.register(cmd)
	f.registerRedrive(cmd)
	a.settings[cmd] = &redriveSettings{}
	return cmd
}

func (f *redriveFlags) registerRedrive(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only say which letters would pass now, and why the others would not")
	cmd.Flags().Float64Var(&f.rate, "rate", 0, "letters a second; 0: as fast as possible")
	cmd.Flags().IntVar(&f.maxRedrives, "max-redrives", defaultMaxRedrives, "leave letters alone that were redriven so often")
}

func (f *redriveFlags) checkRedrive() error {
	if f.rate < 0 || math.IsNaN(f.rate) || math.IsInf(f.rate, 0) {
		return usagef("--rate: letters a second, 0 for as fast as possible, not %v", f.rate)
	}
	if f.maxRedrives < 1 {
		return usagef("--max-redrives: at least 1, not %d", f.maxRedrives)
	}
	return nil
}

func (a *app) redrive(ctx context.Context, f *redriveFlags, ids []string) error {
	var s redriveSettings
	if err := load(&s); err != nil {
		return err
	}
	box, err := f.where.open()
	if err != nil {
		return err
	}
	defer box.close()
	snap, refs, err := f.find(ctx, a, box, ids, letter.Open)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.dryRun(ctx, f, box, refs, s.Database.URL != "")
	}
	if err := a.confirm(f.yes || len(ids) > 0, "redrive "+plural(len(refs), "letter")); err != nil {
		return err
	}
	return a.sendBack(ctx, f, box, snap, refs, nil)
}

// sendBack redrives letters, edited or as they are, and tells of each.
func (a *app) sendBack(ctx context.Context, f *redriveFlags, box *letters, snap *dlq.View, refs []dlq.Ref, edit func(*dlq.Item) ([]byte, error)) error {
	var bar *progressbar.ProgressBar
	if isTerminal(a.stderr) && len(refs) > 1 {
		bar = progressbar.NewOptions(len(refs), progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription("redriving"),
			progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	sent := 0
	var writing error
	err := box.Redrive(ctx, snap, refs, dlq.Redrive{By: f.by, MaxRedrives: f.maxRedrives, Rate: f.rate, Edit: edit, Done: func(o dlq.Outcome) {
		if bar != nil {
			_ = bar.Clear()
		}
		if o.Err == nil {
			sent++
		}
		writing = errors.Join(writing, a.writeOutcome(o))
		if bar != nil {
			_ = bar.Add(1)
		}
	}})
	if bar != nil {
		_ = bar.Finish()
	}
	return errors.Join(a.ended(ctx, box, sent, len(refs), "redriven", err), writing)
}

// writeOutcome tells of a letter: where it went on stdout, why it did not on
// stderr.
func (a *app) writeOutcome(o dlq.Outcome) error {
	if a.output == outputJSON {
		out := struct {
			ID     string `json:"id"`
			Done   string `json:"done"`
			Became string `json:"became,omitempty"`
			Error  string `json:"error,omitempty"`
		}{ID: mask.ID(o.Item.ID), Done: "redriven", Became: o.Copy.String()}
		if o.Err != nil {
			out.Done, out.Became, out.Error = "nothing", "", o.Err.Error()
		}
		return writeJSON(a.stdout, out)
	}
	w, text := a.stdout, "-> "+o.Copy.String()
	if o.Err != nil {
		w, text = a.stderr, o.Err.Error()
	}
	_, err := fmt.Fprintf(w, "%s %s\n", mask.ID(o.Item.ID), dlqview.Clean(text))
	return err
}
