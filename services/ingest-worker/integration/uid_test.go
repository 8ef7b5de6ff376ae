package integration

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

const uidConstraint = "orders_order_uid_form"

// The tables refuse exactly the order_uids that the API cannot serve.
func TestUIDsThatNoAddressCanHave(t *testing.T) {
	b := database(t)
	uids := []string{
		"2024/05-001", "#1001", "заказ 1", "", " ", ".", "..", "stream", "a b", "a\n", "\n", "a%2Fb", "ü", "a:b", "a\\b", strings.Repeat("x", 65),
		"...", ".a", "-", "_", "Stream", "stream.", "b563feb7b2b84b6test", "A-Z_0.9", strings.Repeat("x", 64),
	}
	for c := rune(1); c < 0x180; c++ {
		uids = append(uids, "a"+string(c)+"b")
	}
	refused := 0
	for _, uid := range uids {
		_, err := b.db.ExecContext(b.ctx, insertOrder, []string{uid})
		if model.IsOrderUID(uid) {
			require.NoError(t, err, "%q", uid)
			continue
		}
		refused++
		var violation *pgconn.PgError
		require.ErrorAs(t, err, &violation, "%q", uid)
		require.Equal(t, uidConstraint, violation.ConstraintName)
	}
	require.Greater(t, refused, 16)
	_, err := b.db.ExecContext(b.ctx, `UPDATE orders SET order_uid = '#1001' WHERE order_uid = '...'`)
	require.ErrorContains(t, err, uidConstraint)
}

// Rows that were there before keep the constraint from being valid, and nothing else. They
// can be renamed or deleted.
func TestUIDsThatWereThereBefore(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	db, err := sql.Open("pgx", postgres.ForTest(t))
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	_, err = migrations.Up(ctx, db)
	require.NoError(t, err)
	const before = 4 // the version before the constraint
	_, err = migrations.DownTo(ctx, db, before)
	require.NoError(t, err)
	b := &bundle{t: t, ctx: ctx, db: db}
	valid := func() (is bool) {
		require.NoError(t, db.QueryRowContext(ctx, `SELECT convalidated FROM pg_constraint WHERE conname = $1`, uidConstraint).Scan(&is))
		return is
	}
	b.exec(insertOrder, []string{"#1001", "2024/05-001", "good"})
	b.exec(insertItem, "#1001", 0)
	b.exec(insertItem, "2024/05-001", 0)
	_, err = migrations.Up(ctx, db)
	require.NoError(t, err)
	require.False(t, valid())
	_, err = db.ExecContext(ctx, insertOrder, []string{"#1002"})
	require.ErrorContains(t, err, uidConstraint)

	b.exec(`UPDATE orders SET order_uid = '1001' WHERE order_uid = '#1001'`)
	b.exec(`DELETE FROM orders WHERE order_uid = '2024/05-001'`)
	require.Equal(t, 2, b.count("orders"))
	require.Equal(t, 1, b.count("items"))
	b.exec(`ALTER TABLE orders VALIDATE CONSTRAINT ` + uidConstraint)
	require.True(t, valid())
}

// While somebody holds the table, the step gives up instead of keeping everybody waiting
// behind it.
func TestTheConstraintDoesNotWaitForLong(t *testing.T) {
	b := database(t)
	_, err := migrations.DownTo(b.ctx, b.db, 4)
	require.NoError(t, err)
	release := b.holding("held")
	_, err = migrations.Up(b.ctx, b.db)
	var violation *pgconn.PgError
	require.ErrorAs(t, err, &violation)
	require.Equal(t, "55P03", violation.Code, "lock_timeout")
	release()
	_, err = migrations.Up(b.ctx, b.db)
	require.NoError(t, err)
}
