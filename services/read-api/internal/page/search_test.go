package page

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ask asks for an address and gives the status, where it leads, and its words.
func ask(t *testing.T, orders *fakeOrders, address string) (status int, leads, shown string) {
	t.Helper()
	response := get(t, serve(Options{Orders: orders}), address)
	return response.Code, response.Header().Get("Location"), text(response.Body.String())
}

func TestSearchLeadsToTheOrder(t *testing.T) {
	t.Parallel()
	orders := samples(t)
	status, leads, _ := ask(t, orders, "/?q=+"+sampleUID+"+")
	require.Equal(t, http.StatusSeeOther, status)
	require.Equal(t, "/?uid="+sampleUID, leads)
	_, leads, _ = ask(t, orders, "/?fragment=1&q="+sampleUID)
	require.Equal(t, "/?fragment=1&uid="+sampleUID, leads, "the script's way is the same")

	orders.suggestions = []Suggestion{{KindOrder, "just-arrived", 1}}
	_, leads, _ = ask(t, orders, "/?q=just-arrived")
	require.Equal(t, "/?uid=just-arrived", leads)
}

func TestSearchByTrackNumberAndCustomer(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{KindTrackNumber, KindCustomer} {
		orders := samples(t)
		parameter := map[string]string{KindTrackNumber: "track_number", KindCustomer: "customer_id"}[kind]

		orders.suggestions = []Suggestion{{kind, "no uid", 3}}
		status, leads, _ := ask(t, orders, "/?q=no+uid")
		require.Equal(t, http.StatusSeeOther, status)
		require.Equal(t, "/?"+parameter+"=no+uid", leads, "several are a list")

		orders.suggestions[0].Orders = 1
		orders.list = orders.list[1:]
		_, leads, _ = ask(t, orders, "/?q=no+uid")
		require.Equal(t, "/?uid="+sampleUID, leads, "one is the order")
		require.Equal(t, Query{Filters: url.Values{parameter: {"no uid"}}, Limit: 1}, orders.listed[0])
	}
}

func TestSearchThatIsMoreThanOneThing(t *testing.T) {
	t.Parallel()
	orders := samples(t)
	orders.suggestions = []Suggestion{{KindTrackNumber, "both", 2}, {KindCustomer, "both", 100}}
	response := get(t, serve(Options{Orders: orders}), "/?q=both")
	require.Equal(t, http.StatusOK, response.Code)
	shown := text(response.Body.String())
	require.Contains(t, shown, "both matches more than one thing")
	require.Contains(t, shown, "Track number of 2 orders")
	require.Contains(t, shown, "Customer with 100 orders or more")
	require.Contains(t, response.Body.String(), `href="/?by=customer&amp;q=both"`)

	_, leads, _ := ask(t, orders, "/?by=customer&q=both")
	require.Equal(t, "/?customer_id=both", leads)
	orders.byUID["both"] = orders.byUID[sampleUID]
	_, leads, _ = ask(t, orders, "/?by=track_number&q=both")
	require.Equal(t, "/?track_number=both", leads, "what was chosen, though there is an order of that name")
	_, leads, _ = ask(t, orders, "/?q=both")
	require.Equal(t, "/?uid=both", leads)
}

func TestSearchThatFindsNothing(t *testing.T) {
	t.Parallel()
	orders := samples(t)
	orders.suggestions = []Suggestion{{KindOrder, "b563-one", 1}, {KindOrder, "b563-two", 1}}
	response := get(t, serve(Options{Orders: orders, ConsoleURL: "http://127.0.0.1:8082"}), "/?q=b563")
	require.Equal(t, http.StatusNotFound, response.Code)
	shown := text(response.Body.String())
	require.Contains(t, shown, "Nothing is stored under b563")
	require.Contains(t, shown, "Orders whose uid begins with it b563-one b563-two")
	require.Contains(t, response.Body.String(), `href="http://127.0.0.1:8082?q=b563"`)
	require.Contains(t, shown, "orderctl find b563")

	orders.suggestions = nil
	_, _, shown = ask(t, orders, "/?q=no+uid")
	require.NotContains(t, shown, "begins with it")
	require.NotContains(t, shown, "orderctl find", "which takes uids")
	status, _, shown := ask(t, orders, "/?q="+strings.Repeat("x", 129))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, shown, "can’t be an order_uid")
	status, _, _ = ask(t, orders, "/?q=+")
	require.Equal(t, http.StatusOK, status, "nothing was searched")
}

func TestSearchWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	orders := samples(t)
	orders.err = errors.New("connection refused")
	_, leads, _ := ask(t, orders, "/?q="+sampleUID)
	require.Equal(t, "/?uid="+sampleUID, leads, "it is in memory")
	status, _, shown := ask(t, orders, "/?q=unknown")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, shown, "can’t be known now")
	require.NotContains(t, shown, "Nothing is stored")
}

func TestWhatPeoplePasteFindsTheOrder(t *testing.T) {
	t.Parallel()
	for _, pasted := range []string{
		sampleUID + "\u200b", "\ufeff" + sampleUID, "\u2060" + sampleUID + "\u00a0", "\u200e" + sampleUID + "\r\n", `"` + sampleUID + `"`, "“" + sampleUID + "”", "«" + sampleUID + "»",
		"http://localhost:8081/?uid=" + sampleUID, "https://shop.example/orders/order/" + sampleUID, `"order_uid": "` + sampleUID + `",`,
		"https://a-host-with-a-very-long-name.that-is-longer-than-a-search.example/behind/a/path/and/another/and/another/api/v1/orders/" + sampleUID,
	} {
		orders := samples(t)
		_, leads, _ := ask(t, orders, "/?q="+url.QueryEscape(pasted))
		require.Equal(t, "/?uid="+sampleUID, leads, "%q", pasted)
		response := get(t, serve(Options{Orders: orders}), "/?uid="+url.QueryEscape(pasted))
		require.Equal(t, http.StatusOK, response.Code, "%q", pasted)
	}
	orders := samples(t)
	status, _, shown := ask(t, orders, "/?q=%E2%80%9Cno-such%E2%80%9D")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, shown, "Nothing is stored under no-such ")
}
