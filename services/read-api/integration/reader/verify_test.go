package reader_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/orderdb/verify"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// detect compares a reader with its tables.
func (r *reader) detect(url string, change ...func(*verify.Options)) (result verify.Result, found []verify.Difference) {
	r.t.Helper()
	options := verify.Options{
		DB: bun.NewDB(openDB(r.t, url), pgdialect.New()), API: "http://" + r.api.Addr(), Settle: 50 * time.Millisecond, Workers: 4,
		Found: func(d verify.Difference) { found = append(found, d) },
	}
	for _, c := range change {
		c(&options)
	}
	result, err := verify.Run(r.t.Context(), options)
	require.NoError(r.t, err)
	return result, found
}

// unseen returns a session whose changes no trigger sees: in the replica role, after a
// pg_restore --disable-triggers.
func unseen(t *testing.T, server *postgres.Server) *session {
	t.Helper()
	s := connect(t, server.AdminURL())
	for _, table := range []string{"orders", "deliveries", "payments", "items", "order_deletions"} {
		s.run(`ALTER TABLE ` + table + ` ENABLE TRIGGER ALL`)
	}
	s.run(`SET session_replication_role = replica`)
	return s
}

// TestTheDetectorFindsWhatIsWrong changes tables in a way that no reader can know
// of.
func TestTheDetectorFindsWhatIsWrong(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	migrate(t, url)
	client := connect(t, url).withVersions()
	client.run("BEGIN;" + batchOf("uid", 1500) + "; COMMIT")
	client.insert("deleted", "deleted-unnoticed", "stale", "parts")
	secretly := unseen(t, server)
	r := start(t, url).synced()
	result, found := r.detect(url)
	require.Empty(t, found)
	require.True(t, result.Equal())
	require.EqualValues(t, 1504, result.Checked)

	secretly.run(`UPDATE orders SET locale = 'zz' WHERE order_uid = 'stale'; UPDATE items SET price = 1, name = 'x' WHERE order_uid = 'stale' AND position = 1;
		DELETE FROM payments WHERE order_uid = 'parts'; INSERT INTO order_deletions VALUES ('deleted', '3');` +
		`DELETE FROM orders WHERE order_uid IN ('deleted', 'deleted-unnoticed');` + insertOrder("missing", 1) + `; UPDATE orders SET change_xid = '3' WHERE order_uid = 'missing'`)
	secretly.run(`ALTER TABLE orders DROP CONSTRAINT orders_order_uid_form`) // as for a row that is older than it
	secretly.run(`INSERT INTO orders SELECT 'no address/', track_number, entry, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard, NULL, '3' FROM orders WHERE order_uid = 'missing'`)
	result, found = r.detect(url)
	require.ElementsMatch(t, []verify.Difference{
		{UID: "missing", Kind: verify.Missing},
		{UID: "deleted", Kind: verify.Extra},
		{UID: "stale", Kind: verify.Stale, Paths: []string{"items[1].price", "items[1].name", "locale"}},
		{UID: "parts", Kind: verify.Stale, Paths: []string{"payment"}},
	}, found)
	require.False(t, result.Equal())
	require.EqualValues(t, 1, result.Missing)
	require.EqualValues(t, 2, result.Stale)
	require.EqualValues(t, 1, result.Unaskable)

	some, _ := r.detect(url, func(o *verify.Options) { o.Sample = 100 })
	require.LessOrEqual(t, some.Checked, int64(200))
	require.Positive(t, some.Checked)
}

// TestTheDetectorCountsWhatNobodyNames has the reader hold an order whose deletion
// nothing remembers.
func TestTheDetectorCountsWhatNobodyNames(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	migrate(t, url)
	connect(t, url).withVersions().insert("a", "b", "c")
	secretly := unseen(t, server)
	r := start(t, url).synced()
	secretly.run(`DELETE FROM orders WHERE order_uid IN ('a', 'b')`)
	result, found := r.detect(url)
	require.Empty(t, found)
	require.False(t, result.Equal())
	require.EqualValues(t, 2, result.Unnamed)
}

// TestTheDetectorIsNotAlarmedByChangesOnTheirWay changes orders all the time.
func TestTheDetectorIsNotAlarmedByChangesOnTheirWay(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	client.run("BEGIN;" + batchOf("uid", 300) + "; COMMIT")
	r := start(t, url).synced()
	done := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			_, err := client.conn.PgConn().Exec(t.Context(), `UPDATE items SET price = 3 - price WHERE order_uid LIKE 'uid-1%';
				DELETE FROM orders WHERE order_uid = 'uid-7'`).ReadAll() // and back again
			if err != nil {
				t.Error(err)
				return
			}
			client.insert("uid-7")
		}
	})
	for range 3 {
		result, found := r.detect(url, func(o *verify.Options) { o.Settle = 300 * time.Millisecond })
		require.Empty(t, found)
		require.True(t, result.Equal())
	}
	close(done)
	writing.Wait()
	result, _ := r.detect(url)
	require.True(t, result.Equal())
	require.Zero(t, result.Unsettled)
}
