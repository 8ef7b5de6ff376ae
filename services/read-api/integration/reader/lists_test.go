package reader_test

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// lists waits until memory answers for lists, and has the newest orders.
func (r *reader) lists() {
	r.t.Helper()
	eventually(r.t, "lists come from memory", func() bool {
		before := r.metric(listsFromMemory)
		return r.get("/api/v1/orders").body == r.get("/api/v1/orders", "Cache-Control", "no-cache").body && r.metric(listsFromMemory) > before
	})
}

// TestFiltersFindWhatTheyAsk compares every combination of filters with what
// plain SQL says, while orders arrive. Pages are from memory and the database in turn.
func TestFiltersFindWhatTheyAsk(t *testing.T) {
	address := newDatabase(t)
	client := connect(t, address)
	client.run(`BEGIN; INSERT INTO orders SELECT 'uid-'||i, 't'||i%5, '', CASE i%2 WHEN 0 THEN 'en' ELSE 'de' END, '', 'c'||i%3, 'd'||i%2, '', 1,
			timestamptz '2024-05-01 10:00:00.000001+00' + interval '1 microsecond' * (i/4), '1' FROM generate_series(0, 199) i;
		INSERT INTO payments SELECT 'uid-'||i, '', '', CASE i%7 WHEN 0 THEN 'USD' ELSE 'EUR' END, '', i, 0, '', 0, 0, 0 FROM generate_series(0, 189) i;
		INSERT INTO deliveries SELECT 'uid-'||i, 'Name '||i%3, '+'||i%4, '', '', '', '', 'E'||i%5||'@b.c' FROM generate_series(0, 194) i;
		INSERT INTO items SELECT 'uid-'||i, j, 0, '', 0, '', '', 0, '', 0, (i+j)%3, 'b'||(i*j)%4, i%4 FROM generate_series(0, 196) i, generate_series(0, 1) j;
		UPDATE orders SET stored_at = CASE WHEN amount % 9 > 0 THEN timestamptz '2024-06-01 00:00:00.9+00' + interval '0.1 second' * amount END,
			updated_at = CASE amount % 4 WHEN 0 THEN timestamptz '2024-06-01 00:00:30.5+00' - interval '0.1 second' * amount END
			FROM payments WHERE orders.order_uid = payments.order_uid;
		COMMIT`)
	r := start(t, address).synced()
	r.lists()
	late := 0
	fromMemory, fromDatabase := r.metric(listsFromMemory), r.metric(listsFromDatabase)
	conditions := []struct{ name, value, sql string }{
		{"customer_id", "c1", "customer_id = 'c1'"},
		{"track_number", "t2", "track_number = 't2'"},
		{"delivery_service", "d1", "delivery_service = 'd1'"},
		{"locale", "de", "locale = 'de'"},
		{"currency", "EUR", "currency = 'EUR'"},
		{"created_from", "2024-05-01T12:00:00.000006+02:00", "date_created >= '2024-05-01 10:00:00.000006+00'"},
		{"created_to", "2024-05-01T10:00:00.000045Z", "date_created <= '2024-05-01 10:00:00.000045+00'"},
		{"amount_min", "20", "amount >= 20"},
		{"amount_max", "170", "amount <= 170"},
	}
	const updated = "coalesce(updated_at, stored_at)"
	const ofItems = "order_uid IN (SELECT order_uid FROM items WHERE "
	others := []struct{ query, sql string }{ // one with each combination, and none now and then
		{"", "true"}, {"currency=EUR&currency=USD&locale=en&locale=de&delivery_service=d1&delivery_service=none", "currency IN ('EUR', 'USD') AND delivery_service = 'd1'"},
		{"status=1&status=3", ofItems + "status IN (1, 3))"}, {"brand=b1", ofItems + "brand = 'b1')"}, {"nm_id=2&nm_id=0&brand=b0", ofItems + "nm_id IN (0, 2)) AND " + ofItems + "brand = 'b0')"},
		{"email=e1%40B.c", "email = 'E1@b.c'"}, {"phone_prefix=%2B&phone=%2B2", "phone = '+2'"}, {"name=NAME++1", "name = 'Name 1'"},
		{"email_prefix=e&status=0", "email IS NOT NULL AND " + ofItems + "status = 0)"},
		{"updated_from=2024-06-01T00:00:05.7Z&updated_to=2024-06-01T02:00:14%2B02:00", updated + " >= '2024-06-01 00:00:05+00' AND " + updated + " < '2024-06-01 00:00:15+00'"},
		{"updated_to=2024-06-01T00:00:09Z", updated + " < '2024-06-01 00:00:10+00'"},
	}
	for chosen := range 1 << len(conditions) {
		other := chosen % len(others)
		query, err := url.ParseQuery(others[other].query)
		require.NoError(t, err)
		where := []string{"order_uid LIKE 'uid-%'", others[other].sql}
		query.Set("limit", strconv.Itoa(12+chosen%60))
		counts := []string{"exact", "estimate", "", ""}[chosen/len(others)%4] // there are too few orders for an estimate
		if counts != "" {
			query.Set("count", counts)
		}
		for i, condition := range conditions {
			if chosen&(1<<i) != 0 {
				query[condition.name] = []string{condition.value}
				where = append(where, condition.sql)
			}
		}
		const from = ` FROM orders LEFT JOIN payments USING (order_uid) LEFT JOIN deliveries USING (order_uid) WHERE `
		want := client.texts(`SELECT order_uid` + from + strings.Join(where, " AND ") + ` ORDER BY date_created DESC, order_uid DESC`)
		count := client.texts(`SELECT count(*)::text` + from + strings.Join(where[1:], " AND "))[0]
		var seen []string
		for page := 0; ; page++ {
			var header []string
			if (chosen/len(others)+page)%2 == 0 {
				header = []string{"Cache-Control", "no-cache"}
			}
			if header != nil {
				fromDatabase++
			} else {
				fromMemory++
			}
			answer := r.get("/api/v1/orders?"+query.Encode(), header...)
			require.Equal(t, 200, answer.status, answer.body)
			var list list
			require.NoError(t, json.Unmarshal([]byte(answer.body), &list))
			for _, o := range list.Orders {
				if strings.HasPrefix(o.OrderUID, "uid-") {
					seen = append(seen, o.OrderUID)
				}
			}
			counted := ""
			if counts != "" && page == 0 {
				counted = `],"count":` + count + `,"count_exact":true`
			}
			require.Equal(t, counted != "", strings.Contains(answer.body, `],"count`), answer.body)
			require.Contains(t, answer.body, counted)
			if list.NextCursor == "" {
				break
			}
			if page == 0 && chosen%16 == 0 {
				client.run(fmt.Sprintf(`INSERT INTO orders SELECT 'late-%d', 't2', '', 'de', '', 'c1', 'd1', '', 1, now(), '1'`, chosen))
				late++
				eventually(t, "memory has the order, which counts have", func() bool {
					fromMemory++
					return strings.Contains(r.get("/api/v1/orders?limit=1&count=exact").body, fmt.Sprintf(`"count":%d,"count_exact":true`, 200+late))
				})
			}
			query.Set("cursor", list.NextCursor)
		}
		require.Equal(t, want, seen, query)
	}
	for sort, order := range map[string]string{
		"created_asc": "date_created, order_uid", "amount_desc": "coalesce(amount, 0) DESC, date_created DESC, order_uid DESC", "amount_asc": "coalesce(amount, 0), date_created, order_uid",
		"updated_desc": "coalesce(date_trunc('second', " + updated + "), '-infinity') DESC, date_created DESC, order_uid DESC",
		"updated_asc":  "coalesce(date_trunc('second', " + updated + "), '-infinity'), date_created, order_uid",
	} {
		query := url.Values{"sort": {sort}, "limit": {"17"}, "status": {"1"}}
		var seen []string
		for more := true; more; fromMemory++ {
			var list list
			require.NoError(t, json.Unmarshal([]byte(r.get("/api/v1/orders?"+query.Encode()).body), &list))
			for _, o := range list.Orders {
				seen = append(seen, o.OrderUID)
			}
			query.Set("cursor", list.NextCursor)
			more = list.NextCursor != ""
		}
		require.Equal(t, client.texts(`SELECT order_uid FROM orders LEFT JOIN payments USING (order_uid) WHERE `+ofItems+`status = 1) ORDER BY `+order), seen)
		fresh := r.get("/api/v1/orders?sort="+sort, "Cache-Control", "no-cache")
		require.Equal(t, 503, fresh.status)
		require.Contains(t, fresh.body, "with the newest first")
	}
	require.Equal(t, fromMemory, r.metric(listsFromMemory))
	require.Equal(t, fromDatabase, r.metric(listsFromDatabase), "memory asks the database nothing")
}

// TestTheDatabaseComparesAsMemoryDoes has texts that differ in case, white space and characters
// that mean something in a regular expression, and items that match together only.
func TestTheDatabaseComparesAsMemoryDoes(t *testing.T) {
	address := newDatabase(t)
	client, db := connect(t, address), openDB(t, address)
	random := rand.New(rand.NewPCG(1, 7))
	pieces := []string{"a", "A", " ", "\u00a0\t", "Å", "å", "İ", "i", "I", "ı", "K", "\u212a", "Σ", "ς", "ß", "ẞ", "Ǆ", "ǅ", "😀", ".", "*", "[", "]", "^", "-", `\`, "$", "?", "%", "'", "\n", "\u2028", "+", "1", "12", "(2)"}
	text := func(most int) (text string) {
		for range random.IntN(most + 1) {
			text += pieces[random.IntN(len(pieces))]
		}
		return text
	}
	var stored []*model.Order
	second := func(i int) time.Time { return time.Date(2024, 6, 1, 0, 0, i%60, 0, time.UTC) }
	client.run(`BEGIN`)
	for i := range 300 {
		uid := "uid-" + strconv.Itoa(i)
		_, err := client.conn.Exec(t.Context(), `INSERT INTO orders SELECT $1, '', '', '', '', '', '', '', 1, timestamptz '2024-05-01 10:00:00+00' - interval '1 second' * $2::int, ''`, uid, i)
		require.NoError(t, err)
		if i%20 > 0 {
			_, err = client.conn.Exec(t.Context(), `INSERT INTO deliveries SELECT $1, $2, $3, '', '', '', '', $4`, uid, text(3), text(4), text(3))
			require.NoError(t, err)
		}
		for position := range random.IntN(3) {
			_, err = client.conn.Exec(t.Context(), `INSERT INTO items SELECT $1, $2, 0, '', 0, '', '', 0, '', 0, $3, $4, $5`, uid, position, random.IntN(3), text(1), random.IntN(3))
			require.NoError(t, err)
		}
	}
	client.run(`UPDATE orders SET stored_at = timestamptz '2024-06-01 00:00:00.9+00' + interval '1 second' * (substr(order_uid, 5)::int % 60); COMMIT`)
	all := tables(t, db)
	for i := range len(all) {
		o, ok := model.FromCanonical([]byte(all["uid-"+strconv.Itoa(i)]))
		require.True(t, ok)
		stored = append(stored, o)
	}
	lists := orders.NewLists(bun.NewDB(db, pgdialect.New()), cache.New(time.Second), nil)
	found := 0
	for range 400 {
		var f orders.Filter
		some := func(do func()) {
			if random.IntN(5) == 0 {
				do()
			}
		}
		some(func() { f.Email = orders.NormalText(text(3)) })
		some(func() { f.EmailPrefix = orders.NormalText(text(2)) })
		some(func() { f.Name = orders.NormalText(text(3)) })
		some(func() { f.NamePrefix = orders.NormalText(text(2)) })
		some(func() { f.Phone = orders.NormalPhone(text(4)) })
		some(func() { f.PhonePrefix = orders.NormalPhone(text(2)) })
		some(func() { f.Brands = []string{"a", pieces[random.IntN(len(pieces))]} })
		some(func() { f.NmIDs = []int64{random.Int64N(3)} })
		some(func() { f.Statuses = []int64{random.Int64N(3), random.Int64N(3)} })
		from, to := second(random.IntN(60)).Add(time.Millisecond), second(random.IntN(60))
		some(func() { f.UpdatedFrom = &from })
		some(func() { f.UpdatedTo = &to })
		var want, got []string
		for i, o := range stored {
			if f.Matches(o, uint32(second(i).Unix())) {
				want = append(want, o.OrderUID)
			}
		}
		for after, more := (*orders.Key)(nil), true; more; {
			page, err := lists.List(t.Context(), f, after, orders.MaxLimit, true)
			require.NoError(t, err)
			got, after, more = append(got, page.UIDs...), page.Next, page.Next != nil
		}
		require.Equal(t, want, got, "%+v", f)
		found += len(got)
	}
	require.Greater(t, found, 5_000)
}

// texts are the values of a query's only column.
func (s *session) texts(query string) []string {
	s.t.Helper()
	rows, err := s.conn.Query(s.t.Context(), query)
	require.NoError(s.t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(s.t, err)
	return slices.Clip(append([]string(nil), all...))
}

// TestListsFollowChanges asks for the same lists again and again, from memory
// and of the database, while orders change in every way.
func TestListsFollowChanges(t *testing.T) {
	address := newDatabase(t)
	client := connect(t, address).withVersions()
	client.insert("a", "b", "c")
	r := start(t, address).synced()
	lists := []string{"/api/v1/orders", "/api/v1/orders?limit=2", "/api/v1/orders?currency=USD&amount_min=1", "/api/v1/orders?customer_id=nobody"}
	for _, change := range []string{
		insertOrder("d", 1), `UPDATE items SET price = 5 WHERE order_uid = 'a'`, `UPDATE payments SET currency = 'EUR' WHERE order_uid = 'b'`,
		`UPDATE payments SET currency = 'USD' WHERE order_uid = 'b'`, `DELETE FROM orders WHERE order_uid = 'c'`,
		`UPDATE orders SET customer_id = 'nobody', date_created = now() WHERE order_uid = 'a'`, `UPDATE orders SET order_uid = 'e' WHERE order_uid = 'd'`,
		`TRUNCATE items`, insertOrder("f", 3), `TRUNCATE orders CASCADE`, insertOrder("g", 1),
	} {
		client.run(change)
		for _, list := range lists {
			fresh := r.get(list, "Cache-Control", "no-cache")
			eventually(t, "the list is what it is after "+change, func() bool {
				kept := r.get(list)
				return kept.body == fresh.body && kept.header.Get("ETag") == fresh.header.Get("ETag")
			})
		}
	}
}

// TestListsWithoutTheDatabase takes the database away: lists are still there, for as long as
// memory may vouch for them.
func TestListsWithoutTheDatabase(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	migrate(t, server.URL())
	connect(t, server.URL()).withVersions().insert("a", "b")
	r := start(t, server.URL()).synced()
	r.lists()
	first := r.get("/api/v1/orders?limit=1", "Cache-Control", "no-cache")
	var page list
	require.NoError(t, json.Unmarshal([]byte(first.body), &page))
	second := r.get("/api/v1/orders?limit=1&cursor="+page.NextCursor, "Cache-Control", "no-cache")
	require.NoError(t, server.Kill())
	require.Equal(t, first.body, r.get("/api/v1/orders?limit=1").body)
	require.Equal(t, second.body, r.get("/api/v1/orders?limit=1&cursor="+page.NextCursor).body)
	require.Equal(t, 503, r.get("/api/v1/orders?limit=1", "Cache-Control", "no-cache").status)
	require.NoError(t, server.Restart(context.Background()))
	connect(t, server.URL()).run(`DELETE FROM orders WHERE order_uid = 'b'`)
	eventually(t, "the list has changed", func() bool { return !strings.Contains(r.get("/api/v1/orders?limit=1").body, `"order_uid":"b"`) })
}

// TestASearchsTimeIsBounded has somebody lock a table for good: no search waits
// for him, and none is left behind at the server.
func TestASearchsTimeIsBounded(t *testing.T) {
	address := newDatabase(t)
	r := start(t, address).synced()
	locker, client := connect(t, address), connect(t, address)
	r.lists()
	locker.run(`BEGIN; LOCK TABLE payments IN ACCESS EXCLUSIVE MODE`)
	_, _, err := orders.NewLists(bun.NewDB(openDB(t, address), pgdialect.New()), cache.New(time.Second), nil).Count(t.Context(), orders.Filter{Currencies: []string{"USD"}}, true, true)
	require.ErrorIs(t, err, orders.ErrLongCount)
	locker.run(`ROLLBACK`)
	locker.run(`BEGIN; LOCK TABLE orders, payments IN ACCESS EXCLUSIVE MODE`)
	var all sync.WaitGroup
	for _, path := range []string{"/api/v1/orders", "/api/v1/orders?currency=USD&customer_id=c", "/api/v1/orders?limit=7", "/api/v1/suggest?q=a"} {
		all.Go(func() {
			if answer := r.get(path, "Cache-Control", "no-cache"); answer.status != 503 {
				t.Errorf("%s: %d", path, answer.status)
			}
		})
	}
	all.Wait()
	waiting := `SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'read-api' AND state = 'active'`
	eventually(t, "nothing is left behind", func() bool { return len(client.texts(waiting)) == 0 })
	locker.run(`ROLLBACK`)
	require.Equal(t, 200, r.get("/api/v1/orders", "Cache-Control", "no-cache").status)
}

// asked remembers the searches that are sent through a connection.
type asked struct {
	mu       sync.Mutex
	searches []pgx.TraceQueryStartData
	settings []string // what was set before them
}

func (a *asked) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	if strings.Contains(query.SQL, "set_config") {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.settings = append(a.settings, query.SQL)
	}
	if strings.Contains(query.SQL, "date_created DESC") || strings.Contains(query.SQL, "UNION ALL") {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.searches = append(a.searches, query)
	}
	return ctx
}

func (*asked) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// explained is a plan as EXPLAIN (ANALYZE, FORMAT JSON) shows it.
type explained struct {
	NodeType string      `json:"Node Type"`
	Relation string      `json:"Relation Name"`
	Index    string      `json:"Index Name"`
	Rows     float64     `json:"Actual Rows"`
	Loops    float64     `json:"Actual Loops"`
	Filtered float64     `json:"Rows Removed by Filter"`
	Recheck  float64     `json:"Rows Removed by Index Recheck"`
	Hits     float64     `json:"Shared Hit Blocks"`
	Reads    float64     `json:"Shared Read Blocks"`
	Plans    []explained `json:"Plans"`
}

// examined is how many rows of tables a plan looked at.
func (e explained) examined() float64 {
	sum := 0.0
	if e.Relation != "" {
		sum = (e.Rows + e.Filtered + e.Recheck) * max(e.Loops, 1)
	}
	for _, plan := range e.Plans {
		sum += plan.examined()
	}
	return sum
}

// listedOrdersVariable sets how many orders TestAPageLooksAtFewRows stores. The
// bound doesn't depend on it; that it doesn't can be seen with a million.
const listedOrdersVariable = "ORDERHUB_TEST_LISTED_ORDERS"

func listedOrders(t *testing.T) int {
	t.Helper()
	text := os.Getenv(listedOrdersVariable)
	if text == "" {
		return 120_000
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, listedOrdersVariable)
	return n
}

// cruelOrders stores orders of cruel distributions, and returns lists of them
// whose searches a tracer sees.
func cruelOrders(t *testing.T, stored int) (*session, *orders.Lists, *asked) {
	t.Helper()
	address := newDatabase(t)
	client := connect(t, address)
	// Nearly all orders are one customer's; the values that belong to the oldest
	// are common among the newest not at all.
	client.run(fmt.Sprintf(`BEGIN; SET LOCAL orderhub.whole_orders = 'on'; ALTER TABLE orders SET (autovacuum_enabled = off);
		INSERT INTO orders SELECT 'uid-'||i, CASE WHEN i %% 2 = 0 THEN 'common' ELSE 'track-'||i END, '', CASE WHEN i < 50 THEN 'zz' ELSE 'en' END, '',
			CASE WHEN i %% 1000 = 0 THEN 'rare' WHEN i < %[1]d / 2 THEN 'old' ELSE 'big' END, CASE WHEN i < 50 THEN 'rare' ELSE 'meest' END, '', 1,
			timestamptz '2024-05-01 10:00:00+00' + interval '1 second' * (i::bigint * 40000 / %[1]d), '1' FROM generate_series(1, %[1]d) i;
		INSERT INTO payments SELECT 'uid-'||i, '', '', CASE WHEN i < 50 THEN 'CHF' ELSE 'USD' END, '', i %% 5000, 0, '', 0, 0, 0 FROM generate_series(1, %[1]d) i;
		INSERT INTO deliveries SELECT 'uid-'||i, 'Anna', '+1', '', '', '', '', 'a@b.c' FROM generate_series(%[1]d - 9999, %[1]d) i;
		INSERT INTO items SELECT 'uid-'||i, j, 0, '', 0, '', '', 0, '', 0, i, 'b', 202 FROM generate_series(%[1]d - 9999, %[1]d) i, generate_series(1, 2) j;
		COMMIT`, stored))
	tracer := &asked{}
	config, err := pgx.ParseConfig(address)
	require.NoError(t, err)
	config.DefaultQueryExecMode, config.Tracer = pgx.QueryExecModeExec, tracer
	db := bun.NewDB(sql.OpenDB(stdlib.GetConnector(*config)), pgdialect.New())
	t.Cleanup(func() { _ = db.Close() })
	return client, orders.NewLists(db, cache.New(time.Second), nil), tracer
}

// TestAPageLooksAtFewRows asks for what is rare beside what is common on a large
// table, with and without statistics, and has PostgreSQL count the rows that it
// looked at.
func TestAPageLooksAtFewRows(t *testing.T) {
	stored := listedOrders(t)
	client, lists, tracer := cruelOrders(t, stored)

	middle, late := time.Date(2024, 5, 1, 15, 33, 20, 0, time.UTC), time.Date(2024, 5, 1, 20, 0, 0, 0, time.UTC)
	one, most := int64(4999), int64(0)
	filters := map[string]orders.Filter{
		"none":                          {},
		"a range of time":               {CreatedFrom: &middle, CreatedTo: &late},
		"a common customer":             {CustomerID: "big"},
		"a common customer's old ones":  {CustomerID: "old"},
		"a rare customer":               {CustomerID: "rare"},
		"nobody":                        {CustomerID: "nobody"},
		"a common track number":         {TrackNumber: "common"},
		"a track number":                {TrackNumber: "track-7"},
		"rare among the common":         {CustomerID: "big", DeliveryServices: []string{"rare"}},
		"two that never meet":           {CustomerID: "rare", TrackNumber: "track-7", Currencies: []string{"USD"}},
		"two that are common":           {CustomerID: "old", TrackNumber: "common", CreatedTo: &middle},
		"a rare locale":                 {Locales: []string{"zz"}},
		"a rare delivery service, once": {DeliveryServices: []string{"rare"}, CreatedFrom: &middle},
		"a rare status":                 {Statuses: []int64{0, 1}},
		"a common brand":                {Brands: []string{"b"}},
		"a rare name":                   {NamePrefix: "b"},
		"parts of all kinds":            {NmIDs: []int64{1}, Statuses: []int64{202}, Brands: []string{"b"}, PhonePrefix: "+1", Name: "anna", Currencies: []string{"USD", "CHF"}},
		"a rare currency":               {Currencies: []string{"CHF"}},
		"a rare amount beside a range":  {AmountMin: &one, AmountMax: &one, CreatedFrom: &middle, CreatedTo: &late},
		"a customer's rare amount":      {CustomerID: "big", AmountMax: &most},
		"all":                           {CustomerID: "big", TrackNumber: "common", DeliveryServices: []string{"meest"}, Locales: []string{"en"}, Currencies: []string{"CHF"}, CreatedFrom: &middle, CreatedTo: &late, AmountMin: &one, AmountMax: &one},
	}
	for _, statistics := range []string{"without statistics", "with statistics"} {
		if statistics == "with statistics" {
			client.run(`ANALYZE`)
		}
		names := make([]string, 0, len(filters))
		for name := range filters {
			names = append(names, name)
		}
		slices.SortFunc(names, cmp.Compare)
		for _, name := range names {
			for _, limit := range []int{1, 20, 100} {
				var after *orders.Key
				for range 3 { // pages
					if after = looksAtFewRows(t, client, lists, tracer, filters[name], after, limit, name+", "+statistics); after == nil {
						break
					}
				}
			}
		}
		if statistics == "with statistics" {
			for _, about := range []struct {
				filter orders.Filter
				orders int
				exact  bool
			}{
				{orders.Filter{}, stored, false}, {orders.Filter{CustomerID: "old"}, stored/2 - stored/2000, false}, {orders.Filter{CustomerID: "rare"}, stored / 1000, true},
				{orders.Filter{Locales: []string{"en"}, Currencies: []string{"USD"}}, stored - 49, false}, {orders.Filter{Statuses: []int64{7}}, 0, false},
				{orders.Filter{CustomerID: "nobody", NamePrefix: "a"}, 0, true},
			} {
				tracer.searches = nil
				n, exact, err := lists.Count(t.Context(), about.filter, false, true)
				require.NoError(t, err)
				require.Equal(t, about.exact, exact, "%+v", about)
				require.InDelta(t, about.orders, n, float64(about.orders)/10, "%+v", about)
				require.LessOrEqual(t, client.explain(tracer.searches[0]).examined(), 2*4000.0, "%+v", about)
				n, exact, err = lists.Count(t.Context(), about.filter, true, true)
				require.NoError(t, err)
				require.Equal(t, []any{int64(about.orders), true}, []any{n, exact}, "%+v", about)
			}
		}
		if statistics == "without statistics" {
			continue // with them there is more to choose wrongly from
		}
		// Every combination, of values that are common with others that are rare.
		for chosen := range 1 << 9 {
			var f orders.Filter
			for i, set := range []func(){
				func() { f.CustomerID = "big" }, func() { f.TrackNumber = "common" }, func() { f.DeliveryServices = []string{"rare"} }, func() { f.Locales = []string{"en"} },
				func() { f.Currencies = []string{"USD"} }, func() { f.CreatedFrom = &middle }, func() { f.CreatedTo = &late },
				func() { f.AmountMin = &one }, func() { f.AmountMax = &one },
			} {
				if chosen&(1<<i) != 0 {
					set()
				}
			}
			looksAtFewRows(t, client, lists, tracer, f, nil, 10, fmt.Sprintf("%+v, %s", f, statistics))
		}
	}
}

// looksAtFewRows reads a page, counts what that took, and returns where to go on.
func looksAtFewRows(t *testing.T, client *session, lists *orders.Lists, tracer *asked, f orders.Filter, after *orders.Key, limit int, what string) *orders.Key {
	t.Helper()
	tracer.searches = nil
	page, err := lists.List(t.Context(), f, after, limit, true)
	require.NoError(t, err)
	require.Len(t, tracer.searches, 1)
	require.Contains(t, tracer.settings[len(tracer.settings)-1], `'statement_timeout', '2000'`, "the server ends what nobody waits for")
	plan := client.explain(tracer.searches[0])
	// The page's orders are read too, with their deliveries, payments and two items.
	rows := plan.examined() + 5*float64(len(page.Orders))
	require.LessOrEqual(t, rows, 50*float64(limit), "%s, limit %d: %+v", what, limit, plan)
	// Nor are entries of an index passed over, which no plan counts as rows: that
	// would show in the pages read.
	require.LessOrEqual(t, plan.Hits+plan.Reads, 4*50*float64(limit)+50, "%s, limit %d: %+v", what, limit, plan)
	return page.Next
}

// explain runs a search again, as Lists runs it, and returns its plan.
func (s *session) explain(search pgx.TraceQueryStartData) explained {
	s.t.Helper()
	s.run(`SELECT set_config(name, 'off', false) FROM unnest(ARRAY['enable_seqscan', 'enable_bitmapscan', 'enable_sort',
		'enable_incremental_sort', 'enable_hashjoin', 'enable_mergejoin', 'jit']) name`)
	var plans []struct{ Plan explained }
	args := append([]any{pgx.QueryExecModeExec}, search.Args...)
	require.NoError(s.t, s.conn.QueryRow(s.t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+search.SQL, args...).Scan(&plans))
	require.Len(s.t, plans, 1)
	return plans[0].Plan
}
