package reader_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/app"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// renewEpoch calls for a relist, as a worker does that finds the database restored.
const renewEpoch = `UPDATE order_changes_state SET epoch = gen_random_uuid(); NOTIFY orders_changed`

// slowly is a sink that has orders, and stops a relist in its middle.
type slowly struct {
	relisted
	inIt, goOn chan struct{}
}

func (s *slowly) Same(o changes.Order) bool {
	select {
	case s.inIt <- struct{}{}:
	default:
	}
	<-s.goOn
	return s.relisted.Same(o)
}

// TestTwoRelistAtATime stops two relists in their middle: a third has to wait, and who has
// nothing to serve has not.
func TestTwoRelistAtATime(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.insert("a", "b")
	want := tables(t, db)
	source := func(o changes.Options) *changes.Source {
		o.CheckSchema = func(context.Context) error { return nil }
		s := changes.NewSource(func() (*pgx.ConnConfig, error) { return pgx.ParseConfig(readerOf(url)) }, o)
		t.Cleanup(s.Close)
		return s
	}
	sink := func() *slowly {
		return &slowly{
			relisted: relisted{t: t, want: want, heldOrders: heldOrders{held: map[string]string{}}, room: 1 << 20, seen: map[string]bool{}},
			inIt:     make(chan struct{}, 1), goOn: make(chan struct{}),
		}
	}
	nothing := func(int64, int64) {}
	sinks := []*slowly{sink(), sink()}
	done := []chan error{make(chan error, 1), make(chan error, 1)}
	for i, one := range sinks {
		reading := source(changes.Options{})
		go func() {
			_, err := reading.Snapshot(t.Context(), one, nothing)
			done[i] <- err
		}()
		<-one.inIt
	}
	var busy *changes.BusyError
	third := sink()
	close(third.goOn)
	for _, options := range []changes.Options{{}, {Bytes: 1 << 20, MinRecordBytes: 250}} {
		_, err := source(options).Snapshot(t.Context(), third, nothing)
		require.ErrorAs(t, err, &busy)
	}
	require.Empty(t, third.seen)
	first := &heldOrders{held: map[string]string{}}
	_, err := source(changes.Options{}).Snapshot(t.Context(), first, nothing)
	require.NoError(t, err)
	require.Equal(t, want, first.held)

	close(sinks[0].goOn)
	require.NoError(t, <-done[0])
	_, err = source(changes.Options{}).Snapshot(t.Context(), third, nothing)
	require.NoError(t, err)
	require.Equal(t, want, third.held)
	close(sinks[1].goOn)
	require.NoError(t, <-done[1])
}

// TestARelistIsMarkedAndTold has replicas wait for their turn: what they serve is old and
// says so. Then it is compared, and streams get the differences.
func TestARelistIsMarkedAndTold(t *testing.T) {
	url := newDatabase(t)
	db, client, others := openDB(t, url), connect(t, url).withVersions(), connect(t, url)
	client.insert("same", "changed", "gone")
	others.run(`SELECT pg_advisory_lock(1869767794, 1), pg_advisory_lock(1869767794, 2)`)
	readers := []*reader{start(t, url).synced(), start(t, url, compressed).synced(), start(t, url, func(s *app.Settings) { s.CacheBytes = 1 << 20 }).synced()}
	events := make([]*listener, len(readers))
	for i, r := range readers {
		events[i] = r.listen("", "")
		require.Empty(t, r.get("/order/same").header.Get("X-Orderhub-Staleness"), "a first restore has waited for nobody")
		require.NotContains(t, r.get("/").body, "may be out of date")
	}
	before := tables(t, db)
	client.run(`BEGIN; ALTER TABLE orders DISABLE TRIGGER USER; UPDATE orders SET locale = 'zz' WHERE order_uid = 'changed';
		DELETE FROM orders WHERE order_uid = 'gone'; ALTER TABLE orders ENABLE TRIGGER USER; NOTIFY orders_changed; COMMIT`)
	for _, r := range readers {
		eventually(t, "it waits for its turn", func() bool {
			return strings.Contains(r.readyz().body, "waiting for other replicas that read all orders anew")
		})
		require.Equal(t, 200, r.readyz().status)
		changed := r.get("/order/changed")
		require.Equal(t, before["changed"], changed.body)
		require.NotEmpty(t, changed.header.Get("Age"), "it comes from memory")
		require.Equal(t, before["gone"], r.get("/order/gone").body)
		for path, status := range map[string]int{
			"/order/changed": 200, "/order/unknown": 404, "/api/v1/orders": 200, "/api/v1/suggest?q=same": 200, "/api/v1/stats": 200,
			"/order/a,b": 400, "/api/v1/orders?limit=x": 400,
		} {
			answer := r.get(path)
			require.Equal(t, status, answer.status, path)
			require.NotEmpty(t, answer.header.Get("X-Orderhub-Staleness"), path)
		}
		list := r.get("/api/v1/orders")
		require.Contains(t, list.body, `"zz"`, "a list is from the tables, and fresher than what the replica knows")
		require.Empty(t, list.header.Get("Age"))
		fresh := r.get("/order/changed", "Cache-Control", "no-cache")
		require.Contains(t, fresh.body, `"zz"`)
		require.Empty(t, fresh.header.Get("Age"))
		require.Contains(t, r.get("/").body, "may be out of date")
		require.Contains(t, r.get("/?q=same").body, "all orders are being read anew")
		require.False(t, r.stats().Complete)
	}
	others.run(`SELECT pg_advisory_unlock(1869767794, 2)`) // one after another
	for i, r := range readers {
		r.equals(db)
		eventually(t, "it is not stale any more", func() bool { return r.get("/order/same").header.Get("X-Orderhub-Staleness") == "" })
		require.EqualValues(t, 1, r.stats().Relists)
		require.Equal(t, 404, r.get("/order/gone").status)
		require.NotContains(t, r.get("/").body, "may be out of date")
		changed, gone := events[i].next(), events[i].next()
		require.Equal(t, []string{"upsert", r.get("/order/changed").body}, []string{changed.kind, changed.data})
		require.Equal(t, []string{"delete", `{"order_uid":"gone"}`}, []string{gone.kind, gone.data})
	}
	client.insert("later")
	for i, r := range readers {
		for e := events[i].next(); e.data != tables(t, db)["later"]; e = events[i].next() {
			require.Equal(t, "later", e.uid(t), "nothing is told twice")
		}
		r.equals(db)
	}
}

// TestManyDifferencesReset changes more orders unseen than are told one by one, and makes
// others.
func TestManyDifferencesReset(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url)
	client.run(manyOrders(12_000))
	r := start(t, url).synced()
	l := r.listen("", "")
	client.run(fmt.Sprintf(`BEGIN; ALTER TABLE orders DISABLE TRIGGER USER; UPDATE orders SET locale = 'zz'; DELETE FROM orders WHERE order_uid LIKE 'a%%';
		ALTER TABLE orders ENABLE TRIGGER USER; %s; NOTIFY orders_changed; COMMIT`, strings.ReplaceAll(manyOrders(100), "md5(i::text)", "'new' || i")))
	require.Equal(t, "reset", l.next().kind)
	r.equals(db)
	client.run(`UPDATE orders SET locale = 'en' WHERE order_uid = 'new7'`)
	require.Equal(t, "new7", l.next().uid(t))
}
