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
	cmd := a.command("find", &s, oneArg("name one order by its order_uid"), func(cmd *cobra.Command, args []string) error {
		return a.withLetters(&where, &s.Kafka, func(queue *dlq.Queue) error {
			return a.find(cmd.Context(), queue, &s, pasted.Choose(args[0], model.IsOrderUID))
		})
	})
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
