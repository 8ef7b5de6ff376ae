package page

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/model"
)

// fakeOrders answers from a map; an error stands for a database that is away.
type fakeOrders struct {
	byUID       map[string][]byte
	list        [][]byte
	next        string
	stale       time.Time
	err         error
	refuse      *RefusedError
	suggestions []Suggestion
	events      []Event
	asked       []string
	listed      []Query
}

func (f *fakeOrders) Get(_ context.Context, uid string) (Found, error) {
	f.asked = append(f.asked, uid)
	if canonical, ok := f.byUID[uid]; ok {
		return Found{Canonical: canonical, StaleSince: f.stale}, nil
	}
	return Found{}, f.err
}

func (f *fakeOrders) List(_ context.Context, query Query) (List, error) {
	f.listed = append(f.listed, query)
	if f.refuse != nil {
		return List{}, f.refuse
	}
	if f.err != nil {
		return List{}, f.err
	}
	return List{Canonical: f.list[:min(query.Limit, len(f.list))], Next: f.next, StaleSince: f.stale}, nil
}

func (f *fakeOrders) Suggest(_ context.Context, _ string, _ bool) ([]Suggestion, error) {
	return f.suggestions, f.err
}

func (f *fakeOrders) Timeline(_ context.Context, _ string, _ bool) ([]Event, error) {
	return f.events, f.err
}

// sample reads a file of testdata as canonical JSON: without white space.
func sample(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, json.Compact(&out, text))
	return out.Bytes()
}

const sampleUID = "b563feb7b2b84b6test"

func samples(t *testing.T) *fakeOrders {
	t.Helper()
	model, second := sample(t, "model.json"), sample(t, "order1001test.json")
	return &fakeOrders{
		byUID: map[string][]byte{sampleUID: model, "order1001test": second},
		list:  [][]byte{second, model},
	}
}

func serve(o Options) http.Handler {
	gin.SetMode(gin.TestMode)
	engine := gin.New()
	New(o).Register(engine)
	return engine
}

// get asks for an address; headers are pairs of name and value.
func get(t *testing.T, handler http.Handler, address string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

var (
	elements   = regexp.MustCompile(`<[^>]*>`)
	whiteSpace = regexp.MustCompile(`\s+`)
)

// text is what remains of HTML without its elements.
func text(source string) string {
	plain := html.UnescapeString(elements.ReplaceAllString(source, " "))
	return strings.TrimSpace(whiteSpace.ReplaceAllString(plain, " "))
}

func TestHomeShowsSearchAndNewestOrders(t *testing.T) {
	t.Parallel()
	response := get(t, serve(Options{Orders: samples(t)}), "/")
	require.Equal(t, http.StatusOK, response.Code)
	body := response.Body.String()
	require.Contains(t, body, `<label class="unseen" for="q">`)
	require.Contains(t, body, `data-stream="/api/v1/orders/stream"`)
	require.Contains(t, body, `action="/" method="get"`)
	require.Contains(t, body, `href="/?uid=order1001test"`)
	require.Contains(t, body, `href="/?uid=`+sampleUID+`"`)
	require.Less(t, strings.Index(body, "order1001test"), strings.Index(body, sampleUID), "the newest comes first")
	require.Contains(t, body, "<bdi>Alexey Petrov</bdi>, <bdi>Saint Petersburg</bdi>")
	require.Contains(t, body, "18.17 USD")
}

func TestAnOrderIsShownForPeopleAndAsJSON(t *testing.T) {
	t.Parallel()
	response := get(t, serve(Options{Orders: samples(t)}), "/?uid="+sampleUID)
	require.Equal(t, http.StatusOK, response.Code)
	body := response.Body.String()
	shown := text(body)
	for _, want := range []string{
		"Order b563feb7b2b84b6test · Orderhub", "26 Nov 2021, 06:22 UTC", "Test Testov", "Ploshad Mira 15",
		"2639809 Kiryat Mozkin", "Kraiot", "+9720000000", "test@gmail.com", "Goods 3.17", "Delivery 15.00",
		"Customs 0.00", "Amount 18.17 USD", "wbpay", "alpha", "Mascaras", "Vivienne Sabo", "30 %", "202",
		"Total, USD", "All items 3.17", "meest", "WBILMTESTTRACK", "1 item",
	} {
		require.Contains(t, shown, want)
	}
	require.Contains(t, body, `value="`+sampleUID+`"`, "the field keeps what was searched")
	require.Contains(t, body, `<div id="people" class="people">`)
	require.Contains(t, body, `<div id="json" hidden>`)
	require.NotContains(t, body, "add up", "the sample's sums are right")
	require.NotContains(t, body, "isn’t complete")

	asJSON := get(t, serve(Options{Orders: samples(t)}), "/?uid="+sampleUID+"&view=json").Body.String()
	require.Contains(t, asJSON, `<div id="people" class="people" hidden>`)
	require.Contains(t, asJSON, `<div id="json">`)
	require.Contains(t, asJSON, `<span class="j-name">&#34;payment_dt&#34;</span>: <span class="j-number">1637907727</span>`)
}

func TestSearchIgnoresWhiteSpaceAround(t *testing.T) {
	t.Parallel()
	orders := samples(t)
	response := get(t, serve(Options{Orders: orders}), "/?uid="+url.QueryEscape(" "+sampleUID+"\n"))
	require.Equal(t, http.StatusOK, response.Code)
	require.Equal(t, []string{sampleUID}, orders.asked)
}

func TestMissingOrder(t *testing.T) {
	t.Parallel()
	response := get(t, serve(Options{Orders: samples(t), ConsoleURL: "http://127.0.0.1:8082/?tab=open"}), "/?uid=nosuch")
	require.Equal(t, http.StatusNotFound, response.Code)
	body := response.Body.String()
	require.Contains(t, text(body), "No order nosuch is stored")
	require.Contains(t, body, `href="http://127.0.0.1:8082/?q=nosuch&amp;tab=open"`)
	require.Contains(t, body, "orderctl find nosuch")

	for _, console := range []string{"", "javascript:alert(1)", "//evil.example", "http://%zz"} {
		body = get(t, serve(Options{Orders: samples(t), ConsoleURL: console}), "/?uid=nosuch").Body.String()
		require.NotContains(t, body, "Look for it in the dead letters", "console %q", console)
	}
}

func TestInvalidUID(t *testing.T) {
	t.Parallel()
	for _, uid := range []string{"a b", "a/b", "äö", strings.Repeat("x", 65), "\xff", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`} {
		orders := samples(t)
		response := get(t, serve(Options{Orders: orders}), "/?uid="+url.QueryEscape(uid))
		require.Equal(t, http.StatusBadRequest, response.Code, "%q", uid)
		require.Contains(t, response.Body.String(), "can’t be an order_uid")
		require.NotContains(t, response.Body.String(), "<script>alert")
		require.NotContains(t, response.Body.String(), "<img src=x")
		require.Empty(t, orders.asked, "what can't be a uid isn't looked up")
	}
	long := get(t, serve(Options{Orders: samples(t)}), "/?uid="+strings.Repeat("y", 5000)).Body.String()
	require.NotContains(t, long, strings.Repeat("y", 81))
}

func TestUnavailableIsNeverNotFound(t *testing.T) {
	t.Parallel()
	orders := samples(t)
	orders.err = errors.New("connection refused")
	response := get(t, serve(Options{Orders: orders}), "/?uid=nosuch")
	require.Equal(t, http.StatusServiceUnavailable, response.Code)
	require.Equal(t, "2", response.Header().Get("Retry-After"))
	shown := text(response.Body.String())
	require.Contains(t, shown, "can’t be known now")
	require.Contains(t, shown, "The orders can’t be listed now")
	require.NotContains(t, shown, "connection refused", "what went wrong inside isn't shown")
	require.NotContains(t, shown, "is stored")
}

func TestStaleOrderSaysSo(t *testing.T) {
	t.Parallel()
	orders := samples(t)
	orders.stale = time.Date(2026, 3, 1, 12, 30, 5, 0, time.UTC)
	shown := text(get(t, serve(Options{Orders: orders}), "/?uid="+sampleUID).Body.String())
	require.Contains(t, shown, "This may be out of date. It is not known what has changed since 1 Mar 2026, 12:30 UTC")
	require.Contains(t, shown, "It is not known what has changed since 1 Mar 2026, 12:30 UTC")
	require.NotContains(t, shown, "older", "what is older isn't known then")
	require.Contains(t, shown, "Mascaras")
}

func TestMissingPartsAreSaidPlainly(t *testing.T) {
	t.Parallel()
	const uid = "partial"
	for _, test := range []struct{ part, says string }{
		{"delivery", "No delivery is stored for this order."},
		{"payment", "No payment is stored for this order. Its currency isn’t known, so amounts are shown in minor units."},
		{"items", "No items are stored for this order."},
	} {
		var fields map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(sample(t, "model.json"), &fields))
		fields["order_uid"] = json.RawMessage(`"` + uid + `"`)
		fields[test.part] = json.RawMessage("null")
		canonical, err := json.Marshal(fields)
		require.NoError(t, err)
		orders := &fakeOrders{byUID: map[string][]byte{uid: canonical}, list: [][]byte{canonical}}

		response := get(t, serve(Options{Orders: orders}), "/?uid="+uid)
		require.Equal(t, http.StatusOK, response.Code, test.part)
		shown := text(response.Body.String())
		require.Contains(t, shown, test.says)
		require.Contains(t, shown, "This order isn’t complete.")
		if test.part == "payment" {
			require.Contains(t, shown, "Total, minor units")
			require.Contains(t, shown, "All items 317")
			require.Contains(t, shown, "no payment")
		}
	}
}

func TestSumsThatDoNotAddUpAreSaid(t *testing.T) {
	t.Parallel()
	canonical := bytes.Replace(sample(t, "model.json"), []byte(`"goods_total":317`), []byte(`"goods_total":300`), 1)
	shown := text(get(t, serve(Options{Orders: &fakeOrders{byUID: map[string][]byte{sampleUID: canonical}}}), "/?uid="+sampleUID).Body.String())
	require.Contains(t, shown, "The items add up to 3.17 USD, the payment’s goods total is 3.00 USD.")
	require.Contains(t, shown, "Goods, delivery and customs add up to 18.00 USD, the amount is 18.17 USD.")
}

func TestPaymentTimeBeyondTheCalendar(t *testing.T) {
	t.Parallel()
	for _, seconds := range []string{"9223372036854775807", "-9223372036854775808", "253402300800"} {
		canonical := bytes.Replace(sample(t, "model.json"), []byte("1637907727"), []byte(seconds), 1)
		response := get(t, serve(Options{Orders: &fakeOrders{byUID: map[string][]byte{sampleUID: canonical}}}), "/?uid="+sampleUID)
		require.Equal(t, http.StatusOK, response.Code)
		require.Contains(t, text(response.Body.String()), seconds+" seconds, no date")
	}
}

func TestUnpaidOrder(t *testing.T) {
	t.Parallel()
	canonical := bytes.Replace(sample(t, "model.json"), []byte("1637907727"), []byte("0"), 1)
	shown := text(get(t, serve(Options{Orders: &fakeOrders{byUID: map[string][]byte{sampleUID: canonical}}}), "/?uid="+sampleUID).Body.String())
	require.Contains(t, shown, "Not paid yet")
	require.NotContains(t, shown, "1970")
}

func TestHostileValuesStayText(t *testing.T) {
	t.Parallel()
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}javascript:alert(1)`
	o := model.Order{
		OrderUID: "hostile", TrackNumber: hostile, Entry: hostile, Locale: hostile, InternalSignature: hostile,
		CustomerID: hostile, DeliveryService: hostile, Shardkey: hostile, OofShard: hostile,
		DateCreated: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Delivery:    &model.Delivery{Name: hostile, Phone: hostile, Zip: hostile, City: hostile, Address: hostile, Region: hostile, Email: hostile},
		Payment:     &model.Payment{Transaction: hostile, RequestID: hostile, Currency: hostile, Provider: hostile, Bank: hostile},
		Items:       []model.Item{{TrackNumber: hostile, RID: hostile, Name: hostile, Size: hostile, Brand: hostile}},
	}
	canonical, err := json.Marshal(o)
	require.NoError(t, err)
	orders := &fakeOrders{byUID: map[string][]byte{"hostile": canonical}, list: [][]byte{canonical}}
	for _, address := range []string{"/?uid=hostile", "/?uid=hostile&view=json", "/?uid=hostile&fragment=1", "/?uid=hostile&view=%22%3E%3Cscript%3E"} {
		response := get(t, serve(Options{Orders: orders}), address)
		require.Equal(t, http.StatusOK, response.Code)
		body := response.Body.String()
		require.NotContains(t, body, "<script>")
		require.NotContains(t, body, "<img src=x")
		require.NotContains(t, body, `href="javascript:`)
		require.NotContains(t, body, "ZgotmplZ")
	}
}

// TestTextsTurnOnlyThemselves has values that turn the direction of writing, and
// don't turn it back.
func TestTextsTurnOnlyThemselves(t *testing.T) {
	t.Parallel()
	const turned = "\u202eturned"
	canonical, err := json.Marshal(model.Order{
		OrderUID: "turning", TrackNumber: turned, CustomerID: turned,
		Delivery: &model.Delivery{Name: turned, City: "Kiryat Mozkin"},
	})
	require.NoError(t, err)
	orders := &fakeOrders{byUID: map[string][]byte{"turning": canonical}, list: [][]byte{canonical}}
	body := get(t, serve(Options{Orders: orders}), "/?uid=turning").Body.String()
	require.Contains(t, body, "<bdi>"+turned+"</bdi>, <bdi>Kiryat Mozkin</bdi>")
	within := regexp.MustCompile(`<(\w+)([^>]*)>[^<]*` + turned)
	for _, found := range within.FindAllStringSubmatch(body, -1) {
		apart := found[1] == "bdi" || strings.Contains(found[2], `dir="auto"`) || strings.Contains(found[2], `class="j-`)
		require.True(t, apart, "turns what comes after it: %s", found[0])
	}
	require.Greater(t, len(within.FindAllString(body, -1)), 6)
}

func TestFragmentIsTheInsideOfMain(t *testing.T) {
	t.Parallel()
	handler := serve(Options{Orders: samples(t)})
	for _, uid := range []string{"", sampleUID, "nosuch", "a+b"} {
		full := get(t, handler, "/?uid="+uid).Body.String()
		fragment := get(t, handler, "/?fragment=1&uid="+uid)
		require.Equal(t, http.StatusOK, fragment.Code, "a fragment is a piece to show, whatever it says")
		require.NotContains(t, fragment.Body.String(), "<html")
		require.Contains(t, full, fragment.Body.String(), "both come from the same templates")
	}
}

func TestUnchangedPageIsNotRenderedAgain(t *testing.T) {
	t.Parallel()
	orders := samples(t)
	handler := serve(Options{Orders: orders})
	const address = "/?fragment=1&uid=" + sampleUID
	tag := get(t, handler, address).Header().Get("ETag")
	require.NotEmpty(t, tag)
	require.Equal(t, http.StatusNotModified, get(t, handler, address, "If-None-Match", tag).Code)

	require.Equal(t, http.StatusOK, get(t, handler, address+"&view=json", "If-None-Match", tag).Code, "another view")
	whole := get(t, handler, "/?uid="+sampleUID, "If-None-Match", tag)
	require.Equal(t, http.StatusOK, whole.Code, "the whole page")
	require.Contains(t, html.UnescapeString(whole.Body.String()), `data-tag="`+tag+`"`, "from which the script knows it")
	require.Equal(t, http.StatusOK, get(t, handler, "/?fragment=1", "If-None-Match", tag).Code, "another search")
	orders.stale = time.Unix(1, 0)
	require.Equal(t, http.StatusOK, get(t, handler, address, "If-None-Match", tag).Code, "stale by now")
	orders.stale = time.Time{}
	orders.list = orders.list[:1]
	require.Equal(t, http.StatusOK, get(t, handler, address, "If-None-Match", tag).Code, "another list")
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	handler := serve(Options{Orders: samples(t)})
	for _, address := range []string{"/", "/?uid=nosuch", "/?uid=%00", "/?fragment=1", "/assets/nosuch"} {
		header := get(t, handler, address).Header()
		policy := header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'")
		require.Contains(t, policy, "frame-ancestors 'none'")
		require.NotContains(t, policy, "unsafe")
		require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
		require.Equal(t, "no-referrer", header.Get("Referrer-Policy"))
		require.Equal(t, "no-store", header.Get("Cache-Control"))
	}
	body := get(t, handler, "/?uid="+sampleUID).Body.String()
	require.NotContains(t, body, " style=")
	require.NotRegexp(t, `<script>|<style|\son[a-z]+=`, body, "the policy would forbid it")
	require.NotRegexp(t, `(src|href)="(https?:)?//`, body, "nothing comes from elsewhere")
}

func TestHeadAnswersLikeGet(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(serve(Options{Orders: samples(t)}))
	t.Cleanup(server.Close)
	for address, want := range map[string]int{"/": http.StatusOK, "/?uid=nosuch": http.StatusNotFound} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, server.URL+address, nil)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode)
		require.Equal(t, "text/html; charset=utf-8", response.Header.Get("Content-Type"))
	}
}

func TestOrderThatCannotBeReadIsUnavailable(t *testing.T) {
	t.Parallel()
	orders := &fakeOrders{byUID: map[string][]byte{"broken": []byte("{")}, list: [][]byte{[]byte("{"), sample(t, "model.json")}}
	core, logged := observer.New(zap.ErrorLevel)
	response := get(t, serve(Options{Orders: orders, Log: zap.New(core)}), "/?uid=broken")
	require.Equal(t, http.StatusServiceUnavailable, response.Code)
	require.Contains(t, response.Body.String(), sampleUID, "the other orders of the list are shown")
	require.Equal(t, 2, logged.FilterMessage("page cannot show an order").Len(), "once itself, once in the list")
}
