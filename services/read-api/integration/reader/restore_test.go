package reader_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/app"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// heldOrders is a sink that keeps what it is given.
type heldOrders struct {
	mu   sync.Mutex
	held map[string]string
}

func (h *heldOrders) Put(o changes.Order) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held[strings.Clone(o.OrderUID)] = string(o.Canonical)
	return true
}

func (h *heldOrders) Delete(string) bool { return false }
func (h *heldOrders) LeaveOut()          {}

// relisted is a sink that has orders already, and takes none but whole ones.
type relisted struct {
	heldOrders
	t    *testing.T
	want map[string]string
	room int64
	seen map[string]bool
}

func (r *relisted) Put(o changes.Order) bool {
	r.Replace(o)
	return true
}

func (r *relisted) Replace(o changes.Order) {
	uid, canonical := strings.Clone(o.OrderUID), string(o.Canonical)
	if r.want[uid] != canonical {
		r.t.Errorf("%s is shown as %s", uid, canonical)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[uid], r.seen[uid] = canonical, true
}

func (r *relisted) Same(o changes.Order) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[o.OrderUID] != string(o.Canonical) {
		return false
	}
	r.seen[strings.Clone(o.OrderUID)] = true
	return true
}

func (r *relisted) Room() int64 { return r.room }

// manyOrders stores orders of some items, at once.
func manyOrders(count int) string {
	return fmt.Sprintf(`
		INSERT INTO orders SELECT md5(i::text), 'T', 'E', 'en', '', 'c', 'd', '9', i, now(), '1' FROM generate_series(1, %[1]d) i;
		INSERT INTO deliveries SELECT md5(i::text), 'Zoë', '+1', '2', 'C', 'A', 'R', 'e@example.com' FROM generate_series(1, %[1]d) i;
		INSERT INTO payments SELECT md5(i::text), md5(i::text), '', 'USD', 'p', i, i, 'b', 1, 2, 3 FROM generate_series(1, %[1]d) i;
		INSERT INTO items SELECT md5(i::text), p, i, 'T', p, '', 'n', 1, '', 1, 1, '', 1 FROM generate_series(1, %[1]d) i, generate_series(0, i %% 4) p`, count)
}

// TestASnapshotOfTablesInAnyOrder has rows that lie as they were written, some
// that an UPDATE has moved, and tables of which each is in an order of its own:
// with and without the memory to put that together as it comes.
func TestASnapshotOfTablesInAnyOrder(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url)
	config := func() (*pgx.ConnConfig, error) { return pgx.ParseConfig(url) }
	before := map[string]string{"gone": "{}"} // what a relist holds
	check := func(t *testing.T) {
		t.Helper()
		want := tables(t, db)
		for name, waiting := range map[string]int64{"memory": 0, "hardly any memory": 50_000} {
			source := changes.NewSource(config, changes.Options{
				WaitingBytes: waiting, CheckSchema: func(context.Context) error { return nil },
			})
			sink := &heldOrders{held: map[string]string{}}
			_, err := source.Snapshot(t.Context(), sink, func(int64, int64) {})
			source.Close()
			require.NoError(t, err, name)
			require.True(t, maps.Equal(want, sink.held), "%s: %d orders, %d wanted", name, len(sink.held), len(want))
		}
		for name, room := range map[string]int64{"room": 1 << 30, "hardly any room": 50_000, "no room": 0} {
			source := changes.NewSource(config, changes.Options{CheckSchema: func(context.Context) error { return nil }})
			sink := &relisted{t: t, want: want, heldOrders: heldOrders{held: maps.Clone(before)}, room: room, seen: map[string]bool{}}
			_, err := source.Snapshot(t.Context(), sink, func(int64, int64) {})
			source.Close()
			require.NoError(t, err, name)
			maps.DeleteFunc(sink.held, func(uid, _ string) bool { return !sink.seen[uid] })
			require.True(t, maps.Equal(want, sink.held), "%s: %d orders, %d wanted", name, len(sink.held), len(want))
		}
		before = want
	}
	client.run(manyOrders(5000))
	t.Run("as they were written", check)
	client.run(`ALTER TABLE orders DROP CONSTRAINT orders_order_uid_form`) // as for a row that is older than it
	client.run(`UPDATE items SET status = 2 WHERE position = 1 AND chrt_id % 10 = 1;
		INSERT INTO orders SELECT 'it''s "odd\', '', '', 'en', '', '', '', '', 1, now(), '1';
		INSERT INTO items SELECT 'it''s "odd\', p, 1, '', 1, '', '', 1, '', 1, 1, '', 1 FROM generate_series(0, 1) p;
		DELETE FROM deliveries WHERE order_uid LIKE 'a%'; DELETE FROM items WHERE order_uid LIKE 'ab%';
		UPDATE items SET status = 3 WHERE order_uid LIKE 'it%' AND position = 0`)
	t.Run("changed", check)
	for _, table := range []string{"items", "deliveries", "payments"} {
		client.run(strings.ReplaceAll(`BEGIN; CREATE TEMP TABLE mixed ON COMMIT DROP AS SELECT * FROM items ORDER BY random();
			DELETE FROM items; INSERT INTO items SELECT * FROM mixed; COMMIT`, "items", table))
	}
	t.Run("mixed up", check)
}

// TestStatsTellWhatIsInMemory looks at a reader that has all orders, and at one
// that has room for some.
func TestStatsTellWhatIsInMemory(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url)
	client.run(manyOrders(3000))
	all := start(t, url, func(s *app.Settings) { s.CacheCompression = "zstd" }).synced()
	stats := all.stats()
	require.True(t, stats.Complete)
	require.EqualValues(t, 3000, stats.Orders)
	require.EqualValues(t, 3000, *stats.OrdersTotal)
	require.Positive(t, stats.DictionaryBytes)
	require.Greater(t, stats.CompressionRatio, 1.5)
	require.Greater(t, stats.JSONBytes, int64(3000*500))
	require.Equal(t, 200, all.get("/order/"+anyUID(t, client, "DESC")).status)
	require.Equal(t, 404, all.get("/order/unknown").status)
	stats = all.stats()
	require.EqualValues(t, 1, stats.Hits)
	require.EqualValues(t, 1, stats.Misses)
	require.Zero(t, stats.ReadThroughs)
	all.stop()

	const budget = 600_000
	some := start(t, url, func(s *app.Settings) { s.CacheBytes = budget }).synced()
	stats = some.stats()
	require.False(t, stats.Complete)
	require.Nil(t, stats.OrdersTotal, "orders that were left out are not counted")
	require.EqualValues(t, budget, stats.BudgetBytes)
	require.LessOrEqual(t, stats.Bytes, int64(budget))
	require.Greater(t, stats.Orders, int64(300))
	require.Less(t, stats.Orders, int64(1000))
	client.run(`UPDATE orders SET locale = 'de' WHERE order_uid = '` + anyUID(t, client, "ASC") + `'`)
	eventually(t, "what changed last is in memory", func() bool {
		before := some.stats().Hits
		return some.get("/order/"+anyUID(t, client, "ASC")).status == 200 && some.stats().Hits > before
	})
	before := some.stats()
	require.Equal(t, 404, some.get("/order/unknown").status)
	after := some.stats()
	require.Equal(t, before.Misses+1, after.Misses)
	require.Equal(t, before.ReadThroughs+1, after.ReadThroughs, "the database is asked for what may have been left out")
}

func anyUID(t *testing.T, client *session, direction string) (uid string) {
	t.Helper()
	require.NoError(t, client.conn.QueryRow(t.Context(), `SELECT order_uid FROM orders ORDER BY order_uid `+direction+` LIMIT 1`).Scan(&uid))
	return uid
}
