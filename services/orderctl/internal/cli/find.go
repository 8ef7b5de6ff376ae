package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/pasted"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

type findSettings struct {
	Kafka    config.Kafka
	Database config.Database
}

func (a *app) findCommand() *cobra.Command {
	var s findSettings
	var where kafkaFlags
	cmd := a.command(&cobra.Command{
		Use:   "find UID",
		Short: "Say where an order is: stored, among the dead letters, or both",
		Long: `Say where an order is: stored, among the dead letters, or both, and what happened
to its letters when. A letter is the order's if it has its uid as key, or as
order_uid in the value, even if that is broken.

The time at which an order was stored is not recorded; date_created is the shop's. For
each letter you see when and why it failed, and who redrove or discarded it when.

Exit code 3: the order is nowhere.`,
		Example: `  orderctl find b563feb7b2b84b6test
  orderctl find b563feb7b2b84b6test --output json`,
		Args: oneArg("name one order by its order_uid"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withLetters(&where, &s.Kafka, func(queue *dlq.Queue) error {
				return a.find(cmd.Context(), queue, &s, pasted.Choose(args[0], model.IsOrderUID))
			})
		},
	}, &s)
	where.registerLetters(cmd)
	return cmd
}

type found struct {
	UID         string                `json:"order_uid"`
	Stored      bool                  `json:"stored"`
	DateCreated *time.Time            `json:"date_created,omitempty"`
	Letters     []dlqview.HistoryLine `json:"letters"`
}

func (a *app) find(ctx context.Context, queue *dlq.Queue, s *findSettings, uid string) error {
	db, err := openDatabase(s.Database)
	if err != nil {
		return err
	}
	defer func() { _ = db.pool.Close() }() // nothing was written
	stored, err := db.stored(ctx, []string{uid})
	if err != nil {
		return err
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
	slices.Reverse(items)
	for i := range items {
		answer.Letters = append(answer.Letters, dlqview.HistoryOf(&items[i]))
	}
	if err := a.show(answer, "find.txt"); err != nil {
		return err
	}
	if !answer.Stored && len(items) == 0 {
		return nothing("")
	}
	return nil
}
