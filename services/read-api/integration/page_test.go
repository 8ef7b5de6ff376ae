package integration_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/browser"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

// TestPage uses the page the way people do, in a real browser.
func TestPage(t *testing.T) {
	chromium := browser.ForTest(t)
	for _, test := range []struct {
		name string
		run  func(*window)
	}{
		{"SearchShowsTheOrderWithoutReload", searchShowsTheOrderWithoutReload},
		{"SearchByTrackNumberAndCustomer", searchByTrackNumberAndCustomer},
		{"SearchThatFindsNothing", searchThatFindsNothing},
		{"SuggestionsWhileTyping", suggestionsWhileTyping},
		{"SuggestionsAreText", suggestionsAreText},
		{"AddressCarriesTheSearch", addressCarriesTheSearch},
		{"FiltersLiveInTheAddress", filtersLiveInTheAddress},
		{"FillingInFiltersIsNotDisturbed", fillingInFiltersIsNotDisturbed},
		{"PagesOfAList", pagesOfAList},
		{"ADownloadShowsItsProgress", aDownloadShowsItsProgress},
		{"NewestOrdersAppearByThemselves", newestOrdersAppearByThemselves},
		{"AFilteredListIsLiveToo", aFilteredListIsLiveToo},
		{"ManyChangesAreAskedForSeldom", manyChangesAreAskedForSeldom},
		{"NothingIsFollowedThatNobodySees", nothingIsFollowedThatNobodySees},
		{"TheStreamIsTakenUpAgain", theStreamIsTakenUpAgain},
		{"AnOpenOrderFollowsItsChanges", anOpenOrderFollowsItsChanges},
		{"JSONIsOneKeyAway", jsonIsOneKeyAway},
		{"KeysCanBeTurnedOff", keysCanBeTurnedOff},
		{"KeyboardAlone", keyboardAlone},
		{"CopyAndShare", copyAndShare},
		{"TimesInTheBrowsersZone", timesInTheBrowsersZone},
		{"WithoutJavaScript", withoutJavaScript},
		{"PhoneHasNoHorizontalScroll", phoneHasNoHorizontalScroll},
		{"TheListFitsAnyWidth", theListFitsAnyWidth},
		{"DarkAndLight", darkAndLight},
		{"HostileValuesDoNotRun", hostileValuesDoNotRun},
		{"DatabaseAway", databaseAway},
		{"ServerAway", serverAway},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(openWindow(chromium, t)) })
	}
}

func searchShowsTheOrderWithoutReload(w *window) {
	t := w.t
	w.open("/")
	w.Script("window.sameDocument = true")
	w.search("  " + severalUID + " ")
	w.Until("document.querySelector('#result h1').innerText === '" + severalUID + "'")
	w.shows("found")
	require.True(t, w.is("window.sameDocument === true"), "no reload")
	for _, want := range []string{
		"154.97 EUR", "3 items", "Amélie Fournier", "18 rue de la Roquette", "Linen shirt", "66.75", "10 %", "147.40", "colissimo",
		"Paid", "Tracked", "2 × status 202", "1 × status 103", severalCustomer,
	} {
		require.Contains(t, w.Text("#result"), want)
	}
	require.Equal(t, "?uid="+severalUID, w.eval("location.search"), "where the search has led")
	require.Equal(t, "Order "+severalUID+" found, 3 items, 154.97 EUR.", w.Text("#announcement"))
	require.Equal(t, "Order "+severalUID+" · Orderhub", w.eval("document.title"))
	require.Equal(t, severalUID, w.eval("document.querySelector('#newest [aria-current] .uid').innerText"))
	w.Script("document.activeElement.blur()")
	w.Picture("order-light")
}

func searchByTrackNumberAndCustomer(w *window) {
	t := w.t
	w.open("/")
	w.search(severalTrack)
	w.Until("document.querySelector('h1').innerText === '" + severalUID + "'") // the only one
	w.search(severalCustomer)
	w.Until("document.querySelector('h1').innerText === 'Orders of customer " + severalCustomer + "'")
	require.Equal(t, "?customer_id="+severalCustomer, w.eval("location.search"))
	require.Equal(t, 2, browser.Eval[int](w.Window, "document.querySelectorAll('#newest li').length"))
	require.Equal(t, "Orders of customer "+severalCustomer+": 2 orders.", w.Text("#announcement"))
	w.Picture("customer-light")
	w.Script("history.back()")
	w.Until("document.querySelector('h1').innerText === '" + severalUID + "'")
	w.Click(".facts a[href='/?customer_id=" + severalCustomer + "']")
	w.Until("document.querySelector('h1').innerText === 'Orders of customer " + severalCustomer + "'")

	both := sampleOrder("both-1", time.Now())
	both.TrackNumber, both.CustomerID = "both", "both"
	w.orders.add(both)
	w.search("both")
	w.shows("choice")
	w.Picture("choice-light")
	w.Click("a[href='/?by=customer&q=both']")
	w.Until("document.querySelector('h1').innerText === 'both-1'")
}

func searchThatFindsNothing(w *window) {
	t := w.t
	w.withoutLooks()
	w.open("/")
	w.search("no-such-order")
	w.shows("missing")
	require.Contains(t, w.Text("#result"), "Nothing is stored under no-such-order")
	require.Equal(t, "http://127.0.0.1:8082?q=no-such-order", w.eval("document.querySelector('#result a').getAttribute('href')"))
	require.Equal(t, "Nothing is stored under no-such-order.", w.Text("#announcement"))
	w.Picture("missing-light")

	w.search("7c1e")
	w.Until("document.querySelector('#result .links a')?.innerText === '" + severalUID + "'")
	w.Picture("similar-light")

	w.search("<b>nothing</b>")
	w.Until("document.querySelector('h1').innerText.includes('<b>nothing</b>')")

	w.open("/?uid=no-such-order")
	require.Contains(t, w.Text("#result"), "No order no-such-order is stored")
	w.orders.add(sampleOrder("no-such-order", time.Now())) // it was on its way
	w.Until("document.querySelector('h1').innerText === 'no-such-order'")
}

func addressCarriesTheSearch(w *window) {
	t := w.t
	w.open("/?uid=" + sampleUID)
	require.Equal(t, sampleUID, w.Text("h1"))
	w.Click(`#newest a[href="/?uid=` + severalUID + `"]`)
	w.Until("document.querySelector('h1').innerText === '" + severalUID + "'")
	require.Equal(t, severalUID, w.eval("document.querySelector('#q').value"))
	w.Do(chromedp.Reload(), chromedp.WaitReady(chromedp.CSS("h1")))
	require.Equal(t, severalUID, w.Text("h1"))
	w.Script("history.back()")
	w.Until("document.querySelector('h1')?.innerText === '" + sampleUID + "'")
	w.Until("document.querySelector('#q').value === '" + sampleUID + "'")
	w.Script("history.forward()")
	w.Until("document.querySelector('h1')?.innerText === '" + severalUID + "'")
	w.Click(".brand")
	w.shows("home")
	require.Equal(t, "Orderhub", w.eval("document.title"))
}

func anOpenOrderFollowsItsChanges(w *window) {
	at := time.Date(2024, 5, 1, 1, 0, 0, 0, time.UTC)
	happened := func(e page.Event) {
		w.orders.change(func(s *shownOrders) {
			s.past = map[string][]page.Event{sampleUID: append([]page.Event{e}, s.past[sampleUID]...)}
		})
	}
	happened(page.Event{At: at, What: "Received"})
	w.withoutLooks()
	w.open("/?uid=" + sampleUID)
	w.Until("document.querySelector('.timeline').innerText === 'Received 1 May 2024, 10:00'")
	happened(page.Event{At: at.Add(time.Hour), What: "Changed", Changes: []page.Change{{Path: "delivery", Before: hostileText, After: "null"}}})
	changed := sampleOrder(sampleUID, time.Now())
	changed.Delivery = nil
	w.orders.add(changed)
	w.Until("document.querySelector('#people').innerText.includes('No delivery is stored for this order.')")
	require.Regexp(w.t, `^Changed 1 May 2024, 11:00\s+delivery .*onerror.* null\s+Received`, w.Text(".timeline"))
	happened(page.Event{At: at.Add(2 * time.Hour), What: "Deleted"})
	w.orders.remove(sampleUID)
	w.shows("missing")
	require.Regexp(w.t, `^Deleted 1 May 2024, 12:00\s+Changed`, w.Text(".timeline"))
	require.False(w.t, w.is("'hacked' in window"))
}

func jsonIsOneKeyAway(w *window) {
	t := w.t
	w.open("/?uid=" + severalUID)
	require.False(t, w.is("document.querySelector('#json').checkVisibility()"))
	w.Press("j")
	w.Until("document.querySelector('#json').checkVisibility() && !document.querySelector('#people').checkVisibility()")
	require.Equal(t, "?uid="+severalUID+"&view=json", w.eval("location.search"))
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, []byte(w.Text("#json code"))))
	require.Equal(t, string(w.orders.byUID[severalUID]), compact.String(), "the canonical JSON but for white space")
	w.Picture("json-light")
	w.Do(chromedp.Reload(), chromedp.WaitReady(chromedp.CSS("h1")))
	require.True(t, w.is("document.querySelector('#json').checkVisibility()"), "the view survives a reload")
	w.Click("[data-view=people]")
	w.Until("document.querySelector('#people').checkVisibility()")
	w.Press("?")
	w.Until("document.querySelector('dialog.keys').open")
	require.Contains(t, w.Text("dialog.keys"), "The order as JSON, and back")
	w.Picture("keys-light")
	w.Press("j")
	require.False(t, w.is("document.querySelector('#json').checkVisibility()"), "the dialog is before it")
}

func keysCanBeTurnedOff(w *window) {
	t := w.t
	w.open("/?uid=" + severalUID)
	w.Click("[data-open-keys]")
	w.Click("dialog.keys input")
	w.Press(kb.Escape)
	w.Until("!document.querySelector('dialog.keys').open")
	w.Press("j")
	require.False(t, w.is("document.querySelector('#json').checkVisibility()"))
	w.Do(chromedp.Reload(), chromedp.WaitReady(chromedp.CSS("h1")))
	w.Press("j")
	require.False(t, w.is("document.querySelector('#json').checkVisibility()"), "it is remembered")
	w.Click("[data-open-keys]")
	w.Click("dialog.keys input")
	w.Click("dialog.keys button")
	w.Until("!document.querySelector('dialog.keys').open")
	w.Press("j")
	w.Until("document.querySelector('#json').checkVisibility()")
}

func keyboardAlone(w *window) {
	t := w.t
	w.open("/")
	w.Press(kb.Tab)
	require.Equal(t, "Skip to the content", w.eval("document.activeElement.innerText"))
	w.Key("/")
	require.Equal(t, "q", w.eval("document.activeElement.id"))
	require.Empty(t, w.eval("document.activeElement.value"), "the key itself isn't typed")
	w.Press("7c1e")
	w.Until("document.querySelectorAll('#suggestions li').length === 1")
	w.Press(kb.ArrowDown)
	w.Key("Enter")
	w.Until("document.querySelector('h1').innerText === '" + severalUID + "'")
	w.Until("document.activeElement.tagName === 'H1'")
	require.Empty(t, w.Unreached(80), "an order")

	w.Press("n")
	w.Until("document.querySelector('h1').innerText === 'Newest orders'")
	w.Press("f")
	w.Until("document.activeElement.id === 'filter-customer_id'")
	require.Empty(t, w.Unreached(80), "a list with its filters")
	w.Do(chromedp.Focus(chromedp.CSS("#filter-customer_id")))
	w.Press(severalCustomer + kb.Enter)
	w.Until("document.querySelector('h1').innerText === 'Orders of customer " + severalCustomer + "'")
	w.Until("document.activeElement.tagName === 'H1'")
	w.Do(chromedp.Focus(chromedp.CSS("#newest a[href='/?uid=" + severalUID + "']")))
	w.Press(kb.Enter)
	w.Until("document.querySelector('h1').innerText === '" + severalUID + "'")
	w.Press("j")
	w.Until("document.querySelector('#json').checkVisibility()")
}

func copyAndShare(w *window) {
	t := w.t
	w.open("/?uid=" + sampleUID)
	w.Script(`window.copied = []; navigator.clipboard.writeText = async (text) => { copied.push(text) };
		navigator.share = async (what) => { copied.push(what.url) };
		document.querySelector('[data-share]').hidden = false; undefined`)
	for i, button := range []chromedp.CSS{"[data-copy]", "[data-copy-link]", "[data-copy-json]", "[data-share]"} {
		w.Click(button)
		w.Until("copied.length === " + string(rune('1'+i)))
	}
	copied := browser.Eval[[]string](w.Window, "copied")
	link := w.server.URL + "/?uid=" + sampleUID
	require.Equal(t, []string{sampleUID, link}, copied[:2])
	require.JSONEq(t, string(w.orders.byUID[sampleUID]), copied[2])
	require.Equal(t, link, copied[3])
	require.Equal(t, "Copied", w.Text("[data-copy]"))
	w.Press("jc")
	w.Until("copied.length === 5")
	w.Visit(w.eval("copied[4]"), "#newest")
	require.Equal(t, sampleUID, w.Text("h1"), "the link shows what was shown")
	require.True(t, w.is("document.querySelector('#json').checkVisibility()"))
}

func timesInTheBrowsersZone(w *window) {
	t := w.t
	w.open("/?uid=" + sampleUID)
	w.Until("document.querySelector('.head time').innerText === '26 Nov 2021, 15:22'") // 06:22 UTC in Tokyo
	title := w.eval("document.querySelector('.head time').title")
	require.Contains(t, title, "15:22:19")
	require.Contains(t, title, "06:22:19 UTC")
	require.Contains(t, w.Text(".head"), "years ago")
	require.Contains(t, w.Text("#newest li:nth-child(2) time"), "minutes ago")
}
