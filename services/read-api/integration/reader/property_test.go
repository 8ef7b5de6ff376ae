package reader_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

// seedVariable repeats a run that failed.
const seedVariable = "ORDERHUB_TEST_SEED"

// TestCachesEqualTheTables lets clients change orders in every way at random,
// with transactions that overlap, roll back and stay open, and with tables
// truncated, while connections of the readers are cut. At each quiet point every
// cache is what the tables are, and in between no order goes backwards.
func TestCachesEqualTheTables(t *testing.T) {
	seed := rand.Uint64()
	if given := os.Getenv(seedVariable); given != "" {
		var err error
		seed, err = strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("%s=%d", seedVariable, seed)

	url := newDatabase(t)
	db := openDB(t, url)
	client := connect(t, url).withVersions()
	for i := range 10 {
		client.insert(someUID(i))
	}
	readers := []*reader{
		start(t, url), // woken by the doorbell alone
		start(t, url, staleness(50*time.Millisecond)), // polls as well
		start(t, url, staleness(50*time.Millisecond), compressed),
	}
	for _, r := range readers {
		r.synced()
	}
	for point := range 4 {
		watch := watchOrders(t, readers)
		var writers sync.WaitGroup
		for writer := range 4 {
			random := rand.New(rand.NewPCG(seed, uint64(point*100+writer)))
			writers.Go(func() { newWriter(t, url, random).write(40) })
		}
		random := rand.New(rand.NewPCG(seed, uint64(point*100+99)))
		for range 5 {
			client.run(fmt.Sprintf(`SELECT pg_sleep(%f); SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND application_name LIKE 'read-api%%' AND random() < 0.5`, random.Float64()/20))
		}
		writers.Wait()
		want := tables(t, db)
		for i, r := range readers {
			if !poll(func() bool { return r.differs(want) == "" }) {
				require.Fail(t, fmt.Sprintf("reader %d at point %d", i, point), r.differs(want))
			}
		}
		watch()
		t.Logf("point %d: %d orders; relists of the first reader so far: %d", point, len(want), readers[0].loop.Stats().Relists)
	}
}

func compressed(s *app.Settings) { s.CacheCompression = "zstd" }

const uidCount = 30

func someUID(i int) string { return fmt.Sprintf("uid-%02d", i) }

// writer is a client that makes random transactions.
type writer struct {
	t      *testing.T
	conn   *pgx.Conn
	random *rand.Rand
}

func newWriter(t *testing.T, url string, random *rand.Rand) *writer {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Errorf("connect a writer: %v", err)
		return nil
	}
	return &writer{t, conn, random}
}

// write makes transactions. One that the server refuses, for a duplicate or a
// deadlock, is rolled back: that is a change that must not show, too.
func (w *writer) write(transactions int) {
	if w == nil {
		return
	}
	defer func() { _ = w.conn.Close(context.Background()) }()
	for range transactions {
		statements := []string{"BEGIN"}
		if w.random.IntN(3) == 0 {
			statements = append(statements, "SET LOCAL orderhub.whole_orders = 'on'", insertOrder(w.uid(), 1+w.random.IntN(4)))
			statements = append(statements, "NOTIFY orders_changed")
		} else {
			for range 1 + w.random.IntN(4) {
				statements = append(statements, w.operation())
			}
		}
		if w.random.IntN(4) == 0 { // stays open for a while
			statements = append(statements, fmt.Sprintf("SELECT pg_sleep(%f)", w.random.Float64()/20))
		}
		statements = append(statements, []string{"COMMIT", "COMMIT", "COMMIT", "ROLLBACK"}[w.random.IntN(4)])
		// One by one, as a client with a program between them does.
		for _, statement := range statements {
			if _, err := w.conn.PgConn().Exec(w.t.Context(), statement).ReadAll(); err != nil {
				if w.conn.IsClosed() {
					w.t.Errorf("a writer lost its connection: %v", err)
					return
				}
				_, _ = w.conn.PgConn().Exec(w.t.Context(), "ROLLBACK").ReadAll()
				break
			}
		}
	}
}

func (w *writer) uid() string { return someUID(w.random.IntN(uidCount)) }

// operation is a change in SQL. Each gives the order a version larger than all
// before: nextval is called anew when an update has waited for another.
func (w *writer) operation() string {
	uid := w.uid()
	version := fmt.Sprintf(`UPDATE orders SET sm_id = nextval('version') WHERE order_uid = '%s'`, uid)
	switch w.random.IntN(24) {
	case 0, 1, 2, 3:
		return insertOrder(uid, 1+w.random.IntN(4))
	case 4, 5:
		return version
	case 6, 7:
		return fmt.Sprintf(`%s; UPDATE items SET price = price + 1 WHERE order_uid = '%s'`, version, uid)
	case 8:
		return fmt.Sprintf(`UPDATE items SET price = %d WHERE order_uid = '%s' AND position = 0`, w.random.IntN(100), uid)
	case 9:
		return fmt.Sprintf(`UPDATE deliveries SET city = 'city %d' WHERE order_uid = '%s'`, w.random.IntN(100), uid)
	case 10:
		return fmt.Sprintf(`UPDATE payments SET amount = %d WHERE order_uid = '%s'`, w.random.IntN(100), uid)
	case 11:
		return fmt.Sprintf(`UPDATE orders SET order_uid = '%s', sm_id = nextval('version') WHERE order_uid = '%s'`, w.uid(), uid)
	case 12, 13:
		return fmt.Sprintf(`DELETE FROM orders WHERE order_uid = '%s'`, uid)
	case 14:
		return fmt.Sprintf(`DELETE FROM items WHERE order_uid = '%s' AND position > 0`, uid)
	case 15:
		return fmt.Sprintf(`DELETE FROM payments WHERE order_uid = '%s'`, uid)
	case 16:
		return fmt.Sprintf(`DELETE FROM orders WHERE order_uid = '%[1]s'; %[2]s`, uid, insertOrder(uid, 2))
	case 17, 18:
		return `SAVEPOINT s; ` + w.operation() + `; ROLLBACK TO s`
	case 19:
		return `SAVEPOINT s; ` + w.operation() + `; RELEASE s`
	case 20:
		return `UPDATE items SET status = status + 1`
	case 21:
		if w.random.IntN(3) == 0 {
			return `TRUNCATE ` + []string{"orders, deliveries, payments, items", "items", "deliveries", "order_deletions"}[w.random.IntN(4)]
		}
		return `SELECT pg_sleep(0.01)`
	case 22:
		return fmt.Sprintf(`DELETE FROM orders WHERE order_uid > '%s'`, someUID(uidCount-3))
	default:
		return fmt.Sprintf(`UPDATE orders SET sm_id = nextval('version') WHERE order_uid IN ('%s', '%s')`, uid, w.uid())
	}
}

// watchOrders looks at the orders in the caches all the time, until the function
// that it returns is called.
func watchOrders(t *testing.T, readers []*reader) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var watchers sync.WaitGroup
	for i, r := range readers {
		watchers.Go(func() {
			seen := map[string]int64{}
			for {
				for n := range uidCount {
					uid := someUID(n)
					known := r.cache.Get(uid, time.Now())
					if !known.Found {
						continue
					}
					var order struct {
						OrderUID string `json:"order_uid"`
						SmID     int64  `json:"sm_id"`
					}
					if err := json.Unmarshal(known.Record.Bytes(), &order); err != nil || order.OrderUID != uid {
						t.Errorf("reader %d has for %s: %s (%v)", i, uid, known.Record.Bytes(), err)
						return
					}
					if order.SmID < seen[uid] {
						t.Errorf("reader %d: %s went from version %d back to %d", i, uid, seen[uid], order.SmID)
						return
					}
					seen[uid] = order.SmID
				}
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
	return func() {
		close(done)
		watchers.Wait()
	}
}

// TestTruncateDuringTheSnapshot truncates and fills the tables over and over
// while readers start.
func TestTruncateDuringTheSnapshot(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	var fill strings.Builder
	for i := range 200 {
		fill.WriteString(insertOrder(fmt.Sprintf("uid-%03d", i), 2) + ";")
	}
	client.run(fill.String())
	readers := make([]*reader, 3)
	for i := range readers {
		readers[i] = start(t, url)
		client.run(`TRUNCATE orders, deliveries, payments, items;` + fill.String())
	}
	client.run(`TRUNCATE orders CASCADE; ` + insertOrder("only", 1))
	for _, r := range readers {
		r.synced()
		r.equals(db)
	}
}

// TestTruncateDuringARound empties a table and fills it again, in a transaction
// that a round of changes runs into: its snapshot would see neither the old rows
// nor the new ones.
func TestTruncateDuringARound(t *testing.T) {
	url := newDatabase(t)
	db, client, truncating := openDB(t, url), connect(t, url).withVersions(), connect(t, url)
	client.insert("order")
	r := start(t, url).synced()
	r.equals(db)

	done := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			known := r.cache.Get("order", time.Now())
			if !known.Found || strings.Contains(string(known.Record.Bytes()), `"items":null`) {
				t.Error("the order was seen without its items, a state that was never committed")
				return
			}
		}
	})
	truncating.run(`BEGIN; CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM items; TRUNCATE items`)
	client.run(`UPDATE orders SET locale = 'fr'`) // rings
	eventually(t, "a round waits", func() bool {
		var waiting int
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&waiting))
		return waiting > 0
	})
	truncating.run(`INSERT INTO items SELECT * FROM kept; COMMIT`)
	r.equals(db)
	close(done)
	watcher.Wait()
}
