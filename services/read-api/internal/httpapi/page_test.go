package httpapi

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

// pageOrders are a page's orders over an empty cache and a database that nobody
// reaches.
func pageOrders(t *testing.T) *PageOrders {
	t.Helper()
	db, err := bundb.Open(config.Database{URL: "postgres://nobody@127.0.0.1:1/none?sslmode=disable"}, bundb.Options{MaxConns: 1})
	require.NoError(t, err)
	through := orders.NewReadThrough(db, nil)
	t.Cleanup(func() {
		through.Stop()
		require.NoError(t, db.Close())
	})
	return NewPageOrders(orders.New(cache.New(time.Second), through, orders.NewLists(db, cache.New(time.Second), nil)))
}

func TestThePagesFiltersAreTheAPIs(t *testing.T) {
	p := pageOrders(t)
	for name, value := range map[string]string{"amount_min": "-1", "created_from": "yesterday", "customer_id": "\x00"} {
		_, err := p.List(t.Context(), page.Query{Filters: url.Values{name: {value}}, Limit: 1})
		var refused *page.RefusedError
		require.ErrorAs(t, err, &refused)
		require.False(t, refused.Cursor)
		require.Contains(t, refused.Detail, name)
	}
	_, err := p.List(t.Context(), page.Query{Cursor: "made up", Limit: 1})
	var refused *page.RefusedError
	require.ErrorAs(t, err, &refused)
	require.True(t, refused.Cursor)
	require.Contains(t, refused.Detail, "cut off or changed")

	other := encodeCursor(orders.Filter{CustomerID: "a"}, orders.Key{UID: "x"})
	_, err = p.List(t.Context(), page.Query{Filters: url.Values{"customer_id": {"b"}}, Cursor: other, Limit: 1})
	require.ErrorAs(t, err, &refused)
	require.Contains(t, refused.Detail, "other filters")
}

func TestThePageKeepsTheNewestOrdersWhileTheDatabaseIsAway(t *testing.T) {
	p := pageOrders(t)
	_, err := p.List(t.Context(), page.Query{Limit: 2})
	require.ErrorIs(t, err, orders.ErrUnavailable, "nothing is known yet")

	at := time.Now().Add(-time.Minute)
	p.last.Store(&lastList{canonical: [][]byte{[]byte("a"), []byte("b"), []byte("c")}, asked: 3, at: at})
	list, err := p.List(t.Context(), page.Query{Limit: 2})
	require.NoError(t, err)
	require.Equal(t, page.List{Canonical: [][]byte{[]byte("a"), []byte("b")}, StaleSince: at}, list)

	_, err = p.List(t.Context(), page.Query{Filters: url.Values{"customer_id": {"a"}}, Limit: 2})
	require.ErrorIs(t, err, orders.ErrUnavailable, "what was known is not of this list")
	_, err = p.Suggest(t.Context(), "a", true)
	require.ErrorIs(t, err, orders.ErrUnavailable)
	_, err = p.Get(t.Context(), "a")
	require.ErrorIs(t, err, orders.ErrUnavailable)
}

// TestAnErrorOnAPageIsAPage has the cookies of other programs on localhost, which know
// no ports.
func TestAnErrorOnAPageIsAPage(t *testing.T) {
	b := setupWith(t, time.Hour, cache.StoreOptions{}, func(o *Options) {
		site := page.New(page.Options{Orders: NewPageOrders(o.Orders)})
		o.Pages, o.Docs, o.Access.Answer = site.Register, site.Docs(OpenAPI), site.Answer
	})
	few, many := "other="+strings.Repeat("x", 60<<10), "other="+strings.Repeat("x", 70<<10)
	require.Equal(t, 200, b.ask(t, "GET", "/", "Cookie", few).status)
	for _, address := range []string{"/", "/?q=x", "/docs"} {
		r := b.ask(t, "GET", address, "Cookie", many)
		require.Equal(t, 431, r.status, address)
		require.Equal(t, "text/html; charset=utf-8", r.header.Get("Content-Type"))
		require.Contains(t, r.body, "delete the cookies of this site")
		require.NotEmpty(t, r.header.Get("Content-Security-Policy"))
	}
	require.Equal(t, 405, b.ask(t, "POST", "/").status)
	requireProblem(t, b.ask(t, "GET", sampleAddress, "Cookie", many), 431, "long-header")
}
