package reader_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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
			if !known.Found || strings.Contains(string(known.Bytes()), `"items":null`) {
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
