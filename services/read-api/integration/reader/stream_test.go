package reader_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

// event is a server-sent event; kind is "" where there was only an id.
type event struct{ id, kind, data string }

func (e event) uid(t *testing.T) string {
	t.Helper()
	var o struct {
		OrderUID string `json:"order_uid"`
	}
	require.NoError(t, json.Unmarshal([]byte(e.data), &o))
	return o.OrderUID
}

// listener is a client of the stream.
type listener struct {
	t      *testing.T
	events chan event // closed at the stream's end
	close  func()
}

// listen opens the stream, and waits until it is open.
func (r *reader) listen(query, lastID string) *listener {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.api.Addr()+"/api/v1/orders/stream"+query, nil)
	require.NoError(r.t, err)
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	var response *http.Response
	eventually(r.t, "the cache's first round is over", func() bool {
		response, err = http.DefaultClient.Do(request) //nolint:bodyclose // the goroutine below closes it
		require.NoError(r.t, err)
		if response.StatusCode != http.StatusServiceUnavailable {
			return true
		}
		body, err := io.ReadAll(response.Body)
		require.NoError(r.t, err)
		require.NoError(r.t, response.Body.Close())
		r.described(request, response, body)
		return false
	})
	r.described(request, response, nil) // its events are, one by one
	require.Equal(r.t, 200, response.StatusCode)
	require.Equal(r.t, "text/event-stream", response.Header.Get("Content-Type"))
	l := &listener{t: r.t, events: make(chan event, 100_000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(l.events)
		defer func() { _ = response.Body.Close() }()
		var e event
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.kind = value
			case "data":
				e.data = value
			case "":
				if lines.Text() == "" && (e.id != "" || e.kind != "") {
					l.events <- e
					e = event{}
				}
			}
		}
	}()
	l.close = func() {
		cancel()
		<-ended
	}
	r.t.Cleanup(l.close)
	return l
}

// next returns the next event; ids alone are passed over.
func (l *listener) next() event {
	l.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, ok := <-l.events:
			require.True(l.t, ok, "the stream has ended")
			if e.kind != "" {
				require.NoError(l.t, undescribed(e), "%s %s", e.kind, e.data)
				return e
			}
		case <-timeout:
			require.Fail(l.t, "no event came")
		}
	}
}

func (l *listener) id() string {
	l.t.Helper()
	select {
	case e := <-l.events:
		return e.id
	case <-time.After(patience):
		require.Fail(l.t, "no id came")
		return ""
	}
}

func TestTheStreamTellsChanges(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.insert("old")
	r := start(t, url).synced()
	all, some := r.listen("", ""), r.listen("?customer_id=customer+%22b%22&currency=USD", "")
	require.NotEmpty(t, all.id(), "an id comes at once")
	require.NotEmpty(t, some.id())

	client.insert("a")
	// The parts of an order come one by one here, and each of its states is told.
	whole := tables(t, db)["a"]
	for {
		e := all.next()
		require.Equal(t, "upsert", e.kind)
		require.Equal(t, "a", e.uid(t))
		if e.data == whole {
			break
		}
	}
	client.run("BEGIN;" + insertOrder("b", 1) + "; DELETE FROM orders WHERE order_uid = 'old'; COMMIT")
	first, second := all.next(), all.next()
	require.Equal(t, []string{"delete", `{"order_uid":"old"}`}, []string{first.kind, first.data})
	require.Equal(t, []string{"upsert", tables(t, db)["b"]}, []string{second.kind, second.data})
	require.NotEqual(t, first.id, second.id, "after the first of a round, the round is still to be told")

	require.Equal(t, "old", some.next().uid(t), "deletions pass every filter")
	require.Equal(t, "b", some.next().uid(t))

	client.run(`TRUNCATE orders CASCADE`) // which calls for a relist
	first, second = all.next(), all.next()
	require.Equal(t, []string{"delete", "delete"}, []string{first.kind, second.kind})
	require.ElementsMatch(t, []string{"a", "b"}, []string{first.uid(t), second.uid(t)})
	client.insert("c")
	require.Equal(t, "c", all.next().uid(t))
}

// TestAnOrderThatStopsMatchingLeaves has changes that an open stream tells, and then a
// client that was away: whoever may have had an order is told, and new ones tell nobody.
func TestAnOrderThatStopsMatchingLeaves(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	client.insert("a", "b", "other")
	client.run(`UPDATE payments SET currency = 'EUR' WHERE order_uid = 'other'`)
	r := start(t, url).synced()
	l := r.listen("?currency=USD", "")
	last := l.id()
	inserted := func(uid, currency string) string {
		return insertOrder(uid, 1) + `; UPDATE payments SET currency = '` + currency + `' WHERE order_uid = '` + uid + `'`
	}
	client.run(inserted("new", "EUR"))
	client.run(`UPDATE payments SET currency = 'EUR' WHERE order_uid = 'a'`)
	client.run(`UPDATE orders SET locale = 'ru' WHERE order_uid = 'other'`)
	// It is not known that this is another order.
	client.run("BEGIN; DELETE FROM orders WHERE order_uid = 'b';" + inserted("b", "EUR") + "; COMMIT")
	client.run(inserted("more", "EUR"))
	client.insert("end")
	for range 2 {
		left := map[string]string{}
		e := l.next()
		for ; e.kind == "left"; e = l.next() {
			left[e.uid(t)] = e.data
		}
		require.Equal(t, []string{"upsert", "end"}, []string{e.kind, e.uid(t)})
		require.Equal(t, map[string]string{"a": `{"order_uid":"a"}`, "other": `{"order_uid":"other"}`, "b": `{"order_uid":"b"}`}, left)
		l = r.listen("?currency=USD", last)
	}
}

// TestASnapshotGoesOnLive has orders arrive, match, match no more and go while a snapshot of
// several pages is sent, and thereafter. A client that applies events has the tables' orders.
func TestASnapshotGoesOnLive(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	for i := range 250 {
		client.run(insertOrder(fmt.Sprintf("old%d", i), 1) + fmt.Sprintf("; UPDATE payments SET currency = 'EUR' WHERE order_uid = 'old%d' AND %d %% 5 = 0", i, i))
	}
	r := start(t, url).synced()
	var writes sync.Mutex // whoever holds it keeps the tables as they are
	stop, stopped := make(chan struct{}), make(chan struct{})
	writer := connect(t, url).conn
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			writes.Lock()
			_, err := writer.PgConn().Exec(t.Context(), "BEGIN;"+insertOrder(fmt.Sprintf("new%d", i), 1)+fmt.Sprintf(`;
				UPDATE payments SET currency = 'EUR', bank = '%[1]d' WHERE order_uid = 'old%[2]d';
				UPDATE payments SET currency = 'USD' WHERE order_uid = 'old%[3]d';
				UPDATE orders SET date_created = now() WHERE order_uid = 'old%[4]d';
				DELETE FROM orders WHERE order_uid IN ('old%[5]d', 'new%[6]d'); COMMIT`, i, i*7%250, i*11%250, i*13%250, i*17%250, i-3)).ReadAll()
			writes.Unlock()
			if err != nil {
				t.Errorf("%d: %v", i, err)
				return
			}
		}
	}()
	for range 5 {
		picture := map[string]string{}
		apply := func(e event) {
			switch e.kind {
			case "upsert":
				picture[e.uid(t)] = e.data
			case "delete", "left":
				delete(picture, e.uid(t))
			default:
				require.Fail(t, "unexpected", "%s %s", e.kind, e.data)
			}
		}
		l := r.listen("?snapshot=true&currency=USD", "")
		e := l.next()
		for ; e.kind != "snapshot-end"; e = l.next() {
			require.Empty(t, e.id)
			apply(e)
		}
		require.NotEmpty(t, e.id)
		for range 20 {
			apply(l.next())
		}
		again := r.listen("?snapshot=true&currency=USD", e.id)
		require.NotEmpty(t, again.next().id, "it goes on, and sends no snapshot again")
		again.close()

		writes.Lock()
		want := tables(t, db)
		maps.DeleteFunc(want, func(_, canonical string) bool { return !strings.Contains(canonical, `"currency":"USD"`) })
		for !maps.Equal(want, picture) {
			apply(l.next())
		}
		writes.Unlock()
		l.close()
	}
	close(stop)
	<-stopped
}

// TestAStreamGoesOnWithoutAGap restarts readers again and again while orders are
// written, updated and deleted in transactions that commit out of order, and
// follows from one to the next by the last event's id alone: in the header, in the
// parameter, and in both, of which the parameter is the older one.
func TestAStreamGoesOnWithoutAGap(t *testing.T) {
	url := newDatabase(t)
	db, setup := openDB(t, url), connect(t, url).withVersions()
	setup.insert("first")
	r := start(t, url).synced()
	l := r.listen("", "")
	last := l.id()

	const writers, orders = 3, 60
	done := make(chan struct{}, writers)
	for w := range writers {
		client := connect(t, url)
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range orders {
				uid := fmt.Sprintf("w%d-%d", w, i)
				_, err := client.conn.PgConn().Exec(t.Context(), "BEGIN;"+insertOrder(uid, 1)+
					fmt.Sprintf("; UPDATE items SET name = 'changed %d' WHERE order_uid = 'w%d-%d'; DELETE FROM orders WHERE order_uid = 'w%d-%d'; SELECT pg_sleep(0.00%d); COMMIT", i, w, i-3, w, i-5, w)).ReadAll()
				if err != nil {
					t.Errorf("%s: %v", uid, err)
					return
				}
			}
		}()
	}
	// The follower's own picture of the tables, from events alone.
	picture := map[string]string{"first": tables(t, db)["first"]}
	apply := func(e event) {
		require.NotEqual(t, "reset", e.kind, e.data)
		switch e.kind {
		case "upsert":
			picture[e.uid(t)] = e.data
		case "delete":
			delete(picture, e.uid(t))
		}
		last = e.id
	}
	for i := range 6 {
		for range 20 {
			apply(l.next())
		}
		r.stop()
		l.close()
		r = start(t, url).synced()
		switch i % 3 {
		case 0:
			l = r.listen("", last)
		case 1:
			l = r.listen("?lastEventId="+last, "")
		case 2:
			l = r.listen("?lastEventId=of-another-version", last)
		}
	}
	for range writers {
		<-done
	}
	setup.insert("end")
	want := tables(t, db)
	for picture["end"] != want["end"] {
		apply(l.next())
	}
	require.Equal(t, want, picture)

	// Another replica goes on as well.
	other := start(t, url).synced()
	m := other.listen("", last)
	setup.run(`DELETE FROM orders WHERE order_uid = 'end'`)
	e := m.next()
	require.Equal(t, []string{"delete", "end"}, []string{e.kind, e.uid(t)})
}

// TestAStreamGoesOnHoweverManyTransactionsAreOpen has more than an id can list. They are
// prepared, so that they need no connection each, and ring no bell, which those cannot.
func TestAStreamGoesOnHoweverManyTransactionsAreOpen(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true, Settings: map[string]string{"max_prepared_transactions": "400"}})
	migrate(t, server.URL())
	client := connect(t, server.URL()).withVersions()
	r := start(t, server.URL()).synced()
	const open = 400
	missed := map[string]bool{"between": true, "after": true}
	var prepare strings.Builder
	for i := range open {
		uid := fmt.Sprintf("open%d", i)
		missed[uid] = true
		fmt.Fprintf(&prepare, "BEGIN; SET LOCAL orderhub.whole_orders = 'on'; %s; PREPARE TRANSACTION '%s';", insertOrder(uid, 1), uid)
		if i == open/2 {
			prepare.WriteString("BEGIN;" + insertOrder("seen", 1) + "; COMMIT;")
		}
	}
	client.run(prepare.String())
	client.insert("seen-last")
	eventually(t, "the reader has seen the last one", func() bool { return r.cache.Get("seen-last", time.Now()).Found })
	l := r.listen("", "")
	last := l.id()
	require.Less(t, len(last), 1024)
	l.close()
	client.insert("between")
	for i := range open {
		client.run(fmt.Sprintf("COMMIT PREPARED 'open%d'", i))
	}
	client.insert("after")
	for l = r.listen("", last); len(missed) > 0; {
		e := l.next()
		require.Equal(t, "upsert", e.kind, e.data)
		require.Less(t, len(e.id), 1024)
		delete(missed, e.uid(t))
	}
}

func TestAStreamThatIsTooFarBackResets(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	r := start(t, url).synced()
	l := r.listen("", "")
	last := l.id()
	l.close()
	client.insert("missed")
	r.equals(db)
	client.run("BEGIN; UPDATE order_changes_state SET horizon = pg_snapshot_xmax(pg_current_snapshot());" + insertOrder("a", 1) + "; COMMIT")
	r.equals(db)
	for _, id := range []string{last, "nonsense", "AQAA"} {
		again := r.listen("", id)
		e := again.next()
		require.Equal(t, "reset", e.kind)
		require.NotContains(t, e.data, "horizon")
		again.close()
		require.NotEqual(t, id, e.id)
		last = e.id
	}
	// From a reset on it goes on as ever.
	client.insert("b")
	require.Equal(t, "b", r.listen("", last).next().uid(t))
}

func TestStreamsAreBoundedAndEndWithTheService(t *testing.T) {
	url := newDatabase(t)
	r := start(t, url, func(s *app.Settings) { s.StreamClients = 2 }).synced()
	first, second := r.listen("", ""), r.listen("", "")
	full := r.get("/api/v1/orders/stream")
	require.Equal(t, 503, full.status)
	require.Contains(t, full.body, "too-many-streams")
	require.NotEmpty(t, full.header.Get("Retry-After"))
	require.Contains(t, r.metrics(), "orderhub_stream_refused_total 1\n")
	first.close()
	eventually(t, "a place is free again", func() bool { return strings.Contains(r.metrics(), "orderhub_stream_clients 1") })
	third := r.listen("", "")
	require.Equal(t, 400, r.get("/api/v1/orders/stream?limit=1").status)
	require.Equal(t, 400, r.get("/api/v1/orders/stream?amount_min=x").status)

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.stop()
	}()
	for _, l := range []*listener{second, third} {
		for range l.events { // until the end
		}
	}
	<-stopped
}

func (r *reader) metrics() string {
	r.t.Helper()
	return r.ask(http.MethodGet, "http://"+r.admin.Addr()+"/metrics").body
}

func TestStreamsWithTheDatabaseAway(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	migrate(t, url)
	client := connect(t, url).withVersions()
	r := start(t, url, staleness(200*time.Millisecond)).synced()
	l := r.listen("", "")
	last := l.id()
	client.insert("a")
	require.NoError(t, server.Kill())
	eventually(t, "a stream that would have to ask the database is refused", func() bool {
		answer := r.ask(http.MethodGet, "http://"+r.api.Addr()+"/api/v1/orders/stream", "Last-Event-ID", last)
		return answer.status == 503 && answer.header.Get("Retry-After") != ""
	})
	require.NoError(t, server.Restart(context.Background()))
	connect(t, url).insert("b")
	// The open stream has lived through it.
	for seen := map[string]bool{}; !seen["a"] || !seen["b"]; {
		seen[l.next().uid(t)] = true
	}
	require.Equal(t, "a", r.listen("", last).next().uid(t))
}
