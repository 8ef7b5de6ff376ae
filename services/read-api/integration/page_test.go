package integration_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
)

// TestPage uses the page the way people do, in a real browser.
func TestPage(t *testing.T) {
	b := startBrowser(t)
	for _, test := range []struct {
		name string
		run  func(*window)
	}{
		{"SearchShowsTheOrderWithoutReload", searchShowsTheOrderWithoutReload},
		{"SearchThatFindsNothing", searchThatFindsNothing},
		{"AddressCarriesTheSearch", addressCarriesTheSearch},
		{"NewestOrdersAppearByThemselves", newestOrdersAppearByThemselves},
		{"AnOpenOrderFollowsItsChanges", anOpenOrderFollowsItsChanges},
		{"JSONIsOneClickAway", jsonIsOneClickAway},
		{"KeyboardAlone", keyboardAlone},
		{"CopyButtons", copyButtons},
		{"TimesInTheBrowsersZone", timesInTheBrowsersZone},
		{"WithoutJavaScript", withoutJavaScript},
		{"PhoneHasNoHorizontalScroll", phoneHasNoHorizontalScroll},
		{"DarkAndLight", darkAndLight},
		{"HostileValuesDoNotRun", hostileValuesDoNotRun},
		{"DatabaseAway", databaseAway},
		{"ServerAway", serverAway},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(b.window(t)) })
	}
}

// search types into the field and presses Enter.
func (w *window) search(uid string) {
	w.t.Helper()
	w.script("document.querySelector('#uid').value = ''")
	w.do(chromedp.SendKeys(chromedp.CSS("#uid"), uid+kb.Enter))
}

// look is what happens when a person comes back to the window: the page asks
// at once rather than at its next turn.
func (w *window) look() {
	w.t.Helper()
	w.script("document.dispatchEvent(new Event('visibilitychange'))")
}

func searchShowsTheOrderWithoutReload(w *window) {
	t := w.t
	w.open("/")
	w.script("window.sameDocument = true")
	w.search("  " + severalUID + " ")
	w.until("document.querySelector('#result h1').innerText === '" + severalUID + "'")
	require.True(t, eval[bool](w, "window.sameDocument === true"), "no reload")
	for _, want := range []string{"154.97 EUR", "3 items", "Amélie Fournier", "18 rue de la Roquette", "Linen shirt", "66.75", "10 %", "147.40", "colissimo"} {
		require.Contains(t, w.text("#result"), want)
	}
	require.Equal(t, "?uid="+severalUID, eval[string](w, "location.search"))
	require.Equal(t, "Order "+severalUID+" found, 3 items, 154.97 EUR.", w.text("#announcement"))
	require.Equal(t, "Order "+severalUID+" · Orderhub", eval[string](w, "document.title"))
	require.Equal(t, severalUID, eval[string](w, "document.querySelector('#newest [aria-current] .uid').innerText"))
	w.script("document.activeElement.blur()")
	w.picture("order-light")
}

func searchThatFindsNothing(w *window) {
	t := w.t
	w.open("/")
	w.search("no-such-order")
	w.until("document.querySelector('#result').dataset.state === 'missing'")
	require.Contains(t, w.text("#result"), "No order no-such-order is stored")
	require.Equal(t, "http://127.0.0.1:8082?q=no-such-order", eval[string](w, "document.querySelector('#result a').getAttribute('href')"))
	require.Equal(t, "No order no-such-order is stored.", w.text("#announcement"))
	w.picture("missing-light")

	w.search("<b>not a uid</b>")
	w.until("document.querySelector('#result').dataset.state === 'invalid'")
	require.Contains(t, w.text("#result"), "<b>not a uid</b> can’t be an order_uid")

	w.open("/?uid=no-such-order")
	require.Contains(t, w.text("#result"), "No order no-such-order is stored")
}

func addressCarriesTheSearch(w *window) {
	t := w.t
	w.open("/?uid=" + sampleUID)
	require.Equal(t, sampleUID, w.text("h1"))
	w.click(`#newest a[href="/?uid=` + severalUID + `"]`)
	w.until("document.querySelector('h1').innerText === '" + severalUID + "'")
	require.Equal(t, severalUID, eval[string](w, "document.querySelector('#uid').value"))
	w.do(chromedp.Reload(), chromedp.WaitReady(chromedp.CSS("h1")))
	require.Equal(t, severalUID, w.text("h1"))
	w.script("history.back()")
	w.until("document.querySelector('h1')?.innerText === '" + sampleUID + "'")
	w.until("document.querySelector('#uid').value === '" + sampleUID + "'")
	w.click(".brand")
	w.until("document.querySelector('#result').dataset.state === 'home'")
	require.Equal(t, "Orderhub", eval[string](w, "document.title"))
}

func newestOrdersAppearByThemselves(w *window) {
	t := w.t
	w.open("/")
	require.Equal(t, 13, eval[int](w, "document.querySelectorAll('#newest li').length"))
	w.do(chromedp.Focus(chromedp.CSS(`#newest a[href="/?uid=` + severalUID + `"]`)))
	w.orders.add(sampleOrder("just-arrived", time.Now()))
	w.until("document.querySelector('#newest li .uid').innerText === 'just-arrived'")
	require.True(t, eval[bool](w, "document.querySelector('#newest li').classList.contains('fresh')"))
	require.Equal(t, "/?uid="+severalUID, eval[string](w, "document.activeElement.getAttribute('href')"), "the focus stays on its order")
	require.Equal(t, "just now", w.text("#newest li time"))

	w.click("[data-live]")
	require.Equal(t, "Paused", w.text("[data-live]"))
	w.orders.add(sampleOrder("while-paused", time.Now()))
	w.click("[data-live]")
	w.until("document.querySelector('#newest li .uid').innerText === 'while-paused'")
	require.Equal(t, "Live", w.text("[data-live]"))
}

func anOpenOrderFollowsItsChanges(w *window) {
	w.open("/?uid=" + sampleUID)
	changed := sampleOrder(sampleUID, time.Now())
	changed.Delivery = nil
	w.orders.add(changed)
	w.look()
	w.until("document.querySelector('#people').innerText.includes('No delivery is stored for this order.')")
	w.orders.change(func(s *shownOrders) { delete(s.byUID, sampleUID) })
	w.look()
	w.until("document.querySelector('#result').dataset.state === 'missing'")
}

func jsonIsOneClickAway(w *window) {
	t := w.t
	w.open("/?uid=" + severalUID)
	require.False(t, eval[bool](w, "document.querySelector('#json').checkVisibility()"))
	w.click("[data-view=json]")
	w.until("document.querySelector('#json').checkVisibility() && !document.querySelector('#people').checkVisibility()")
	require.Equal(t, "?uid="+severalUID+"&view=json", eval[string](w, "location.search"))
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, []byte(w.text("#json code"))))
	require.Equal(t, string(w.orders.byUID[severalUID]), compact.String(), "the canonical JSON but for white space")
	w.picture("json-light")
	w.do(chromedp.Reload(), chromedp.WaitReady(chromedp.CSS("h1")))
	require.True(t, eval[bool](w, "document.querySelector('#json').checkVisibility()"), "the view survives a reload")
	w.click("[data-view=people]")
	w.until("document.querySelector('#people').checkVisibility()")
}

func keyboardAlone(w *window) {
	t := w.t
	w.open("/")
	w.press(kb.Tab)
	require.Equal(t, "Skip to the content", eval[string](w, "document.activeElement.innerText"))
	// As one event, as a keyboard gives it: its character isn't typed where the
	// page takes the key for itself.
	command(w, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Code: "Slash", Text: "/", WindowsVirtualKeyCode: 191})
	require.Equal(t, "uid", eval[string](w, "document.activeElement.id"))
	require.Empty(t, eval[string](w, "document.activeElement.value"), "the key itself isn't typed")
	w.press(sampleUID + kb.Enter)
	w.until("document.querySelector('h1').innerText === '" + sampleUID + "'")

	// Everything that can be operated is reached, and shows where the focus is.
	w.script("document.activeElement.blur()")
	w.script("window.reached = new Set()")
	for range 60 {
		w.press(kb.Tab)
		if eval[bool](w, `(() => {
			const at = document.activeElement;
			if (at === document.body) return false; // the browser's own turn
			if (reached.has(at)) return true;
			if (getComputedStyle(at).outlineStyle === 'none') throw new Error('no focus style: ' + at.outerHTML);
			reached.add(at);
			return false;
		})()`) {
			break
		}
	}
	require.Empty(t, eval[string](w, `[...document.querySelectorAll('a, button, input')].filter((e) => e.checkVisibility() && !reached.has(e)).map((e) => e.outerHTML).join('\n')`))

	w.do(chromedp.Focus(chromedp.CSS(`#newest a[href="/?uid=`+severalUID+`"]`)), chromedp.KeyEvent(kb.Enter))
	w.until("document.querySelector('h1').innerText === '" + severalUID + "'")
	w.until("document.activeElement.tagName === 'H1'")
}

func copyButtons(w *window) {
	t := w.t
	w.open("/?uid=" + sampleUID)
	w.script("window.copied = []; navigator.clipboard.writeText = async (text) => { copied.push(text) }; undefined")
	for _, button := range []chromedp.CSS{"[data-copy]", "[data-copy-link]", "[data-copy-json]"} {
		w.click(button)
	}
	w.until("copied.length === 3")
	copied := eval[[]string](w, "copied")
	require.Equal(t, sampleUID, copied[0])
	require.Equal(t, w.server.URL+"/?uid="+sampleUID, copied[1])
	require.JSONEq(t, string(w.orders.byUID[sampleUID]), copied[2])
	require.Equal(t, "Copied", w.text("[data-copy]"))
}

func timesInTheBrowsersZone(w *window) {
	t := w.t
	w.open("/?uid=" + sampleUID)
	w.until("document.querySelector('.head time').innerText === '26 Nov 2021, 15:22'") // 06:22 UTC in Tokyo
	title := eval[string](w, "document.querySelector('.head time').title")
	require.Contains(t, title, "15:22:19")
	require.Contains(t, title, "06:22:19 UTC")
	require.Contains(t, w.text(".head"), "years ago")
	require.Contains(t, w.text("#newest li:nth-child(2) time"), "minutes ago")
}

func withoutJavaScript(w *window) {
	t := w.t
	command(w, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	w.open("/")
	// Scripts of the page don't run; those of the test go through the debugger.
	w.do(chromedp.SendKeys(chromedp.CSS("#uid"), severalUID), chromedp.Click(chromedp.CSS("#search button")), chromedp.WaitVisible(chromedp.CSS("#people")))
	require.Equal(t, severalUID, value(w, chromedp.Text(chromedp.CSS("h1"))))
	require.Equal(t, w.server.URL+"/?uid="+severalUID, value(w, chromedp.Location()))
	w.click("[data-view=json]")
	w.do(chromedp.WaitVisible(chromedp.CSS("#json")))
	require.Contains(t, value(w, chromedp.Text(chromedp.CSS("#json code"))), `"order_uid": "`+severalUID+`"`)
	newest := value(w, chromedp.Text(chromedp.CSS("#newest")))
	require.Contains(t, newest, "Reload the page for newer ones.")
	require.NotContains(t, newest, "Live")
	w.do(chromedp.WaitNotVisible(chromedp.CSSAll("main button")))
	w.picture("without-script")
}

func phoneHasNoHorizontalScroll(w *window) {
	t := w.t
	w.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile, chromedp.EmulateScale(2)))
	wide := sampleOrder(strings.Repeat("W", 64), time.Now())
	long := strings.Repeat("unbroken", 40)
	wide.Delivery.Name, wide.Delivery.Email = long, long+"@example.com"
	wide.Payment.Amount = math.MaxInt64
	wide.Items = []model.Item{sampleItem(long, long, long, 1<<53, 0, 1<<53, 1)}
	w.orders.add(wide)
	for name, address := range map[string]string{
		"phone-order": "/?uid=" + severalUID, "phone-home": "/", "phone-json": "/?view=json&uid=" + severalUID, "phone-missing": "/?uid=" + strings.Repeat("M", 64),
		"phone-long": "/?uid=" + strings.Repeat("W", 64), "phone-long-json": "/?view=json&uid=" + strings.Repeat("W", 64), "phone-invalid": "/?uid=" + strings.Repeat("%22", 90),
	} {
		w.open(address)
		require.LessOrEqual(t, eval[int](w, "document.documentElement.scrollWidth"), 360, address)
		require.Empty(t, eval[string](w, `[...document.querySelectorAll('main *, header *')].filter((e) => e.checkVisibility() && !e.closest('.unseen, thead') && e.getBoundingClientRect().right > 361).map((e) => e.outerHTML).join('\n')`), address)
		w.picture(name)
	}
}

// readable gives the smallest contrast between a text and what is behind it.
const readable = `(() => {
	const channels = (colour) => {
		const c = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
		c.fillStyle = colour;
		c.fillRect(0, 0, 1, 1);
		return [...c.getImageData(0, 0, 1, 1).data];
	};
	const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => {
		const layers = [];
		for (let at = e; at; at = at.parentElement) {
			const c = channels(getComputedStyle(at).backgroundColor);
			if (c[3]) layers.push(c);
			if (c[3] === 255) break;
		}
		return layers.reverse().reduce((under, c) => under.map((v, i) => v + (c[i] - v) * c[3] / 255), [255, 255, 255]);
	};
	const poor = [];
	for (const e of document.querySelectorAll('body *')) {
		if (!e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
		const [a, b] = [light(channels(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
		const contrast = (a + 0.05) / (b + 0.05);
		if (contrast < 4.5) poor.push(contrast.toFixed(2) + ' ' + e.outerHTML.slice(0, 120));
	}
	return poor.join('\n');
})()`

func darkAndLight(w *window) {
	t := w.t
	w.orders.change(func(s *shownOrders) { s.stale = time.Now().Add(-90 * time.Second) })
	backgrounds := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		command(w, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		for name, address := range map[string]string{"home": "/", "stale": "/?uid=" + severalUID, "json": "/?view=json&uid=" + severalUID, "missing": "/?uid=nosuch", "invalid": "/?uid=a+b"} {
			w.open(address)
			require.Empty(t, eval[string](w, readable), "%s %s: texts of too little contrast", scheme, name)
			w.picture(name + "-" + scheme + "-stale")
		}
		backgrounds[scheme] = eval[string](w, "getComputedStyle(document.body).backgroundColor")
	}
	require.NotEqual(t, backgrounds["light"], backgrounds["dark"])
	w.orders.change(func(s *shownOrders) { s.stale = time.Time{} })
	w.open("/?uid=" + severalUID)
	w.picture("order-dark")
	w.open("/")
	w.picture("home-dark")
	command(w, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{})
	w.picture("home-light")
}

func hostileValuesDoNotRun(w *window) {
	t := w.t
	hostile := sampleOrder(hostileUID, time.Now())
	hostile.Delivery = &model.Delivery{Name: hostileText, Phone: hostileText, Zip: hostileText, City: hostileText, Address: hostileText, Region: hostileText, Email: hostileText}
	hostile.Payment.Currency, hostile.Payment.Bank = hostileText, hostileText
	hostile.Items = []model.Item{sampleItem(hostileText, hostileText, hostileText, 1, 1, 1, 1)}
	hostile.TrackNumber = "javascript:window.hacked=1"
	w.orders.add(hostile)
	w.open("/?uid=" + hostileUID)
	require.Contains(t, w.text("#people"), hostileText)
	w.open("/")
	w.search(hostileUID)
	w.until("document.querySelector('#people')?.innerText.includes('window.hacked')")
	w.click("[data-view=json]")
	w.search(hostileText)
	w.until("document.querySelector('#result').dataset.state === 'invalid'")
	require.Equal(t, "undefined", eval[string](w, "typeof window.hacked"))
	require.Zero(t, eval[int](w, "document.querySelectorAll('main img, main script').length"))

	// What got past the escaping would still be stopped by the policy. The
	// browser reports that as an error, which is the wanted one here.
	w.script("const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s); undefined")
	require.Equal(t, "undefined", eval[string](w, "typeof window.hacked"))
	w.forgetProblems()
}

func databaseAway(w *window) {
	t := w.t
	w.orders.change(func(s *shownOrders) { s.away, s.stale = true, time.Now().Add(-time.Minute) })
	w.open("/?uid=not-in-memory")
	require.Contains(t, w.text("#result"), "can’t be known now")
	require.NotContains(t, w.text("#result"), "No order")
	w.picture("unavailable-light")
	w.search(severalUID)
	w.until("document.querySelector('h1').innerText === '" + severalUID + "'")
	require.Contains(t, w.text("#result"), "This may be out of date.")

	w.search("not-in-memory")
	w.until("document.querySelector('#result').dataset.state === 'unavailable'")
	w.orders.add(sampleOrder("not-in-memory", time.Now()))
	w.orders.change(func(s *shownOrders) { s.away, s.stale = false, time.Time{} })
	w.look()
	w.until("document.querySelector('h1').innerText === 'not-in-memory'")
}

func serverAway(w *window) {
	t := w.t
	w.open("/?uid=" + severalUID)
	w.away.Store(true)
	w.look()
	w.until("document.querySelector('[data-live]').innerText === 'Trying again'")
	w.look()
	w.until("document.querySelector('#offline').checkVisibility()")
	require.Contains(t, w.text("#offline"), "Orderhub can’t be reached.")
	require.Equal(t, severalUID, w.text("h1"), "what was known stays")
	w.picture("offline-light")
	w.search(sampleUID)
	w.until("document.querySelector('main').ariaBusy === 'true' && document.querySelector('#announcement').innerText === ''")

	w.away.Store(false)
	w.look()
	w.until("document.querySelector('h1').innerText === '" + sampleUID + "'") // what was asked for meanwhile
	w.until("!document.querySelector('#offline').checkVisibility()")
	require.Equal(t, "Order "+sampleUID+" found, 1 item, 18.17 USD.", w.text("#announcement"))
	require.False(t, eval[bool](w, "document.querySelector('main').hasAttribute('aria-busy')"))
	require.Equal(t, "Live", w.text("[data-live]"))
	w.forgetProblems()
}
