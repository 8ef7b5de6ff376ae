package cli

import (
	"context"
	"database/sql"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// readOrders gives those of the orders that are stored, all as of one moment.
func readOrders(ctx context.Context, db *database, uids []string) (map[string]orderdb.Stored, error) {
	tx, err := db.pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, db.explain(err)
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	stored, err := orderdb.Read(ctx, tx, uids)
	if err != nil {
		return nil, db.explain(err)
	}
	return stored, nil
}
