package reader_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

// insertBatch inserts whole orders as the worker does, with one notification.
const insertBatch = `SELECT set_config('orderhub.whole_orders', 'on', true), pg_notify('orders_changed', '');
	INSERT INTO orders SELECT u, 'TRACK', 'WBIL', 'en', '', 'c', 'meest', '9', 99, '2021-11-26 06:22:19+00', '1' FROM unnest(%[1]s) u;
	INSERT INTO deliveries SELECT u, 'n', '+1', 'z', 'c', 'a', 'r', 'a@b.cc' FROM unnest(%[1]s) u;
	INSERT INTO payments SELECT u, u, '', 'USD', 'p', 1, 1, 'b', 1, 1, 0 FROM unnest(%[1]s) u;
	INSERT INTO items SELECT u, 0, 1, 'TRACK', 1, 'rid', 'n', 0, '0', 1, 1, 'b', 202 FROM unnest(%[1]s) u`

func batchOf(prefix string, size int) string {
	return fmt.Sprintf(insertBatch, fmt.Sprintf(`ARRAY(SELECT '%s-' || i FROM generate_series(1, %d) i)`, prefix, size))
}

// TestTheTailKeepsUpWithWritersAtFullSpeed has several clients insert as fast as
// they can, until rounds were completed meanwhile; and the round that is running
// when the last of them commits, and the next one, bring all that is left.
func TestTheTailKeepsUpWithWritersAtFullSpeed(t *testing.T) {
	url := newDatabase(t)
	r := start(t, url).synced()
	const writers, batches, most, size = 3, 50, 500, 400
	var running sync.WaitGroup
	var written, writing atomic.Int64
	before := r.loop.Stats().Rounds
	writing.Store(writers)
	for w := range writers {
		client := connect(t, url)
		running.Go(func() {
			defer writing.Add(-1)
			for b := 0; b < batches || b < most && r.loop.Stats().Rounds <= before+2; b++ {
				_, err := client.conn.PgConn().Exec(t.Context(), "BEGIN;"+batchOf(fmt.Sprintf("w%d-%d", w, b), size)+"; COMMIT").ReadAll()
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				written.Add(size)
			}
		})
	}
	// What was committed by now is there a bounded number of rounds later, however
	// much comes after it.
	checks := 0
	for writing.Load() == writers && !t.Failed() {
		known, rounds := written.Load(), r.loop.Stats().Rounds
		ended := false
		require.True(t, poll(func() bool {
			ended = writing.Load() == 0
			return r.loop.Stats().Rounds >= rounds+2 || ended
		}))
		if ended { // before two rounds were: the rest of the test tells about that
			break
		}
		require.GreaterOrEqual(t, r.cache.Stats().Orders, known)
		checks++
	}
	running.Wait()
	require.Positive(t, checks)
	require.Greater(t, r.loop.Stats().Rounds, before+2, "it didn't wait for the end")
	last := r.loop.Stats().Rounds
	require.True(t, poll(func() bool { return r.cache.Stats().Orders == written.Load() }), "%d", r.cache.Stats().Orders)
	require.LessOrEqual(t, r.loop.Stats().Rounds, last+2)
	require.Zero(t, r.loop.Stats().Relists)
	r.equals(openDB(t, url))
}

// TestAChangeDuringARoundMakesAnotherOne rings while a round is on its way that
// can't see the change any more.
func TestAChangeDuringARoundMakesAnotherOne(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	migrate(t, url)
	db, client := openDB(t, url), connect(t, url).withVersions()
	tails := throughProxy(t, server)
	r := start(t, at(url, tails.Addr())).synced()
	r.equals(db)
	tails.Delay(5 * time.Millisecond) // each message: a round has dozens
	for i := range 2 {
		client.insert(fmt.Sprintf("seen-%d", i))
		eventually(t, "a round has its snapshot", func() bool {
			var reads bool
			require.NoError(t, db.QueryRowContext(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
				WHERE application_name = 'read-api tail' AND backend_xmin IS NOT NULL)`).Scan(&reads))
			return reads
		})
		client.insert(fmt.Sprintf("unseen-%d", i))
		r.equals(db)
	}
}

// TestAHalfOpenDoorbellIsReplaced lets the doorbell's connection fall silent, so
// that neither side hears that the other is there no more. The poll is an hour
// away: what is changed then shows only if the doorbell finds out by itself.
func TestAHalfOpenDoorbellIsReplaced(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	migrate(t, url)
	db, client := openDB(t, url), connect(t, url).withVersions()
	bells := throughProxy(t, server)
	r := start(t, url, listens(at(url, bells.Addr())), func(s *app.Settings) { s.PingInterval = 300 * time.Millisecond }).synced()
	client.insert("heard")
	r.equals(db)
	for i := range 2 {
		bells.Silence()
		client.insert(fmt.Sprintf("unheard-%d", i))
		r.equals(db)
	}
	eventually(t, "the log says so", func() bool { return r.said("not listening for notifications") })
}

// TestAHalfOpenTailIsReplaced is the same for the connection that reads. Its
// transaction must not keep others waiting for long.
func TestAHalfOpenTailIsReplaced(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	migrate(t, url)
	db, client := openDB(t, url), connect(t, url).withVersions()
	tails := throughProxy(t, server)
	r := start(t, at(url, tails.Addr()), staleness(100*time.Millisecond), func(s *app.Settings) { s.AnswerTimeout = time.Second }).synced()
	r.equals(db)
	// Between what it has read and the end of its transaction.
	tails.Set(proxy.Trap{Match: isRollback, Effect: proxy.FallSilent})
	client.insert("unheard")
	eventually(t, "the connection has fallen silent", func() bool { return tails.Sprung() == 1 })
	// No other connection does it for them: what a silent transaction has locked, the
	// server itself gives free.
	client.run(`TRUNCATE orders CASCADE`)
	client.insert("after")
	r.equals(db)
}

// TestAHalfOpenSnapshotIsReplaced lets a connection of the restore fall silent,
// time and again: each time it waits twice as long, as the server may only be slow.
func TestAHalfOpenSnapshotIsReplaced(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	migrate(t, url)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.insert("there")
	tails := throughProxy(t, server)
	items := proxy.Trap{Effect: proxy.FallSilent, Match: func(request []byte) bool {
		return bytes.HasPrefix(request[min(5, len(request)):], []byte("COPY")) && bytes.Contains(request, []byte("FROM items"))
	}}
	tails.Set(items)
	const first = time.Second
	r := start(t, at(url, tails.Addr()), func(s *app.Settings) { s.AnswerTimeout = first })
	eventually(t, "the first restore has fallen silent", func() bool { return tails.Sprung() == 1 })
	tails.Set(items) // long before the next one
	for _, waited := range []time.Duration{first, 2 * first} {
		eventually(t, "it says that nothing arrives", func() bool { return r.said(fmt.Sprint("no order arrived for ", waited)) })
	}
	r.synced().equals(db)
}

// isRollback matches the first message of what ends a round's transaction. It is sent in one go
// with the query for the age of the changes, so it is lost as a whole.
func isRollback(request []byte) bool {
	return request[0] == 'P' && bytes.Contains(request, []byte("pg_xact_commit_timestamp")) // Parse
}

// TestManyOrdersAreLookedUpByTheIndex reads thousands of orders by their uids out
// of many more: never by a scan of a whole table.
func TestManyOrdersAreLookedUpByTheIndex(t *testing.T) {
	url := newDatabase(t)
	connect(t, url).run("BEGIN;" + batchOf("uid", 20_000) + "; COMMIT; ANALYZE")
	tx, err := openDB(t, url).BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	uids := []string{"uid-1", "uid-1", "unknown"} // twice, and none
	for i := range 5000 {
		uids = append(uids, fmt.Sprintf("uid-%d", 4*i+1))
	}
	found, err := orderdb.Read(t.Context(), tx, uids)
	require.NoError(t, err)
	require.Len(t, found, 5000)
	require.Len(t, found["uid-1"].Order.Items, 1)
	rows, err := tx.QueryContext(t.Context(), `SELECT relname, seq_scan, idx_scan FROM pg_stat_xact_user_tables
		WHERE relname IN ('orders', 'deliveries', 'payments', 'items')`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	tables := 0
	for rows.Next() {
		var table string
		var scans, lookUps int64
		require.NoError(t, rows.Scan(&table, &scans, &lookUps))
		require.Zero(t, scans, table)
		require.EqualValues(t, 5001, lookUps, table)
		tables++
	}
	require.NoError(t, rows.Err())
	require.Equal(t, 4, tables)
}
