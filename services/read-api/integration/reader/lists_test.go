package reader_test

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
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

	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// TestFiltersFindWhatTheyAsk compares every combination of filters with what
// plain SQL says, page by page, while orders arrive.
func TestFiltersFindWhatTheyAsk(t *testing.T) {
	address := newDatabase(t)
	client := connect(t, address)
	client.run(`BEGIN; INSERT INTO orders SELECT 'uid-'||i, 't'||i%5, '', CASE i%2 WHEN 0 THEN 'en' ELSE 'de' END, '', 'c'||i%3, 'd'||i%2, '', 1,
			timestamptz '2024-05-01 10:00:00.000001+00' + interval '1 microsecond' * (i/4), '1' FROM generate_series(0, 199) i;
		INSERT INTO payments SELECT 'uid-'||i, '', '', CASE i%7 WHEN 0 THEN 'USD' ELSE 'EUR' END, '', i, 0, '', 0, 0, 0 FROM generate_series(0, 189) i; COMMIT`)
	r := start(t, address).synced()
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
	for chosen := range 1 << len(conditions) {
		query, where := url.Values{"limit": {strconv.Itoa(12 + chosen%60)}}, []string{"order_uid LIKE 'uid-%'"}
		for i, condition := range conditions {
			if chosen&(1<<i) != 0 {
				query.Set(condition.name, condition.value)
				where = append(where, condition.sql)
			}
		}
		want := client.texts(`SELECT order_uid FROM orders LEFT JOIN payments USING (order_uid) WHERE ` + strings.Join(where, " AND ") +
			` ORDER BY date_created DESC, order_uid DESC`)
		var seen []string
		for page := 0; ; page++ {
			answer := r.get("/api/v1/orders?" + query.Encode())
			require.Equal(t, 200, answer.status, answer.body)
			var list list
			require.NoError(t, json.Unmarshal([]byte(answer.body), &list))
			for _, o := range list.Orders {
				if strings.HasPrefix(o.OrderUID, "uid-") {
					seen = append(seen, o.OrderUID)
				}
			}
			if list.NextCursor == "" {
				break
			}
			if page == 0 && chosen%16 == 0 {
				client.run(fmt.Sprintf(`INSERT INTO orders SELECT 'late-%d', 't2', '', 'de', '', 'c1', 'd1', '', 1, now(), '1'`, chosen))
			}
			query.Set("cursor", list.NextCursor)
		}
		require.Equal(t, want, seen, query)
	}
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

// asked remembers the searches that are sent through a connection.
type asked struct {
	mu       sync.Mutex
	searches []pgx.TraceQueryStartData
}

func (a *asked) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	if strings.Contains(query.SQL, "date_created DESC") {
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

// TestAPageLooksAtFewRows asks for what is rare beside what is common on a large
// table, with and without statistics, and has PostgreSQL count the rows that it
// looked at.
func TestAPageLooksAtFewRows(t *testing.T) {
	address := newDatabase(t)
	client := connect(t, address)
	const stored = 120_000
	// Nearly all orders are one customer's; the values that belong to the oldest
	// are common among the newest not at all.
	client.run(fmt.Sprintf(`BEGIN; SET LOCAL orderhub.whole_orders = 'on'; ALTER TABLE orders SET (autovacuum_enabled = off);
		INSERT INTO orders SELECT 'uid-'||i, CASE WHEN i %% 2 = 0 THEN 'common' ELSE 'track-'||i END, '', CASE WHEN i < 50 THEN 'zz' ELSE 'en' END, '',
			CASE WHEN i %% 1000 = 0 THEN 'rare' WHEN i < 60000 THEN 'old' ELSE 'big' END, CASE WHEN i < 50 THEN 'rare' ELSE 'meest' END, '', 1,
			timestamptz '2024-05-01 10:00:00+00' + interval '1 second' * (i/3), '1' FROM generate_series(1, %[1]d) i;
		INSERT INTO payments SELECT 'uid-'||i, '', '', CASE WHEN i < 50 THEN 'CHF' ELSE 'USD' END, '', i %% 5000, 0, '', 0, 0, 0 FROM generate_series(1, %[1]d) i;
		COMMIT`, stored))

	tracer := &asked{}
	config, err := pgx.ParseConfig(address)
	require.NoError(t, err)
	config.DefaultQueryExecMode, config.Tracer = pgx.QueryExecModeExec, tracer
	db := bun.NewDB(sql.OpenDB(stdlib.GetConnector(*config)), pgdialect.New())
	t.Cleanup(func() { _ = db.Close() })
	lists := orders.NewLists(db)

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
		"rare among the common":         {CustomerID: "big", DeliveryService: "rare"},
		"two that never meet":           {CustomerID: "rare", TrackNumber: "track-7", Currency: "USD"},
		"two that are common":           {CustomerID: "old", TrackNumber: "common", CreatedTo: &middle},
		"a rare locale":                 {Locale: "zz"},
		"a rare delivery service, once": {DeliveryService: "rare", CreatedFrom: &middle},
		"a rare currency":               {Currency: "CHF"},
		"a rare amount beside a range":  {AmountMin: &one, AmountMax: &one, CreatedFrom: &middle, CreatedTo: &late},
		"a customer's rare amount":      {CustomerID: "big", AmountMax: &most},
		"all":                           {CustomerID: "big", TrackNumber: "common", DeliveryService: "meest", Locale: "en", Currency: "CHF", CreatedFrom: &middle, CreatedTo: &late, AmountMin: &one, AmountMax: &one},
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
					tracer.searches = nil
					page, err := lists.Read(t.Context(), filters[name], after, limit)
					require.NoError(t, err)
					require.Len(t, tracer.searches, 1)
					plan := client.explain(tracer.searches[0])
					// The page's orders are read too, with their deliveries and payments.
					rows := plan.examined() + 3*float64(len(page.Orders))
					require.LessOrEqual(t, rows, 50*float64(limit), "%s, %s, limit %d: %+v", name, statistics, limit, plan)
					// Nor are entries of an index passed over, which no plan counts as
					// rows: that would show in the pages read.
					require.LessOrEqual(t, plan.Hits+plan.Reads, 4*50*float64(limit)+50, "%s, %s, limit %d: %+v", name, statistics, limit, plan)
					if after = page.Next; after == nil {
						break
					}
				}
			}
		}
	}
}

// explain runs a search again, as Lists runs it, and returns its plan.
func (s *session) explain(search pgx.TraceQueryStartData) explained {
	s.t.Helper()
	for _, name := range []string{"enable_seqscan", "enable_bitmapscan", "enable_sort", "enable_incremental_sort", "enable_hashjoin", "enable_mergejoin", "jit"} {
		s.run("SET " + name + " = off")
	}
	var plans []struct{ Plan explained }
	args := append([]any{pgx.QueryExecModeExec}, search.Args...)
	require.NoError(s.t, s.conn.QueryRow(s.t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+search.SQL, args...).Scan(&plans))
	require.Len(s.t, plans, 1)
	return plans[0].Plan
}
