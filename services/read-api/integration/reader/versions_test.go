package reader_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
)

// shop stores, replaces and deletes orders as a worker does.
type shop struct {
	t      *testing.T
	writer *orderwrite.Writer
	offset int64
}

func newShop(t *testing.T, url string) *shop {
	t.Helper()
	db, err := bundb.Open(config.Database{URL: config.Secret(url)}, bundb.Options{MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return &shop{t: t, writer: orderwrite.New(db, orderwrite.Options{
		Timeout: patience, MaxOrders: 100, Versions: orderwrite.Versions{Newest: true, Deletions: true, Kept: 30},
	})}
}

// send sends a newer record of the order; nil deletes it.
func (s *shop) send(uid string, o *model.Order) {
	s.t.Helper()
	s.offset++
	e := &orderwrite.Entry{Deletes: uid, Stamp: &model.Stamp{Time: time.UnixMilli(s.offset).UTC(), Offset: s.offset}}
	if o != nil {
		e.Order, e.Deletes, e.Hash = o, "", model.ContentHash(model.AppendCanonical(nil, o))
	}
	require.NoError(s.t, s.writer.Write(s.t.Context(), []*orderwrite.Entry{e}))
}

// ordered is an order of one item.
func ordered(uid, name string, amount int64) *model.Order {
	return &model.Order{
		OrderUID: uid, TrackNumber: "TRACK", Locale: "en", CustomerID: "somebody", DateCreated: time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC),
		Delivery: &model.Delivery{Name: name}, Payment: &model.Payment{Transaction: uid, Currency: "USD", Amount: amount},
		Items: []model.Item{{ChrtID: 1, Name: "Mascaras", Status: amount}},
	}
}

type versionList struct {
	StoredAt   time.Time `json:"stored_at"`
	UpdatedAt  time.Time `json:"updated_at"`
	DeletedAt  time.Time `json:"deleted_at"`
	NextBefore int64     `json:"next_before"`
	Versions   []struct {
		Version    int64        `json:"version"`
		Since      time.Time    `json:"since"`
		ReplacedAt time.Time    `json:"replaced_at"`
		Record     *model.Stamp `json:"record"`
		Hash       string       `json:"hash"`
	} `json:"versions"`
}

func (r *reader) versions(path string, header ...string) (list versionList) {
	r.t.Helper()
	answer := r.get(path, header...)
	require.Equal(r.t, 200, answer.status, answer.body)
	require.NoError(r.t, json.Unmarshal([]byte(answer.body), &list))
	return list
}

func asOf(uid string, at time.Time) string {
	return "/api/v1/orders/" + uid + "?as_of=" + url.QueryEscape(at.Format(time.RFC3339Nano))
}

// TestVersionsOfAnOrder has a worker replace an order, delete it and bring it back, and asks
// for each moment of that.
func TestVersionsOfAnOrder(t *testing.T) {
	database := newDatabase(t)
	client, shop := connect(t, database).withVersions(), newShop(t, database)
	r := start(t, database).synced()
	const path = "/api/v1/orders/x/versions"
	require.Equal(t, 404, r.get(path).status)
	var sent []string
	for i, name := range []string{"Ann", "Ben", "Cid"} {
		o := ordered("x", name, int64(i))
		sent = append(sent, string(model.AppendCanonical(nil, o)))
		shop.send("x", o)
	}

	list := r.versions(path)
	require.Len(t, list.Versions, 3)
	require.Equal(t, list.Versions[0].Since, list.UpdatedAt)
	require.Equal(t, list.Versions[2].Since, list.StoredAt)
	for i, v := range list.Versions { // the newest first
		require.EqualValues(t, 3-i, v.Version)
		require.EqualValues(t, 3-i, v.Record.Offset)
		one := fmt.Sprintf("%s/%d", path, v.Version)
		answer := r.get(one)
		require.Equal(t, sent[2-i], answer.body)
		require.Equal(t, `"`+v.Hash+`"`, answer.header.Get("ETag"))
		require.Equal(t, 304, r.get(one, "If-None-Match", answer.header.Get("ETag")).status)
		require.Equal(t, 200, r.ask(http.MethodHead, "http://"+r.api.Addr()+one).status)
		// It was that from since on, up to the moment before it was replaced.
		require.Equal(t, sent[2-i], r.get(asOf("x", v.Since)).body)
		if i > 0 {
			require.Equal(t, v.ReplacedAt, list.Versions[i-1].Since)
			require.Equal(t, sent[2-i], r.get(asOf("x", v.ReplacedAt.Add(-time.Microsecond))).body)
		}
	}
	require.Zero(t, list.Versions[0].ReplacedAt)
	require.Equal(t, r.get("/order/x", "Cache-Control", "no-cache").header.Get("ETag"), `"`+list.Versions[0].Hash+`"`)
	before := r.get(asOf("x", list.StoredAt.Add(-time.Microsecond)))
	require.Equal(t, 404, before.status)
	require.Contains(t, before.body, "version-not-found")

	difference := r.get(path + "/3?against=2").body
	require.Equal(t, `{"order_uid":"x","version":3,"against":2,"differences":[{"path":"delivery.name","before":"Ben","after":"Cid"},`+
		`{"path":"payment.amount","before":1,"after":2},{"path":"items[0].status","before":1,"after":2}]}`, difference)
	require.Contains(t, r.get(path+"/3?against=3").body, `"differences":[]`)

	// The list in pages.
	first := r.versions(path + "?limit=2")
	require.Len(t, first.Versions, 2)
	require.EqualValues(t, 2, first.NextBefore)
	last := r.versions(fmt.Sprintf("%s?limit=2&before=%d", path, first.NextBefore))
	require.Len(t, last.Versions, 1)
	require.Zero(t, last.NextBefore)
	require.Equal(t, list.Versions[2], last.Versions[0])

	require.Regexp(t, `(?s)Timeline.*Changed.*delivery.name.*Ben.*Cid.*Changed.*Ann.*Ben.*Received`, r.get("/?uid=x").body)

	// A change by hand leaves no version, so what the order was before is not known.
	client.run(`UPDATE orders SET locale = 'de' WHERE order_uid = 'x'`)
	require.Equal(t, 404, r.get(asOf("x", list.UpdatedAt)).status)
	require.Contains(t, r.get(asOf("x", time.Now().Add(time.Hour))).body, `"locale":"de"`)

	shop.send("x", nil)
	eventually(t, "the reader knows", func() bool { return r.get("/order/x").status == 404 })
	gone := r.versions(path)
	require.Len(t, gone.Versions, 3)
	require.Equal(t, gone.DeletedAt, gone.Versions[0].ReplacedAt)
	require.Zero(t, gone.StoredAt)
	require.Equal(t, 404, r.get(asOf("x", gone.DeletedAt)).status, "it was deleted then")
	require.Contains(t, r.get(asOf("x", gone.DeletedAt.Add(-time.Microsecond))).body, `"locale":"de"`)
	require.Regexp(t, `(?s)Timeline.*Deleted.*Changed.*Ben.*Cid.*Changed.*Received`, r.get("/?uid=x").body)
	shop.send("x", ordered("x", "Dan", 4))
	eventually(t, "the page shows it", func() bool { return strings.Contains(r.get("/?uid=x").body, "Received again") })
	require.Regexp(t, `(?s)Received again.*Cid.*Dan.*Deleted.*Changed.*Changed.*Received`, r.get("/?uid=x").body)
	back := r.versions(path)
	require.Zero(t, back.DeletedAt)
	require.Len(t, back.Versions, 4)
	require.True(t, back.StoredAt.After(gone.DeletedAt))
	require.Equal(t, 404, r.get(asOf("x", gone.DeletedAt)).status, "it was deleted then")

	require.NoError(t, orderdb.Forget(t.Context(), openDB(t, database), []string{"x"}))
	client.run(`DELETE FROM orders`)
	eventually(t, "memory has forgotten it", func() bool { return r.get("/order/x").status == 404 })
	require.Equal(t, 404, r.get(path).status, "nothing is known of an erased order")

	for path, status := range map[string]int{
		path + "/1": 404, "/api/v1/orders/x?as_of=x": 400, "/api/v1/orders/x?&": 404, "/api/v1/orders/x?as_of=2024-05-01T10:00:00Z&a=b": 400,
		path + "?limit=0": 400, path + "?before=x": 400, path + "/x": 400, path + "/0": 400, path + "/1?against=x": 400, path + "/1?a=b": 400,
		"/api/v1/orders/a,b/versions": 400, "/order/x?as_of=2024-05-01T10:00:00Z": 400,
	} {
		require.Equal(t, status, r.get(path).status, path)
	}
}

// TestVersionsAreMasked: neither values, nor tags, nor differences tell anything of what the
// caller may not see, and what the other caller sees is on record.
func TestVersionsAreMasked(t *testing.T) {
	database := newDatabase(t)
	tokens, on := withTokens(t)
	shop, r := newShop(t, database), start(t, database, on).synced()
	shop.send("whole", ordered("whole", "Plantedname", 1))
	shop.send("whole", ordered("whole", "Somebody else", 1))
	masked := r.versions("/api/v1/orders/whole/versions", "Authorization", tokens.read)
	require.Equal(t, masked.Versions[0].Hash, masked.Versions[1].Hash, "a mask does not change with the value")
	whole := r.versions("/api/v1/orders/whole/versions", "Authorization", tokens.personal)
	require.NotEqual(t, whole.Versions[0].Hash, whole.Versions[1].Hash)

	page := r.get("/?uid=whole", "Authorization", tokens.read).body
	require.Regexp(t, `(?s)Timeline.*Changed.*Received`, page)
	require.NotContains(t, page, "Plantedname")
	require.Contains(t, r.get("/?uid=whole", "Authorization", tokens.personal).body, "Plantedname")
	before := len(tokens.audited(t, "show"))
	seen := ""
	paths := []string{"/api/v1/orders/whole/versions", "/api/v1/orders/whole/versions/1", "/api/v1/orders/whole/versions/1?against=2", asOf("whole", whole.StoredAt)}
	for i, path := range paths {
		got := r.get(path, "Authorization", tokens.read)
		require.Equal(t, 200, got.status)
		require.NotContains(t, got.body, "Plantedname", path)
		require.NotContains(t, got.body, "Somebody", path)
		require.NotContains(t, got.body, "delivery.name", path)
		seen += r.get(path, "Authorization", tokens.personal).body
		require.Len(t, tokens.audited(t, "show"), before+1+i)
	}
	require.Equal(t, 3, strings.Count(seen, "Plantedname"))

	// The page of a deleted order shows what it was, and that is on record, too.
	shop.send("whole", nil)
	eventually(t, "the reader knows", func() bool { return r.get("/order/whole", "Authorization", tokens.read).status == 404 })
	require.NotContains(t, r.get("/?uid=whole", "Authorization", tokens.read).body, "Plantedname")
	before = len(tokens.audited(t, "show"))
	require.Contains(t, r.get("/?uid=whole", "Authorization", tokens.personal).body, "Plantedname")
	require.Equal(t, []string{"whole"}, tokens.audited(t, "show")[before].Targets)
	require.NoError(t, r.records.Close())
	for _, path := range paths {
		require.Equal(t, 503, r.get(path, "Authorization", tokens.personal).status, path)
	}
}
