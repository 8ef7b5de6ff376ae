package integration_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/browser"
)

func suggestionsWhileTyping(w *window) {
	t := w.t
	w.open("/")
	require.Equal(t, "combobox", w.eval("document.querySelector('#q').getAttribute('role')"))
	w.Type("#q", "b563feb7b")
	w.Until("document.querySelectorAll('#suggestions li').length === 1")
	require.Equal(t, "true", w.eval("document.querySelector('#q').ariaExpanded"))
	require.Equal(t, "1 suggestion.", w.Text("#announcement"))
	w.Type("#q", "c")
	w.Until("document.querySelectorAll('#suggestions li').length > 3")
	all := browser.Eval[[]string](w.Window, "[...document.querySelectorAll('#suggestions .code')].map((e) => e.innerText)")
	w.Picture("suggestions-light")

	w.Press(kb.ArrowDown + kb.ArrowDown)
	require.Equal(t, all[1], w.eval("document.getElementById(document.querySelector('#q').getAttribute('aria-activedescendant')).querySelector('.code').innerText"))
	require.Equal(t, 1, browser.Eval[int](w.Window, "document.querySelectorAll('#suggestions [aria-selected=true]').length"))
	require.Equal(t, "q", w.eval("document.activeElement.id"), "the focus stays in the field")
	w.Press(kb.ArrowUp + kb.ArrowUp)
	require.Zero(t, browser.Eval[int](w.Window, "document.querySelectorAll('#suggestions [aria-selected=true]').length"), "back in the field")
	w.Press(kb.ArrowUp)
	require.Equal(t, all[len(all)-1], w.Text("#suggestions [aria-selected=true] .code"), "round about")
	w.Press(kb.Escape)
	require.True(t, w.is("document.querySelector('#suggestions').hidden && document.querySelector('#q').value === 'c'"))
	w.Press(kb.ArrowDown)
	w.Until("!document.querySelector('#suggestions').hidden")
	w.Press(kb.ArrowDown)
	w.Key("Enter")
	w.Until("document.querySelector('h1').innerText === '" + all[0] + "'")
	require.True(t, w.is("document.querySelector('#suggestions').hidden"))

	w.Type("#q", severalCustomer)
	w.Until("document.querySelector('#suggestions .kind')?.innerText === 'Customer · 2 orders'")
	w.Click("#suggestions li")
	w.Until("document.querySelector('h1').innerText === 'Orders of customer " + severalCustomer + "'")

	w.orders.change(func(s *shownOrders) { s.away = true })
	w.Type("#q", "b563")
	w.Until("performance.getEntriesByType('resource').some((e) => e.name.endsWith('/suggest?q=b563'))")
	require.True(t, w.is("document.querySelector('#suggestions').hidden"), "a help that isn't there says nothing")
	w.ForgetProblems()
}

func suggestionsAreText(w *window) {
	w.open("/")
	order := sampleOrder("hostile-customer", time.Now())
	order.CustomerID = hostileText
	w.orders.add(order)
	w.Type("#q", hostileText)
	w.Until("document.querySelector('#suggestions .code')?.innerText.includes('window.hacked')")
	require.Equal(w.t, "undefined", w.eval("typeof window.hacked"))
	w.Press(kb.ArrowDown)
	w.Key("Enter")
	w.Until("document.querySelector('h1').innerText === 'hostile-customer'")
	w.open("/")
	order = sampleOrder("hostile-customer-2", time.Now())
	order.CustomerID = hostileText
	w.orders.add(order)
	w.search(hostileText)
	w.Until("document.querySelector('h1').innerText.includes('window.hacked')")
	require.Equal(w.t, "undefined", w.eval("typeof window.hacked"))
	require.Zero(w.t, browser.Eval[int](w.Window, "document.querySelectorAll('main img, main script').length"))
}

func filtersLiveInTheAddress(w *window) {
	t := w.t
	w.open("/")
	w.Click(".filters summary")
	w.Type("#filter-currency", "EUR")
	w.Type("#filter-amount_from", "100")
	w.Script("document.querySelector('#filter-created_to').value = '2099-01-01T09:00'")
	w.Picture("filters-light")
	w.Click(".filter-form button")
	w.Until("document.querySelector('h1').innerText === 'Filtered orders'")
	require.Equal(t, "?currency=EUR&amount_from=100&created_to=2099-01-01T00%3A00%3A00.000Z", w.eval("location.search"), "the moment that was meant in Tokyo")
	rows := "[...document.querySelectorAll('#newest .sum')].every((e) => e.innerText.endsWith(' EUR') && parseFloat(e.innerText.replace(',', '')) >= 100)"
	require.True(t, w.is(rows))
	require.Contains(t, w.Text(".chips"), "1 Jan 2099, 09:00")
	w.Picture("filtered-light")

	w.Do(chromedp.Reload(), chromedp.WaitReady(chromedp.CSS("h1")))
	require.Equal(t, "Filtered orders", w.Text("h1"))
	require.True(t, w.is(rows))
	require.Equal(t, "2099-01-01T09:00", w.eval("document.querySelector('#filter-created_to').value"))
	w.Click("a[aria-label='Remove the filter: Amount from']")
	w.Until("!location.search.includes('amount') && document.querySelectorAll('.chips .chip').length === 2")
	w.Script("history.back()")
	w.Until("document.querySelectorAll('.chips .chip').length === 3")
	w.Script("history.back()")
	w.Until("document.querySelector('h1').innerText === 'Newest orders'")
	w.Script("history.forward()")
	w.Until("document.querySelectorAll('.chips .chip').length === 3")

	w.Click(".filters summary")
	w.Type("#filter-amount_from", "much"+kb.Enter)
	w.shows("refused")
	require.Contains(t, w.Text("#result"), "“much” is no amount")
	w.Picture("refused-light")
	w.Type("#filter-amount_from", "99999999"+kb.Enter)
	w.shows("home")
	require.Contains(t, w.Text("#newest"), "No order matches.")
	w.Picture("nothing-light")
}

func aDownloadShowsItsProgress(w *window) {
	t := w.t
	w.open("/")
	w.Script("const make = URL.createObjectURL; URL.createObjectURL = (file) => { file.text().then((text) => { window.saved = text; }); return make(file); };" +
		"HTMLAnchorElement.prototype.click = function () { window.named = this.download; }; undefined")
	w.Click("a[data-export][href*=ndjson]")
	w.Until("document.querySelector('#export').innerText.includes('1 order, 0.0 MB so far.')")
	w.Picture("export-light")
	w.orders.export <- true
	w.Until("window.saved !== undefined")
	require.Equal(t, "{\"order_uid\":\"a\"}\n{\"order_uid\":\"b\"}\n", w.eval("window.saved"))
	require.Equal(t, "orders.ndjson", w.eval("window.named"))
	require.Equal(t, "2 orders, 0.0 MB: all have arrived.", w.Text("#announcement"))
	w.Click("#export button")
	require.True(t, w.is("document.querySelector('#export').hidden && window.saved !== undefined"))
	w.Script("window.saved = undefined")
	w.Click("a[data-export][href*=csv]")
	w.Until("document.querySelector('#export').innerText.includes('so far')")
	w.orders.export <- false
	w.Until("document.querySelector('#export').innerText.includes('broke off after 0 orders')")
	require.True(t, w.is("window.saved === undefined"))
}

func fillingInFiltersIsNotDisturbed(w *window) {
	t := w.t
	w.withoutLooks()
	w.open("/?customer_id=" + severalCustomer)
	w.streams("customer_id=" + severalCustomer)
	w.Click(".filters summary")
	w.Type("#filter-currency", "EU")
	for _, uid := range []string{"theirs-1", "theirs-2"} {
		order := sampleOrder(uid, time.Now())
		order.CustomerID = severalCustomer
		w.orders.add(order)
		w.Until("document.querySelector('#newest li .uid').innerText === '" + uid + "'")
	}
	require.Equal(t, "4 orders", w.Text(".list-head p"))
	w.Press("R")
	require.Equal(t, "EUR", w.eval("document.querySelector('#filter-currency').value"), "the focus is still there")
	w.Press(kb.Enter)
	w.Until("location.search === '?customer_id=" + severalCustomer + "&currency=EUR' && document.querySelectorAll('.chips .chip').length === 2")
}

func pagesOfAList(w *window) {
	t := w.t
	for i := range 40 {
		w.orders.add(sampleOrder(fmt.Sprintf("paged-%02d", i), time.Now()))
	}
	w.open("/")
	shown := func() []string {
		return browser.Eval[[]string](w.Window, "[...document.querySelectorAll('#newest .uid')].map((e) => e.innerText)")
	}
	first := shown()
	require.Len(t, first, 25)
	require.Equal(t, "paged-39", first[0])
	w.Click("a[rel=next]")
	w.Until("document.querySelector('h1').innerText === 'Older orders'")
	require.Equal(t, "paged-14", shown()[0], "goes on where the first ended")
	require.True(t, w.is("document.querySelector('[data-live]') === null"), "what is older stands still")
	require.Equal(t, "?cursor=25", w.eval("location.search"))
	w.Picture("older-light")
	w.Click("a[rel=next]")
	w.Until("location.search === '?cursor=50' && !document.querySelector('main').hasAttribute('aria-busy')")
	require.Len(t, shown(), 3)
	require.True(t, w.is("document.querySelector('a[rel=next]') === null"))
	w.Script("history.back()")
	w.Until("document.querySelector('#newest .uid').innerText === 'paged-14'")
	w.Do(chromedp.Reload(), chromedp.WaitReady(chromedp.CSS("h1")))
	require.Equal(t, "paged-14", shown()[0])
	w.Click("a[rel=first]")
	w.Until("document.querySelector('#newest .uid').innerText === 'paged-39'")
	require.Equal(t, first, shown())

	w.open("/?cursor=made-up")
	require.Contains(t, w.Text("#result"), "This page of the list can’t be found")
	w.Click("#result a[href='/']")
	w.Until("document.querySelector('#newest .uid').innerText === 'paged-39'")
}

// streams waits until the page follows what it should.
func (w *window) streams(queries ...string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		return slices.Equal(w.orders.changes.open(), queries)
	}, browser.StepTime, time.Millisecond, "streams that are open: %q", queries)
}

func newestOrdersAppearByThemselves(w *window) {
	t := w.t
	w.withoutLooks()
	w.open("/")
	w.streams("")
	require.Equal(t, 13, browser.Eval[int](w.Window, "document.querySelectorAll('#newest li').length"))
	w.Do(chromedp.Focus(chromedp.CSS(`#newest a[href="/?uid=` + severalUID + `"]`)))
	w.orders.add(sampleOrder("just-arrived", time.Now()))
	w.Until("document.querySelector('#newest li .uid').innerText === 'just-arrived'")
	require.True(t, w.is("document.querySelector('#newest li').classList.contains('fresh')"))
	require.Equal(t, "/?uid="+severalUID, w.eval("document.activeElement.getAttribute('href')"), "the focus stays on its order")
	require.Equal(t, "just now", w.Text("#newest li time"))
	w.orders.remove("just-arrived")
	w.Until("document.querySelector('#newest li .uid').innerText !== 'just-arrived'")

	w.Click("[data-live]")
	require.Equal(t, "Paused", w.Text("[data-live]"))
	w.streams()
	w.orders.add(sampleOrder("while-paused", time.Now()))
	w.Press("p")
	w.Until("document.querySelector('#newest li .uid').innerText === 'while-paused'")
	w.Until("document.querySelector('[data-live]').innerText === 'Live'")
	w.streams("")
}

func aFilteredListIsLiveToo(w *window) {
	w.withoutLooks()
	w.open("/?customer_id=" + severalCustomer)
	w.streams("customer_id=" + severalCustomer)
	order := sampleOrder("theirs", time.Now())
	order.CustomerID = severalCustomer
	w.orders.add(order)
	w.Until("document.querySelector('#newest li .uid').innerText === 'theirs'")
	w.Press("n")
	w.Until("document.querySelector('h1').innerText === 'Newest orders'")
	w.streams("")
}

func manyChangesAreAskedForSeldom(w *window) {
	w.withoutLooks()
	w.open("/")
	w.streams("")
	const many = 1000
	w.Script("window.asked = 0; const real = fetch; window.fetch = (...how) => { asked++; return real(...how); }; undefined")
	for i := range many {
		w.orders.add(sampleOrder(fmt.Sprintf("burst-%d", i), time.Now()))
	}
	w.Until(fmt.Sprintf("document.querySelector('#newest li .uid').innerText === 'burst-%d'", many-1))
	require.Less(w.t, browser.Eval[int](w.Window, "asked"), many/20)
}

func nothingIsFollowedThatNobodySees(w *window) {
	t := w.t
	w.withoutLooks()
	w.open("/?uid=" + severalUID)
	w.streams("")
	w.hide(true)
	w.streams()
	before, _ := w.orders.changes.count()
	w.orders.add(sampleOrder("unseen", time.Now()))
	w.hide(false)
	w.streams("")
	w.Until("document.querySelector('#newest li .uid').innerText === 'unseen'")
	for range 5 {
		w.hide(true)
		w.hide(false)
	}
	w.streams("")
	w.Click("#newest a")
	w.Until("document.querySelector('h1').innerText === 'unseen'")
	w.streams("")
	opened, _ := w.orders.changes.count()
	require.LessOrEqual(t, opened, before+6, "another order is followed by the same stream")
	w.Script("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })); undefined")
	w.streams()
	w.Script("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })); undefined")
	w.streams("")
}

func theStreamIsTakenUpAgain(w *window) {
	w.withoutLooks()
	w.open("/")
	w.streams("")

	// A service that stops, and one that has too many streams.
	w.orders.changes.cut(true)
	w.Until("document.querySelector('[data-live]').innerText === 'Trying again'")
	require.Eventually(w.t, func() bool {
		_, refused := w.orders.changes.count()
		return refused > 0
	}, browser.StepTime, time.Millisecond)
	w.orders.add(sampleOrder("while-away", time.Now()))
	w.orders.changes.cut(false)
	w.Until("document.querySelector('#newest li .uid').innerText === 'while-away'")
	w.streams("")
	w.Until("document.querySelector('[data-live]').innerText === 'Live'")

	// What changed can't be told.
	w.orders.change(func(s *shownOrders) { s.list = nil })
	w.orders.changes.tell("reset", `{"reason":"a table was truncated"}`)
	w.Until("document.querySelector('#newest').innerText.includes('No orders are stored yet.')")
	w.ForgetProblems()
}
