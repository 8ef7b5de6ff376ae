package page

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
)

func TestFiltersOfTheAddressAreTheAPIs(t *testing.T) {
	t.Parallel()
	orders := samples(t)
	orders.next = "go-on"
	response := get(t, serve(Options{Orders: orders}), "/?customer_id=c+1&track_number=&currency=JPY&amount_from=18&amount_to=250"+
		"&created_from=2026-05-01T10:00&created_to=2026-05-02T10:00:00%2B02:00&cursor=here&other=ignored")
	require.Equal(t, http.StatusOK, response.Code)
	require.Equal(t, []Query{{Limit: listCount, Cursor: "here", Filters: url.Values{
		"customer_id": {"c 1"}, "currency": {"JPY"}, "amount_min": {"18"}, "amount_max": {"250"},
		"created_from": {"2026-05-01T10:00:00Z"}, "created_to": {"2026-05-02T08:00:00Z"},
	}}}, orders.listed)
	body := response.Body.String()
	require.Contains(t, text(body), "Filtered orders")
	require.Contains(t, body, `data-stream=""`, "what is older doesn't change by what arrives")
	require.Contains(t, body, `value="2026-05-02T08:00"`)
	require.Contains(t, body, `name="customer_id" type="text" autocomplete="off" autocapitalize="none" spellcheck="false" value="c 1"`)
}

func TestFiltersOfItemsAndDeliveries(t *testing.T) {
	t.Parallel()
	orders := samples(t)
	body := get(t, serve(Options{Orders: orders}), "/?brand=b*&nm_id=1&status=202&name=Anna*&email=A%40b.c&phone=%2B972*").Body.String()
	require.Equal(t, url.Values{
		"brand": {"b*"}, "nm_id": {"1"}, "status": {"202"}, "name_prefix": {"Anna"}, "email": {"A@b.c"}, "phone_prefix": {"+972"},
	}, orders.listed[0].Filters)
	require.Contains(t, body, `name="name" type="text" autocomplete="off" autocapitalize="none" spellcheck="false" value="Anna*"`)
	require.Contains(t, body, `href="/api/v1/export?brand=b%2A&amp;email=A%40b.c&amp;format=csv&amp;name_prefix=Anna&amp;nm_id=1&amp;phone_prefix=%2B972&amp;status=202" download data-export`)
	require.True(t, readFilter(nil, false).Personal())
	require.False(t, readFilter(nil, true).Personal(), "nor are there fields for it")
}

func TestAFilteredListFollowsItsOwnChanges(t *testing.T) {
	t.Parallel()
	orders := samples(t)
	orders.next = "go-on"
	body := get(t, serve(Options{Orders: orders}), "/?customer_id=c-1&amount_from=18.17").Body.String()
	require.Contains(t, body, `data-stream="/api/v1/orders/stream?amount_min=1817&amp;customer_id=c-1"`)
	require.Contains(t, body, `href="/api/v1/orders?amount_min=1817&amp;customer_id=c-1"`)
	require.Contains(t, body, `href="/?amount_from=18.17&amp;cursor=go-on&amp;customer_id=c-1" rel="next"`)
	require.Contains(t, body, `<a href="/?amount_from=18.17" aria-label="Remove the filter: Customer">`)
	require.Contains(t, text(body), "Filtered orders")

	body = get(t, serve(Options{Orders: orders}), "/?customer_id=c-1").Body.String()
	require.Contains(t, text(body), "Orders of customer c-1")
	body = get(t, serve(Options{Orders: orders}), "/?cursor=x").Body.String()
	require.Contains(t, body, `href="/" rel="first"`)
}

func TestAFilterThatCannotBe(t *testing.T) {
	t.Parallel()
	for address, says := range map[string]string{
		"/?amount_from=ten":                 "Amount from: “ten” is no amount such as 18.17.",
		"/?amount_to=1.234&currency=USD":    "Amount to: “1.234” can be read in more than one way; USD has 2 digits after the point.",
		"/?created_from=yesterday":          "Created from: “yesterday” is no date such as 2026-05-01T10:00.",
		"/?amount_from=%3Cscript%3Ealert()": "Amount from: “<script>alert()” is no amount such as 18.17.",
	} {
		orders := samples(t)
		response := get(t, serve(Options{Orders: orders}), address)
		require.Equal(t, http.StatusBadRequest, response.Code)
		require.Contains(t, text(response.Body.String()), says)
		require.Contains(t, response.Body.String(), `aria-invalid="true"`)
		require.NotContains(t, response.Body.String(), "<script>alert")
		require.Empty(t, orders.listed)
	}
	orders := samples(t)
	orders.refuse = &RefusedError{Detail: "amount_min is more than amount_max: no order can be in between."}
	response := get(t, serve(Options{Orders: orders}), "/?amount_from=2&amount_to=1")
	require.Equal(t, http.StatusBadRequest, response.Code)
	require.Contains(t, text(response.Body.String()), orders.refuse.Detail)

	orders.refuse = &RefusedError{Cursor: true, Detail: "No cursor."}
	body := get(t, serve(Options{Orders: orders}), "/?cursor=x&customer_id=a").Body.String()
	require.Contains(t, text(body), "This page of the list can’t be found")
	require.Contains(t, body, `href="/?customer_id=a">Begin with the newest</a>`)
}

func TestEmptyListsSayWhy(t *testing.T) {
	t.Parallel()
	for address, says := range map[string]string{
		"/":                      "No orders are stored yet.",
		"/?customer_id=nobody":   "No order matches.",
		"/?cursor=end":           "There are no older orders.",
		"/?customer_id=x&next=1": "No order matches among those searched so far.",
	} {
		orders := &fakeOrders{}
		if address == "/?customer_id=x&next=1" {
			orders.next = "go-on"
		}
		shown := text(get(t, serve(Options{Orders: orders}), address).Body.String())
		require.Contains(t, shown, says, address)
	}
}

func TestWhatTheDataTellsOfPaymentAndDelivery(t *testing.T) {
	t.Parallel()
	paid := &model.Payment{PaymentDT: 1637907727}
	for _, test := range []struct {
		order             model.Order
		payment, delivery string
	}{
		{model.Order{Payment: paid, Delivery: &model.Delivery{}, TrackNumber: "T"}, "Paid", "Tracked"},
		{model.Order{}, "No payment stored", "No delivery stored"},
		{model.Order{Payment: &model.Payment{}, Delivery: &model.Delivery{}}, "Not paid yet", "No track number"},
		{model.Order{Payment: &model.Payment{PaymentDT: 1, Amount: 5}, TrackNumber: "T"}, "Sums differ", "No delivery stored"},
		{model.Order{Payment: &model.Payment{PaymentDT: 1 << 62}}, "No time of payment", "No delivery stored"},
	} {
		o := order{Order: test.order}
		require.Equal(t, test.payment, o.PaymentState().Word)
		require.Equal(t, test.delivery, o.DeliveryState().Word)
	}
	o := order{Order: model.Order{Items: []model.Item{{Status: 202}, {Status: 103}, {Status: 202}}}}
	require.Equal(t, []itemState{{202, 2}, {103, 1}}, o.ItemStates())
}
