package reader_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

// TestUnknownFieldsAreServed by every way that an order takes out of the tables.
func TestUnknownFieldsAreServed(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	client.insert("kept", "bare")
	client.run(`UPDATE orders SET unknown_fields = '{}'; UPDATE orders SET unknown_fields = '{"channel": "app", "bb": 1.50e1, "order_uid": "x"}' WHERE order_uid = 'kept';
		UPDATE deliveries SET unknown_fields = '{"floor": 3}' WHERE order_uid = 'kept'; UPDATE payments SET unknown_fields = '[1]'`)
	r := start(t, url).synced()
	expect := func(item string) {
		t.Helper()
		r.equals(openDB(t, url))
		for _, path := range []string{"/order/kept", "/api/v1/orders?limit=2"} {
			for _, fresh := range []string{"max-age=0", "no-cache"} {
				body := r.get(path, "Cache-Control", fresh).body
				require.Contains(t, body, `"email":"a@b.cc","floor":3},"payment"`)
				require.Contains(t, body, `"status":202`+item+`}],"locale"`)
				require.Contains(t, body, `"oof_shard":"1","bb":15.0,"channel":"app"}`)
			}
		}
		require.True(t, strings.HasSuffix(r.get("/order/bare").body, `"oof_shard":"1"}`))
	}
	expect("")
	stream := r.listen("?track_number=TRACK", "")
	client.run(`UPDATE items SET unknown_fields = '{"colour": "red"}' WHERE order_uid = 'kept' AND position = 1`)
	require.Contains(t, stream.next().data, `"colour":"red"`)
	expect(`,"colour":"red"`)
	page := r.get("/?uid=kept").body
	require.Contains(t, page, `<dt dir="auto">items[1].colour</dt><dd class="code" dir="auto">&#34;red&#34;</dd>`)
	require.Contains(t, page, `<dt dir="auto">delivery.floor</dt>`)
	require.NotContains(t, r.get("/?uid=bare").body, "Other fields")
}

func TestAnswersFollowTheOrder(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.insert("order")
	r := start(t, url).synced()

	first := r.get("/order/order")
	require.Equal(t, tables(t, db)["order"], first.body, "byte-equal to the canonical JSON of the rows")
	require.Equal(t, first.body, r.get("/api/v1/orders/order").body)
	require.Equal(t, 304, r.get("/order/order", "If-None-Match", first.header.Get("ETag")).status)
	head := r.ask("HEAD", "http://"+r.api.Addr()+"/order/order")
	require.Equal(t, first.header.Get("ETag"), head.header.Get("ETag"))
	require.Equal(t, fmt.Sprint(len(first.body)), head.header.Get("Content-Length"))

	client.run(`UPDATE items SET name = 'other'`)
	r.equals(db)
	second := r.get("/order/order", "If-None-Match", first.header.Get("ETag"))
	require.Equal(t, 200, second.status)
	require.NotEqual(t, first.header.Get("ETag"), second.header.Get("ETag"))
	require.Contains(t, second.body, "other")

	// A restart, and a second reader, give the same bytes and tags.
	r.stop()
	for _, again := range []*reader{start(t, url).synced(), start(t, url).synced()} {
		answer := again.get("/order/order")
		require.Equal(t, second.body, answer.body)
		require.Equal(t, second.header.Get("ETag"), answer.header.Get("ETag"))
	}
}

// TestNoCacheAsksTheDatabase shows a change that no cache can know of yet.
func TestNoCacheAsksTheDatabase(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	client.insert("order")
	r := start(t, url).synced()
	client.run(`ALTER TABLE orders DISABLE TRIGGER USER; UPDATE orders SET locale = 'zz'; ALTER TABLE orders ENABLE TRIGGER USER`)
	require.NotContains(t, r.get("/order/order").body, `"locale":"zz"`)
	require.Contains(t, r.get("/order/order", "Cache-Control", "no-cache").body, `"locale":"zz"`)
	require.Equal(t, 404, r.get("/order/unknown", "Cache-Control", "no-cache").status)
}

type list struct {
	Orders []struct {
		OrderUID    string    `json:"order_uid"`
		DateCreated time.Time `json:"date_created"`
	} `json:"orders"`
	NextCursor string `json:"next_cursor"`
}

// TestListsGoOnWhereTheyEnded reads all pages while orders arrive.
func TestListsGoOnWhereTheyEnded(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	r := start(t, url).synced()
	require.Equal(t, `{"orders":[]}`, r.get("/api/v1/orders").body)

	const orders = 57
	for i := range orders {
		uid := fmt.Sprintf("order-%02d", i)
		client.insert(uid)
		// Many share their moment, to the microsecond.
		client.run(fmt.Sprintf(`UPDATE orders SET date_created = timestamptz '2024-05-01 10:00:00.000001+00' + interval '1 microsecond' * %d WHERE order_uid = '%s'`, i/10, uid))
	}
	r.lists()
	var seen []string
	for cursor := ""; ; {
		path := "/api/v1/orders?limit=10"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		answer := r.get(path)
		require.Equal(t, 200, answer.status, answer.body)
		var page list
		require.NoError(t, json.Unmarshal([]byte(answer.body), &page))
		for _, o := range page.Orders {
			seen = append(seen, o.OrderUID)
		}
		client.run(fmt.Sprintf(`INSERT INTO orders SELECT 'late-%d', '', '', 'en', '', '', '', '', 1, now(), '1'`, len(seen)))
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	var want []string
	for i := orders - 1; i >= 0; i-- {
		want = append(want, fmt.Sprintf("order-%02d", i))
	}
	require.Equal(t, want, seen)
	r.lists()
	require.Equal(t, `{"orders":[`+r.get("/order/late-57", "Cache-Control", "no-cache").body+`]`,
		strings.Split(r.get("/api/v1/orders?limit=1").body, `,"next_cursor"`)[0])
}

// TestABudgetKeepsAllOrdersReachable has room for a few orders only.
func TestABudgetKeepsAllOrdersReachable(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	const orders = 3000
	client.run(`BEGIN; INSERT INTO orders SELECT 'uid-'||i, 'TRACK', 'WBIL', 'en', '', 'c', 'meest', '9', i, now(), '1' FROM generate_series(1, 3000) i;
		INSERT INTO items SELECT 'uid-'||i, p, 9934930, 'TRACK', 453, 'rid', 'Mascaras', 30, '0', 317, 2389212, 'Vivienne Sabo', 202
			FROM generate_series(1, 3000) i, generate_series(1, 3) p; COMMIT`)
	client.insert("last")
	for _, compression := range []string{"off", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			r := start(t, url, func(s *app.Settings) { s.CacheBytes, s.CacheCompression = 300_000, compression }).synced()
			stats := r.stats()
			require.False(t, stats.Complete)
			require.LessOrEqual(t, stats.Bytes, int64(300_000))
			require.Greater(t, stats.Orders, int64(100))
			require.Less(t, stats.Orders, int64(orders))
			require.Equal(t, 200, r.get("/order/last").status)
			require.Zero(t, r.stats().ReadThroughs, "what arrived last is in memory")
			for _, uid := range []string{"uid-1", "uid-1500", "uid-3000"} {
				require.Equal(t, 200, r.get("/order/"+uid).status, uid)
			}
			require.Equal(t, 404, r.get("/order/unknown").status)
			require.Positive(t, r.stats().ReadThroughs)
		})
	}
	all := start(t, url, func(s *app.Settings) { s.CacheBytes, s.CacheCompression = 100_000_000, "zstd" }).synced()
	require.True(t, all.stats().Complete)
	all.equals(openDB(t, url))
}

// TestReadsThroughTogether asks for the same and for different orders at once.
func TestReadsThroughTogether(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	for i := range 20 {
		client.insert(fmt.Sprintf("order-%d", i))
	}
	r := start(t, url).synced()
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			uid, status := fmt.Sprintf("order-%d", i%25), 200
			if i%25 >= 20 {
				status = 404
			}
			if answer := r.get("/order/"+uid, "Cache-Control", "no-cache"); answer.status != status {
				t.Errorf("%s: %d %s", uid, answer.status, answer.body)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 200, r.stats().ReadThroughs)
}
