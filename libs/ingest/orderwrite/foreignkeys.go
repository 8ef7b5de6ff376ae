package orderwrite

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
)

// The look-ups for foreign keys cost two fifths of a COPY into the tables. A transaction
// that inserts orders together with their parts cannot break the keys: each part's order is
// in it, the orders' key is unique, and nobody else sees the order before the commit, so
// nobody can delete it or change its key. PostgreSQL skips the look-ups in the replica
// role, and with them every trigger that is not made for that role. So a transaction takes
// it only for its COPYs, and only if nothing but Orderhub's own keys and triggers would be
// skipped. The constraints stay in force for everybody else.

// withoutLookUps takes the replica role for the rest of the transaction if that skips
// nothing but the look-ups. It returns what is in the way; "" if nothing is.
//
//go:embed foreignkeys.sql
var withoutLookUps string

// skipLookUps is withoutLookUps, and tells Options.ForeignKeys.
func (w *Writer) skipLookUps(ctx context.Context, tx *sql.Tx) error {
	var obstacle string
	if err := tx.QueryRowContext(ctx, withoutLookUps).Scan(&obstacle); err != nil {
		return fmt.Errorf("take the replica role: %w", err)
	}
	if last := w.obstacle.Swap(&obstacle); last == nil || *last != obstacle {
		w.foreignKeys(obstacle)
	}
	return nil
}
