package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/audit"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/inspect"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// showSettings are those of dlq show. The database has no default here: it is
// asked where somebody says that it is there.
type showSettings struct {
	Kafka    config.Kafka
	Database optionalDatabase
	Rules    ruleSettings
	Audit    auditSettings
}

type auditSettings struct {
	Log string `env:"ORDERHUB_AUDIT_LOG" help:"file that records who looked at personal data (default: orderhub/audit.jsonl in the user's configuration folder)"`
}

type optionalDatabase struct {
	URL config.Secret `env:"DATABASE_URL" help:"PostgreSQL with the orders, to compare letters with (default: none)"`
}

func (a *app) dlqShowCommand() *cobra.Command {
	var where dlqFlags
	var rules ruleFlags
	var reveal bool
	var actor string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a dead letter: where it came from, why it failed, its value and history",
		Long: `Show a dead letter: where it came from, why it failed, with each failure pointed at
in its value, and what became of it and of its redrives. Where the value is no
JSON, a caret stands below the byte where that shows; bytes that are no text are
shown in hex.

If DATABASE_URL is set, a conflict is shown as the differences from the stored
order.

With --reveal nothing is masked, and who looked is written to the audit log.`,
		Example: `  orderctl dlq show orders/0/17
  orderctl dlq show orders/0/17/9f3a1c2e --reveal --actor ann
  orderctl dlq show orders/0/17 --output json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("name one letter by its id")
			}
			return nil
		},
		RunE: a.work(func(cmd *cobra.Command, args []string) error {
			var s showSettings
			if err := load(&s); err != nil {
				return err
			}
			codec, err := rules.codec()
			if err != nil {
				return err
			}
			box, err := where.open()
			if err != nil {
				return err
			}
			defer box.close()
			details, err := a.details(cmd.Context(), box, args[0], codec, s.Database.URL)
			if err != nil {
				return err
			}
			if reveal {
				if err := writeAudit(s.Audit.Log, actor, "reveal", mask.ID(details.Item.ID)); err != nil {
					return err
				}
			}
			if a.output == outputJSON {
				return writeJSON(a.stdout, dlqview.Present(details, reveal))
			}
			return dlqview.Show(a.stdout, a.style(), dlqview.Present(details, reveal))
		}),
	}
	where.register(cmd)
	rules.register(cmd)
	cmd.Flags().BoolVar(&reveal, "reveal", false, "show personal data too, and write that to the audit log")
	cmd.Flags().StringVar(&actor, "actor", defaultActor(), "who looks")
	cmd.Flag("actor").DefValue = "the user's name"
	a.settings[cmd] = &showSettings{}
	return cmd
}

func writeAudit(path, actor, action string, ids ...string) error {
	return audit.Append(path, audit.Entry{At: time.Now(), Actor: actor, Action: action, Letters: ids})
}

func (a *app) details(ctx context.Context, box *letters, id string, codec *model.Codec, url config.Secret) (dlqview.Details, error) {
	orders, closing, err := storedOrders(url != "")
	if err != nil {
		return dlqview.Details{}, err
	}
	defer closing()
	d, err := inspect.Letter(ctx, box.Queue, id, codec, orders)
	if errors.Is(err, dlq.ErrNotFound) {
		a.say("orderctl dlq show: %v", err)
		return d, silent(exitNothing)
	}
	return d, explainLetters(box.cfg, err)
}
