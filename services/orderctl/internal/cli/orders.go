package cli

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// readOrders gives those of the orders that are stored, all as of one moment.
func readOrders(ctx context.Context, db *database, uids []string) (map[string]orderdb.Stored, error) {
	var stored map[string]orderdb.Stored
	err := orderdb.View(ctx, db.pool, func(ctx context.Context, tx bun.Tx) (err error) {
		stored, err = orderdb.Read(ctx, tx, uids)
		return err
	})
	return stored, db.explain(err)
}
