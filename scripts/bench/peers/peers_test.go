package peers

import (
	"database/sql"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

func TestMain(m *testing.M) { os.Exit(postgres.Shared(m).Run()) }

// What the others are given to store orders with stores all of an order, and of one that
// comes again only the first.
func TestWaysIntoTheTables(t *testing.T) {
	first, second := ledger.NewOrder("uid-1", 0), ledger.NewOrder("uid-2", 0)
	second.Items = append(second.Items, second.Items[0])
	second.Items[1].Name = "Another thing"
	orders := []*model.Order{first, second, ledger.NewOrder("uid-1", 1)}
	batch, err := json.Marshal(orders)
	require.NoError(t, err)
	for name, way := range map[string]func(t *testing.T, database string){
		"a jsonb a batch": func(t *testing.T, database string) {
			t.Helper()
			require.NoError(t, postgres.Execute(t.Context(), database, storeOrders))
			for range 2 { // as after a batch that was not committed
				require.NoError(t, postgres.Execute(t.Context(), database, "SELECT store_orders('"+string(batch)+"')"))
			}
		},
		"a trigger": func(t *testing.T, database string) {
			t.Helper()
			require.NoError(t, postgres.Execute(t.Context(), database, append(flatTable, spreading...)...))
			const rows = " FROM jsonb_array_elements($1) AS j, jsonb_populate_record(NULL::orders, j) AS o, jsonb_populate_record(NULL::deliveries, j->'delivery') AS d, jsonb_populate_record(NULL::payments, j->'payment') AS p"
			db, err := sql.Open("pgx", database)
			require.NoError(t, err)
			defer func() { _ = db.Close() }()
			for _, order := range orders {
				one, err := json.Marshal([]*model.Order{order})
				require.NoError(t, err)
				_, err = db.ExecContext(t.Context(), "INSERT INTO flat SELECT "+selectFlat+", j->'items'"+rows+" ON CONFLICT (order_uid) DO UPDATE SET entry = 'again'", one)
				require.NoError(t, err)
			}
		},
		"by hand": func(t *testing.T, database string) {
			t.Helper()
			db, err := openBun(database)
			require.NoError(t, err)
			defer func() { _ = db.Close() }()
			for _, order := range orders {
				require.NoError(t, store(t.Context(), db, order))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			database := postgres.ForTest(t)
			owner, err := sql.Open("pgx", database)
			require.NoError(t, err)
			defer func() { _ = owner.Close() }()
			_, err = migrations.Up(t.Context(), owner)
			require.NoError(t, err)
			way(t, database)
			stored, err := orderdb.Read(t.Context(), bun.NewDB(owner, pgdialect.New()), []string{"uid-1", "uid-2"})
			require.NoError(t, err)
			var last int
			require.NoError(t, owner.QueryRowContext(t.Context(), "SELECT max(position) FROM items").Scan(&last))
			require.Equal(t, 1, last) // from 0
			for _, want := range orders[:2] {
				require.Equal(t, string(model.AppendCanonical(nil, want)), string(model.AppendCanonical(nil, stored[want.OrderUID].Order)))
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	e := &ledger.Expected{Orders: map[string]ledger.Order{"a": {}, "b": {}}, Broken: 4, Conflicts: 2}
	require.Equal(t, "exact", verdict(&ledger.Findings{OffsetsAtEnds: true}, e))
	f := &ledger.Findings{
		Lost: 6, Wrong: 1, Extra: 1, LostLetters: map[string]int{deadletter.ReasonConflict: 2, "invalid": 3},
		Ends: ledger.Offsets{0: 5, 1: 5}, Committed: ledger.Offsets{0: 5},
	}
	require.Equal(t, "stops at 5 of 10 records, 1 of 2 orders not as first sent, 1 too many", verdict(f, e))
	f.OffsetsAtEnds = true
	require.Equal(t, "1 of 2 orders lost, 3 of 4 broken records lost without a trace, 2 of 2 conflicts lost without a trace, 1 of 2 orders not as first sent, 1 too many",
		verdict(f, e))
}
