package reader_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/orderdb/verify"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

const (
	// seedVariable repeats a run that failed.
	seedVariable = "ORDERHUB_TEST_SEED"
	// pointsVariable is how many quiet points a run has: more of them make it
	// longer.
	pointsVariable = "ORDERHUB_TEST_POINTS"
	defaultPoints  = 5
	writersAtOnce  = 4
)

// TestCachesEqualTheTables lets clients change orders in every way at random,
// with transactions that overlap, roll back and stay open, and with tables
// truncated, and lets a worker replace, delete and recreate others, while notifications are lost, connections are cut or fall silent, and
// servers are restarted, killed and frozen. At each quiet point every cache is
// what the tables are, and in between no order goes backwards.
func TestCachesEqualTheTables(t *testing.T) {
	seed := rand.Uint64()
	if given := os.Getenv(seedVariable); given != "" {
		var err error
		seed, err = strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
	}
	points := defaultPoints
	if given := os.Getenv(pointsVariable); given != "" {
		var err error
		points, err = strconv.Atoi(given)
		require.NoError(t, err)
	}
	t.Logf("%s=%d", seedVariable, seed)
	w := newWorld(t, seed)
	for point := range points {
		w.upTo(point)
	}
	w.verified()
}

// world is a primary and a standby with several readers.
type world struct {
	t        *testing.T
	seed     uint64
	url      string
	primary  *postgres.Server
	standby  *postgres.Server
	tails    *proxy.Proxy // to the primary, for some readers' connections
	bells    *proxy.Proxy // and for some doorbells
	worker   *worker
	readers  []*reader
	partial  *reader // has not room for all
	deck     []fault // that are still to come, in a random order
	longOpen *session
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	port, err := ports.Free()
	require.NoError(t, err)
	w := &world{t: t, seed: seed}
	w.primary = postgres.ServerForTest(t, postgres.Options{Unsafe: true, Port: port})
	w.url = w.primary.URL()
	migrate(t, w.url)
	client := connect(t, w.url).withVersions()
	for i := range 10 {
		client.insert(someUID(i))
	}
	w.worker = &worker{Writer: newShop(t, w.url).writer}
	port, err = ports.Free()
	require.NoError(t, err)
	w.standby = postgres.StandbyForTest(t, w.primary, postgres.Options{Unsafe: true, Port: port, Settings: map[string]string{
		"wal_retrieve_retry_interval": "100ms", "max_standby_streaming_delay": "1s",
	}})
	w.tails, w.bells = throughProxy(t, w.primary), throughProxy(t, w.primary)

	polls, impatient := staleness(50*time.Millisecond), func(s *app.Settings) { s.AnswerTimeout, s.PingInterval = 2*time.Second, 400*time.Millisecond }
	tail, bell := at(w.url, w.tails.Addr()), at(w.url, w.bells.Addr())
	w.readers = []*reader{
		start(t, w.url, impatient), // woken by the doorbell alone
		start(t, tail, impatient, polls, listens(bell)),
		start(t, tail, impatient, listens(bell), compressed),
		start(t, w.standby.URL(), impatient, polls),
		start(t, w.standby.URL(), impatient, listens(w.url)), // woken by the primary's doorbell alone
	}
	w.partial = start(t, w.url, impatient, polls, func(s *app.Settings) { s.CacheBytes = 4000 })
	for _, r := range append(slices.Clip(w.readers), w.partial) {
		r.synced()
	}
	return w
}

// upTo runs writers and faults, and then looks whether all is equal.
func (w *world) upTo(point int) {
	t := w.t
	watch := watchOrders(t, append(slices.Clip(w.readers), w.partial))
	var writers sync.WaitGroup
	for n := range writersAtOnce {
		random := rand.New(rand.NewPCG(w.seed, uint64(point*100+n)))
		writers.Go(func() { (&writer{t: t, url: w.url, random: random, worker: w.worker}).write(40) })
	}
	w.faults(rand.New(rand.NewPCG(w.seed, uint64(point*100+98))))
	writers.Wait()

	// Not every change has rung, and one transaction stays open.
	client := connect(t, w.url)
	client.run(`NOTIFY orders_changed`)
	w.holdOpen(point)
	want := tables(t, openDB(t, w.url))
	for i, r := range w.readers {
		if !poll(func() bool { return r.differs(want) == "" }) {
			require.Fail(t, fmt.Sprintf("reader %d at point %d", i, point), r.differs(want))
		}
	}
	if !poll(func() bool { return w.partial.contradicts(want) == "" }) {
		require.Fail(t, fmt.Sprintf("the reader with a budget at point %d", point), w.partial.contradicts(want))
	}
	watch()
	require.False(t, t.Failed())
	t.Logf("point %d: %d orders; relists so far: %d", point, len(want), w.readers[0].loop.Stats().Relists)
}

// holdOpen opens a transaction that is still open at the quiet point.
func (w *world) holdOpen(point int) {
	w.longOpen = connect(w.t, w.url)
	w.longOpen.run(`BEGIN;` + insertOrder(fmt.Sprintf("long-%d", point), 2))
}

// release commits it, after many that began later.
func (w *world) release() {
	if w.longOpen == nil {
		return
	}
	_, err := w.longOpen.conn.PgConn().Exec(w.t.Context(), `COMMIT`).ReadAll()
	w.t.Logf("the transaction that was open over the last point has ended: %v", err)
	_ = w.longOpen.conn.Close(context.Background()) // it may have gone with its server
	w.longOpen = nil
}

// verified asks every reader for every order.
func (w *world) verified() {
	for _, outcome := range []orderwrite.Outcome{orderwrite.Stored, orderwrite.Replaced, orderwrite.Deleted} {
		_, there := w.worker.outcomes.Load(outcome)
		require.True(w.t, there, "outcome %d of a worker's records", outcome)
	}
	db := openDB(w.t, w.url)
	for i, r := range append(slices.Clip(w.readers), w.partial) {
		result, err := verify.Run(w.t.Context(), verify.Options{
			DB: bun.NewDB(db, pgdialect.New()), API: "http://" + r.api.Addr(), Settle: 100 * time.Millisecond,
			Found: func(d verify.Difference) { w.t.Errorf("reader %d: %+v", i, d) },
		})
		require.NoError(w.t, err)
		require.True(w.t, result.Equal(), "reader %d: %+v", i, result)
		require.GreaterOrEqual(w.t, result.Checked, int64(len(tables(w.t, db))))
	}
}

func compressed(s *app.Settings) { s.CacheCompression = "zstd" }

// uidCount is how many orders there are. The last of them a worker writes, all others SQL.
const (
	uidCount = 36
	sqlUIDs  = 30
)

func someUID(i int) string { return fmt.Sprintf("uid-%02d", i) }

// contradicts tells which order a cache has wrong, of those that it has.
func (r *reader) contradicts(want map[string]string) string {
	for n := range uidCount {
		uid := someUID(n)
		known := r.cache.Get(uid, time.Now())
		if known.Found && string(known.Bytes()) != want[uid] {
			return fmt.Sprintf("%s is\n%s\nand should be\n%s", uid, known.Bytes(), want[uid])
		}
	}
	return ""
}

// watchOrders looks at the orders in the caches all the time, until the function
// that it returns is called. An order's version only grows.
func watchOrders(t *testing.T, readers []*reader) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var watchers sync.WaitGroup
	for i, r := range readers {
		watchers.Go(func() {
			seen, tags := map[string]int64{}, map[string]string{}
			for {
				for n := range uidCount {
					uid := someUID(n)
					known := r.cache.Get(uid, time.Now())
					if !known.Found || known.ETag() == tags[uid] {
						continue
					}
					var order struct {
						OrderUID string `json:"order_uid"`
						SmID     int64  `json:"sm_id"`
					}
					if err := json.Unmarshal(known.Bytes(), &order); err != nil || order.OrderUID != uid {
						t.Errorf("reader %d has for %s: %s (%v)", i, uid, known.Bytes(), err)
						return
					}
					if order.SmID < seen[uid] {
						t.Errorf("reader %d: %s went from version %d back to %d", i, uid, seen[uid], order.SmID)
						return
					}
					seen[uid], tags[uid] = order.SmID, string([]byte(known.ETag()))
				}
				select {
				case <-done:
					return
				case <-time.After(2 * time.Millisecond):
				}
			}
		})
	}
	return func() {
		close(done)
		watchers.Wait()
	}
}
