package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/deadletter/store"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/audit"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

// showSettings are those of dlq show. The database has no default here: it is
// asked where somebody says that it is there.
type showSettings struct {
	Kafka    config.Kafka
	Database optionalDatabase
	Rules    ruleSettings
	AuditLog string `env:"ORDERHUB_AUDIT_LOG" help:"file that --reveal is written down in (default: orderhub/audit.jsonl in the user's configuration folder)"`
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
			if details.Reveal = reveal; reveal {
				if err := writeAudit(s.AuditLog, actor, details.Item.ID); err != nil {
					return err
				}
			}
			if a.output == outputJSON {
				return dlqview.ShowJSON(a.stdout, details)
			}
			return dlqview.Show(a.stdout, a.style(), details)
		}),
	}
	where.register(cmd)
	rules.register(cmd)
	cmd.Flags().BoolVar(&reveal, "reveal", false, "show people's data too, and write that to the audit log")
	cmd.Flags().StringVar(&actor, "actor", defaultActor(), "who looks")
	cmd.Flag("actor").DefValue = "the user's name"
	a.settings[cmd] = &showSettings{}
	return cmd
}

func writeAudit(path, actor string, ids ...string) error {
	if path == "" {
		var err error
		if path, err = audit.DefaultPath(); err != nil {
			return err
		}
	}
	return audit.Append(path, audit.Entry{At: time.Now(), Actor: actor, Action: "reveal", Letters: ids})
}

func (a *app) details(ctx context.Context, box *letters, id string, codec *model.Codec, url config.Secret) (dlqview.Details, error) {
	items, _, err := box.Find(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		a.say("orderctl dlq show: %v", err)
		return dlqview.Details{}, silent(exitNothing)
	}
	if err != nil {
		return dlqview.Details{}, explainLetters(box.cfg, err)
	}
	item := items[0]
	d := dlqview.Details{Item: item, Failures: item.Errors(), Offset: offsetOf(&item.Letter, codec)}
	if d.History, err = box.History(ctx, item); err != nil {
		return d, explainLetters(box.cfg, err)
	}
	if item.Reason != "conflict" || url == "" {
		return d, nil
	}
	return d, a.compare(ctx, &d, codec)
}

// offsetOf is the byte where reading the value stops, -1 if it doesn't. The
// letter's headers don't say.
func offsetOf(l *letter.Letter, codec *model.Codec) int64 {
	if l.Truncated != nil {
		return -1
	}
	_, err := codec.Decode(l.Value)
	refused, ok := errors.AsType[*model.RecordError](err)
	// Places of single fields are found by their paths.
	if !ok || json.Valid(l.Value) && len(refused.Errors) > 0 && refused.Errors[0].Path != "" {
		return -1
	}
	if slices.Contains([]model.Reason{model.ReasonWrongType, model.ReasonOutOfRange, model.ReasonUnknownField}, refused.Reason) {
		return -1
	}
	return refused.Offset
}

// compare looks at the stored order of the letter's uid.
func (a *app) compare(ctx context.Context, d *dlqview.Details, codec *model.Codec) error {
	decoded, err := codec.Decode(d.Item.Value)
	if err != nil {
		d.StoredNote = "The letter is no valid order by today's rules, so there is nothing to compare."
		return nil
	}
	db, err := openDatabase()
	if err != nil {
		return err
	}
	defer func() { _ = db.pool.Close() }() // nothing was written
	stored, err := readOrders(ctx, db, []string{decoded.Order.OrderUID})
	if err != nil {
		return err
	}
	order, there := stored[decoded.Order.OrderUID]
	if !there {
		d.StoredNote = "The order is not stored now: redriven, the letter would be stored."
		return nil
	}
	d.Differences = []dlqview.Difference{}
	for _, path := range model.Diff(order.Order, decoded.Order) {
		d.Differences = append(d.Differences, dlqview.Difference{Path: path, Stored: valueAt(order.Order, path), Letter: valueAt(decoded.Order, path)})
	}
	if len(d.Differences) == 0 {
		d.StoredNote = "The stored order is the same now: redriven, the letter would be a duplicate."
	}
	return nil
}

// valueAt is the JSON at a path of an order.
func valueAt(o *model.Order, path string) string {
	canonical := model.AppendCanonical(nil, o)
	place := model.Locate(canonical, []model.FieldError{{Path: path}})[0]
	var value json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(canonical[place:])).Decode(&value); err != nil {
		return "" // canonical JSON is valid
	}
	return string(value)
}
