package integration_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/devstack/browser"
)

// pages are addresses of all that the page can show.
var pages = map[string]string{
	"home": "/", "order": "/?uid=" + severalUID, "json": "/?view=json&uid=" + severalUID, "customer": "/?customer_id=" + severalCustomer,
	"older": "/?cursor=5", "missing": "/?q=7c1e", "no-order": "/?uid=nosuch", "invalid": "/?uid=a+b", "refused": "/?amount_from=x",
	"nothing": "/?customer_id=nobody", "incomplete": "/?uid=incomplete",
}

func addIncomplete(w *window) {
	incomplete := sampleOrder("incomplete", time.Now())
	incomplete.Payment, incomplete.Items = nil, nil
	w.orders.add(incomplete)
}

// TestPageIsAccessible holds every state of the page against axe-core.
func TestPageIsAccessible(t *testing.T) {
	chromium := browser.ForTest(t)
	axe := browser.AxeForTest(t)
	w := openWindow(chromium, t)
	addIncomplete(w)
	w.Scheme("light")
	for name, address := range pages {
		w.open(address)
		axe.Check(w.Window, name)
	}
	w.Scheme("dark")
	for _, name := range []string{"home", "order", "incomplete"} {
		w.open(pages[name])
		axe.Check(w.Window, "dark "+name)
	}
	w.open("/")
	w.Click(".filters summary")
	w.Type("#q", "c")
	w.Until("!document.querySelector('#suggestions').hidden")
	w.Script("document.querySelector('#q').dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown' })); undefined")
	axe.Check(w.Window, "filters and suggestions")
	w.Script("document.activeElement.blur(); undefined")
	w.Press("?")
	w.Until("document.querySelector('dialog.keys').open")
	axe.Check(w.Window, "the keys")
	w.orders.change(func(s *shownOrders) { s.away, s.stale = true, time.Now().Add(-time.Minute) })
	for _, address := range []string{"/", "/?uid=" + severalUID, "/?uid=unknown"} {
		w.open(address)
		axe.Check(w.Window, "stale "+address)
	}
	w.Phone()
	w.open("/?uid=" + severalUID)
	axe.Check(w.Window, "a phone")
}

func phoneHasNoHorizontalScroll(w *window) {
	t := w.t
	w.Phone()
	wide := sampleOrder(strings.Repeat("W", 64), time.Now())
	long := strings.Repeat("unbroken", 40)
	wide.Delivery.Name, wide.Delivery.Email = long, long+"@example.com"
	wide.CustomerID, wide.TrackNumber = strings.Repeat("C", 128), strings.Repeat("T", 128)
	wide.Payment.Amount = math.MaxInt64
	wide.Items = []model.Item{sampleItem(long, long, long, 1<<53, 0, 1<<53, 1)}
	w.orders.add(wide)
	addIncomplete(w)
	addresses := map[string]string{
		"missing-long": "/?uid=" + strings.Repeat("M", 64), "order-long": "/?uid=" + strings.Repeat("W", 64),
		"json-long": "/?view=json&uid=" + strings.Repeat("W", 64), "invalid-long": "/?uid=" + strings.Repeat("%22", 90),
		"customer-long": "/?customer_id=" + strings.Repeat("C", 128),
	}
	for _, name := range []string{"home", "order", "missing", "refused", "incomplete"} {
		addresses[name] = pages[name]
	}
	for name, address := range addresses {
		w.open(address)
		require.Empty(t, w.Beyond(), address)
		w.Picture("phone-" + name)
	}
	w.open("/")
	w.Click(".filters summary")
	require.Empty(t, w.Beyond(), "filters")
	w.Picture("phone-filters")
	w.Type("#q", "c")
	w.Until("!document.querySelector('#suggestions').hidden")
	require.Empty(t, w.Beyond(), "suggestions")
	w.Picture("phone-suggestions")
}

// theListFitsAnyWidth has the longest words in its head, beside the filters' button,
// and uids as long as they usually are.
func theListFitsAnyWidth(w *window) {
	t := w.t
	for i := range 30 {
		w.orders.add(sampleOrder(fmt.Sprintf("b563feb7b2b84b6t%d", 100+i), time.Now()))
	}
	for _, address := range []string{"/", "/?currency=USD"} {
		w.open(address)
		require.Contains(t, w.Text(".list-head"), "there are older ones")
		for _, width := range []int64{320, 390, 600, 641, 700, 800, 1024, 1280} {
			w.Do(chromedp.EmulateViewport(width, 800))
			require.Empty(t, browser.Eval[string](w.Window, `(() => {
				const boxes = [...document.querySelectorAll('.brand, .search, .nav, .chips, .filters summary, .list-head > *')].map((e) => [e, e.getBoundingClientRect()]);
				return boxes.flatMap(([a, x], i) => boxes.slice(i + 1).filter(([, y]) => x.left < y.right && y.left < x.right && x.top < y.bottom && y.top < x.bottom)
					.map(([b]) => a.innerText + ' lies on ' + b.innerText)).join('\n');
			})()`), "%s, %d pixels wide", address, width)
			require.Empty(t, w.Beyond(), "%s, %d pixels wide", address, width)
			require.True(t, w.is("[...document.querySelectorAll('.orders .uid')].every((e) => e.scrollWidth <= e.clientWidth)"), "a uid is cut off, %d pixels wide", width)
		}
	}
}

func darkAndLight(w *window) {
	t := w.t
	addIncomplete(w)
	backgrounds := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		w.Scheme(scheme)
		for _, name := range slices.Sorted(maps.Keys(pages)) {
			if scheme == "light" && !slices.Contains([]string{"home", "order", "json", "incomplete", "refused"}, name) {
				continue // their colours are among those of these
			}
			w.open(pages[name])
			require.Empty(t, w.LowContrast(), "%s %s: texts of too little contrast", scheme, name)
			w.Picture(name + "-" + scheme)
		}
		w.orders.change(func(s *shownOrders) { s.stale = time.Now().Add(-90 * time.Second) })
		w.open("/?uid=" + severalUID)
		require.Empty(t, w.LowContrast(), "%s stale: texts of too little contrast", scheme)
		w.Picture("stale-" + scheme)
		w.orders.change(func(s *shownOrders) { s.stale = time.Time{} })
		w.open("/")
		w.Click(".filters summary")
		w.Type("#q", "c")
		w.Until("!document.querySelector('#suggestions').hidden")
		require.Empty(t, w.LowContrast(), "%s suggestions: texts of too little contrast", scheme)
		w.Picture("suggestions-" + scheme)
		backgrounds[scheme] = w.eval("getComputedStyle(document.body).backgroundColor")
	}
	require.NotEqual(t, backgrounds["light"], backgrounds["dark"])
}

func withoutJavaScript(w *window) {
	t := w.t
	browser.Command(w.Window, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	text := func(selector chromedp.CSS) string { return browser.Value(w.Window, chromedp.Text(selector)) }
	w.open("/")
	// Scripts of the page don't run; those of the test go through the debugger.
	w.Do(chromedp.SendKeys(chromedp.CSS("#q"), severalTrack), chromedp.Click(chromedp.CSS("#search button")), chromedp.WaitVisible(chromedp.CSS("#people")))
	require.Equal(t, severalUID, text("h1"))
	require.Equal(t, w.server.URL+"/?uid="+severalUID, browser.Value(w.Window, chromedp.Location()))
	w.Click("[data-view=json]")
	w.Do(chromedp.WaitVisible(chromedp.CSS("#json")))
	require.Contains(t, text("#json code"), `"order_uid": "`+severalUID+`"`)
	newest := text("#newest")
	require.Contains(t, newest, "Reload the page for newer ones.")
	require.NotContains(t, newest, "Live")
	w.Do(chromedp.WaitNotVisible(chromedp.CSSAll("main button")))
	w.Picture("without-script")

	w.open("/")
	w.Click(".filters summary")
	w.Do(chromedp.SendKeys(chromedp.CSS("#filter-customer_id"), severalCustomer), chromedp.Click(chromedp.CSS(".filter-form button")), chromedp.WaitVisible(chromedp.CSS(".chips")))
	require.Equal(t, "Orders of customer "+severalCustomer, text("h1"))
	require.Contains(t, text("#newest"), "UTC")
}

func hostileValuesDoNotRun(w *window) {
	t := w.t
	hostile := sampleOrder(hostileUID, time.Now())
	hostile.Delivery = &model.Delivery{Name: hostileText, Phone: hostileText, Zip: hostileText, City: hostileText, Address: hostileText, Region: hostileText, Email: hostileText}
	hostile.Payment.Currency, hostile.Payment.Bank = hostileText, hostileText
	hostile.Items = []model.Item{sampleItem(hostileText, hostileText, hostileText, 1, 1, 1, 1)}
	hostile.TrackNumber = "javascript:window.hacked=1"
	hostile.CustomerID, hostile.DeliveryService = hostileText, hostileText
	w.orders.add(hostile)
	w.open("/?uid=" + hostileUID)
	require.Contains(t, w.Text("#people"), hostileText)
	w.open("/")
	w.search(hostileUID)
	w.Until("document.querySelector('#people')?.innerText.includes('window.hacked')")
	w.Click("[data-view=json]")
	w.search(`<img src=x onerror="window.hacked=1">`)
	w.shows("missing")
	w.open(`/?customer_id=%3Cimg%20src%3Dx%20onerror%3D%22window.hacked%3D1%22%3E&currency=%3Cscript%3Ewindow.hacked=1%3C/script%3E`)
	require.Contains(t, w.Text("#result"), "onerror")
	require.Equal(t, "undefined", w.eval("typeof window.hacked"))
	require.Zero(t, browser.Eval[int](w.Window, "document.querySelectorAll('main img, main script').length"))
	require.Empty(t, w.Problems())

	// What got past the escaping would still be stopped by the policy. The
	// browser reports that as an error, which is the wanted one here.
	w.Script("const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s); undefined")
	require.Equal(t, "undefined", w.eval("typeof window.hacked"))
	w.ForgetProblems()
}

func databaseAway(w *window) {
	t := w.t
	w.orders.change(func(s *shownOrders) { s.away, s.stale = true, time.Now().Add(-time.Minute) })
	w.open("/?uid=not-in-memory")
	require.Contains(t, w.Text("#result"), "can’t be known now")
	require.NotContains(t, w.Text("#result"), "No order")
	w.Picture("unavailable-light")
	w.search(severalUID)
	w.Until("document.querySelector('h1').innerText === '" + severalUID + "'")
	require.Contains(t, w.Text("#result"), "This may be out of date.")
	require.Equal(t, "Trying again", w.Text("[data-live]"))

	w.search("not-in-memory")
	w.shows("unavailable")
	w.orders.change(func(s *shownOrders) { s.away, s.stale = false, time.Time{} })
	w.orders.add(sampleOrder("not-in-memory", time.Now()))
	w.Until("document.querySelector('h1').innerText === 'not-in-memory'")

	// It is seen by itself, though no change is told.
	w.orders.change(func(s *shownOrders) { s.away, s.stale = true, time.Now().Add(-time.Minute) })
	w.look()
	w.Until("document.querySelector('#result').innerText.includes('This may be out of date.')")
	w.orders.change(func(s *shownOrders) { s.away, s.stale = false, time.Time{} })
	w.Until("!document.querySelector('#result').innerText.includes('This may be out of date.')")
}

func serverAway(w *window) {
	t := w.t
	w.open("/?uid=" + severalUID)
	w.streams("")
	w.away.Store(true)
	w.orders.changes.cut(false)
	w.look()
	w.Until("document.querySelector('[data-live]').innerText === 'Trying again'")
	w.look()
	w.Until("document.querySelector('#offline').checkVisibility()")
	require.Contains(t, w.Text("#offline"), "Orderhub can’t be reached.")
	require.Equal(t, severalUID, w.Text("h1"), "what was known stays")
	w.Picture("offline-light")
	w.search(sampleUID)
	w.Until("document.querySelector('main').ariaBusy === 'true' && document.querySelector('#announcement').innerText === ''")

	w.away.Store(false)
	w.look()
	w.Until("document.querySelector('h1').innerText === '" + sampleUID + "'") // what was asked for meanwhile
	w.Until("!document.querySelector('#offline').checkVisibility()")
	require.Equal(t, "Order "+sampleUID+" found, 1 item, 18.17 USD.", w.Text("#announcement"))
	require.False(t, w.is("document.querySelector('main').hasAttribute('aria-busy')"))
	w.Until("document.querySelector('[data-live]').innerText === 'Live'")
	w.ForgetProblems()
}
