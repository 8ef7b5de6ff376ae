package reader_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAnExportIsTheWholeListAndGoesOn compares both formats with the tables, and goes on
// after each of some lines as a client does whose download broke there.
func TestAnExportIsTheWholeListAndGoesOn(t *testing.T) {
	address := newDatabase(t)
	db, client := openDB(t, address), connect(t, address).withVersions()
	for i := range 230 {
		client.run(insertOrder(fmt.Sprintf("o%d", i), 1) + fmt.Sprintf(`;
			UPDATE orders SET date_created = timestamptz '2024-05-01 10:00:00.000001+00' + interval '1 microsecond' * %d WHERE order_uid = 'o%d'`, i/3, i))
	}
	client.run(`UPDATE deliveries SET name = '=1+1, "x"' WHERE order_uid = 'o7'; UPDATE payments SET currency = 'EUR' WHERE order_uid = 'o8'; DELETE FROM payments WHERE order_uid = 'o9'`)
	r := start(t, address).synced()
	r.equals(db)
	stored := tables(t, db)
	var want []string
	for _, uid := range client.texts(`SELECT order_uid FROM orders ORDER BY date_created DESC, order_uid DESC`) {
		want = append(want, stored[uid])
	}
	whole := r.get("/api/v1/export")
	require.Equal(t, 200, whole.status)
	require.Equal(t, "application/x-ndjson", whole.header.Get("Content-Type"))
	lines := strings.SplitAfter(whole.body, "\n")
	require.Equal(t, strings.Join(want, "\n")+"\n", whole.body)
	for _, at := range []int{0, 99, 100, 228, 229} {
		var last struct{ Created, UID string }
		require.NoError(t, json.Unmarshal([]byte(strings.NewReplacer("date_created", "Created", "order_uid", "UID").Replace(want[at])), &last))
		rest := r.get("/api/v1/export?format=ndjson&after=" + url.QueryEscape(last.Created+","+last.UID))
		require.Equal(t, strings.Join(lines[at+1:], ""), rest.body, at)
	}

	table := r.get("/api/v1/export?format=csv&currency=USD")
	require.Equal(t, `attachment; filename="orders.csv"`, table.header.Get("Content-Disposition"))
	rows, err := csv.NewReader(strings.NewReader(table.body)).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 1+228, "neither the one in EUR nor the one without a payment")
	cell := func(row []string, column string) string { return row[slices.Index(rows[0], column)] }
	for _, row := range rows[1:] {
		canonical := stored[cell(row, "order_uid")]
		require.Contains(t, canonical, `"date_created":"`+cell(row, "date_created")+`"`)
		require.Contains(t, canonical, `"sm_id":`+cell(row, "sm_id")+`,`)
		require.Contains(t, canonical, `"amount":`+cell(row, "payment_amount")+`,`)
		require.Contains(t, canonical, `"items":`+cell(row, "items"))
		require.Equal(t, "'+9720000000", cell(row, "delivery_phone"))
		if cell(row, "order_uid") == "o7" {
			require.Equal(t, `'=1+1, "x"`, cell(row, "delivery_name"), "no formula")
		}
	}
	require.Equal(t, "\n"+strings.Join(rows[0], ",")+"\n", "\n"+r.get("/api/v1/export?format=csv&currency=XXX").body)
	head := r.ask("HEAD", "http://"+r.api.Addr()+"/api/v1/export?format=csv")
	require.Equal(t, 200, head.status)
	some := strings.SplitAfter(r.get("/api/v1/export?fields=sm_id").body, "\n")
	require.Len(t, some, len(lines))
	require.Regexp(t, `^{"order_uid":"o229","sm_id":[0-9]+}\n$`, some[0])
	for _, bad := range []string{"format=xml", "format=csv&fields=sm_id", "fields=sm", "count=exact", "after=o1", "after=2024-05-01T10:00:00Z,", "limit=1", "created_to=2024-01-01T00:00:00Z&after=2024-05-01T10:00:00Z,o1"} {
		require.Equal(t, 400, r.get("/api/v1/export?"+bad).status, bad)
	}
}
