package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/devstack/browser"
	"github.com/orderhub/orderhub/services/orderctl/internal/console"
)

// windowOn opens a window on a console, in which somebody has signed in.
func windowOn(t *testing.T, c *consoleWorld) *browser.Window {
	t.Helper()
	// A page that says what is wrong has a status that says so too.
	w := browser.Open(browser.ForTest(t), t, func(p browser.Problem) bool {
		return p.Source == "network" && strings.Contains(p.Text, "the server responded with a status of 4") && !strings.Contains(p.URL, "/assets/")
	})
	w.Visit(c.server.URL+"/login?to=/", "#token")
	w.Type("#actor", "Ann Lee")
	w.Type("#token", consoleToken)
	w.Click(".confirm button[type=submit]")
	arrive(w, ".nav form button")
	return w
}

// arrive waits for another page, by an element that the one before has not.
func arrive(w *browser.Window, selector chromedp.CSS) {
	w.Do(chromedp.WaitReady(selector))
}

// populate fills a console with letters as a bad day leaves them.
func populate(t *testing.T, w *world) {
	t.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	uid := func() string { return fmt.Sprintf("%016x-eu", random.Uint64()) }
	// Letters of a cause came over some time until some time ago; those of a
	// burst mostly at its end.
	add := func(n int, until, over time.Duration, burst bool, value func(string) []byte) {
		for range n {
			id, at := uid(), random.Float64()
			if burst {
				at *= at
			}
			w.failing(int32(random.IntN(partitions)), id, value(id), until+time.Duration(float64(over)*at))
		}
	}
	add(64, 90*time.Minute, 7*time.Hour, true, func(id string) []byte { return sampleOrder(t, id, "email", `"n/a"`) })
	add(38, time.Minute, 60*time.Hour, false, func(id string) []byte { return sampleOrder(t, id, "currency", `"EURO"`) })
	add(17, 5*time.Minute, 3*time.Hour, false, func(id string) []byte {
		return []byte(strings.Replace(string(sampleOrder(t, id)), `"delivery":`, `"delivery"`, 1))
	})
	add(9, 4*time.Hour, 90*time.Hour, false, func(id string) []byte { return sampleOrder(t, id, "price", `"453"`) })
	add(6, 10*time.Minute, 14*time.Hour, false, func(id string) []byte { return sampleOrder(t, id) })
	add(2, 30*time.Hour, time.Hour, false, func(string) []byte { return []byte("  \"order_uid\": \"b563feb7b2b84b6test\",") })
}

// beyond lists what reaches beyond the window's right edge, but for a value's
// lines, which scroll within their box, and for what is cut off in a row.
func beyond(w *browser.Window) string {
	return browser.Eval[string](w, `(() => {
		const width = document.documentElement.clientWidth;
		const wide = [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.closest('.unseen, .code-box > *, .why > *, .key > *') && e.getBoundingClientRect().right > width + 1);
		const all = wide.map((e) => e.outerHTML.slice(0, 200));
		if (document.documentElement.scrollWidth > width) all.unshift('the page is ' + document.documentElement.scrollWidth + ' pixels wide');
		return all.join('\n');
	})()`)
}

// page is a page that all looks are for, and an element that it has.
type page struct {
	name, address string
	ready         chromedp.CSS
}

// at is the page's whole address; that of another console is whole already.
func (p page) at(c *consoleWorld) string {
	if strings.HasPrefix(p.address, "/") {
		return c.server.URL + p.address
	}
	return p.address
}

// looks gives a console with something on each of its pages.
func looks(t *testing.T) (*consoleWorld, *browser.Window, []page) {
	t.Helper()
	withDatabase(t)
	c := newConsole(t, func(o *console.Options) { o.Orders = storedOrders(t) })
	populate(t, c.world)
	const uid = "b563feb7b2b84b6test"
	conflict := c.failing(1, uid, sampleOrder(t, uid, "amount", "1999", "city", `"Haifa"`), 20*time.Minute)
	broken := c.failing(2, "broken", []byte(strings.Replace(string(sampleOrder(t, "broken")), `"delivery":`, `"delivery"`, 1)), 25*time.Minute)
	binary := c.failing(2, "binary", []byte("\x00\x01orders\xff\xfe\x02\x03\x04\x80\x81\x82"), 25*time.Minute)
	bad := c.failing(2, "9f86d081884c7d65-eu", sampleOrder(t, "9f86d081884c7d65-eu", "email", `"n/a"`, "currency", `"EURO"`), 5*time.Minute)
	w := windowOn(t, c)
	w.Until(`document.querySelectorAll('#causes [data-row]').length >= 6`)
	p := c.signedIn()
	_, _ = p.send("/jobs", url.Values{"kind": {"discard"}, "why": {"tests of the shop"}, "match": {"reason=pretty_printed"}, "job": {"DISCARD"}})
	_, _ = p.send("/jobs/dry-run", url.Values{"kind": {"dry-run"}, "match": {"reason=conflict"}, "job": {"TRY"}})
	_, _ = p.send("/letter/reveal", url.Values{"id": {bad}})
	return c, w, []page{
		{"overview", "/", "#causes"},
		{"overview-14d", "/?span=14d&status=any", "#causes"},
		{"letters", "/letters?reason=invalid", "#rows"},
		{"letters-none", "/letters?q=nosuch", "#rows"},
		{"letter", letterPath(bad), ".lines"},
		{"letter-broken", letterPath(broken), ".lines"},
		{"letter-binary", letterPath(binary), ".lines"},
		{"letter-conflict", letterPath(conflict), ".differences"},
		{"confirm", "/confirm?kind=redrive&match=reason%3Dinvalid", ".confirm"},
		{"job", "/jobs/DISCARD", "#job"},
		{"job-dry-run", "/jobs/TRY", "#job"},
		{"jobs", "/jobs", ".jobs"},
		{"audit", "/audit", ".audit"},
		{"refused", letterPath("orders/9/9/99999999"), ".message"},
		{"login", "/login", ".confirm"},
		{"login-issuer", withIssuer(t, c.world).server.URL + "/login", ".confirm a.button"},
	}
}

func TestConsoleLooks(t *testing.T) {
	c, w, pages := looks(t)
	for _, scheme := range []string{"light", "dark"} {
		w.Scheme(scheme)
		for _, page := range pages {
			w.Visit(page.at(c), page.ready)
			require.Empty(t, w.LowContrast(), "%s, %s", page.name, scheme)
			require.Empty(t, beyond(w), "%s, %s", page.name, scheme)
			w.Picture(page.name + "-" + scheme)
		}
	}
	w.Scheme("light")
	t.Run("axe", func(t *testing.T) {
		axe := browser.AxeForTest(t)
		for _, page := range pages {
			w.Visit(page.at(c), page.ready)
			axe.Check(w, page.name)
		}
		w.Visit(c.server.URL+pages[4].address, ".lines")
		w.Click(`form[action="/edit"] button`)
		arrive(w, "#verdict")
		axe.Check(w, "edit")
	})
	w.Phone()
	for _, page := range pages {
		w.Visit(page.at(c), page.ready)
		require.Empty(t, beyond(w), "%s on a phone", page.name)
		w.Picture(page.name + "-phone")
	}
}

func TestConsoleKeyboard(t *testing.T) {
	c := newConsole(t, nil)
	c.letters(2)
	w := windowOn(t, c)
	w.Until(`document.querySelectorAll('#causes [data-row]').length === 1`)
	require.Empty(t, w.Unreached(60))
	w.Press("l")
	arrive(w, "#rows")
	w.Until(`document.querySelectorAll('#rows [data-row]').length === 6`)
	require.Empty(t, w.Unreached(80))
	w.Script("document.activeElement.blur()")
	w.Press("j")
	w.Press("j")
	w.Press("x")
	require.Equal(t, 1, browser.Eval[int](w, `document.querySelectorAll('#rows li:nth-child(2) input:checked').length`))
	require.Contains(t, w.Text(".act"), "1 of them chosen.")
	require.Contains(t, w.Text(".act"), "Discard 1")
	w.Press("/")
	require.Equal(t, "q", browser.Eval[string](w, "document.activeElement.id"))
	w.Type("#q", "uid-2-1\r")
	arrive(w, "#rows li:only-child")
	w.Until(`document.querySelectorAll('#rows [data-row]').length === 1`)
	w.Script("document.activeElement.blur()")
	w.Press("j")
	w.Press("\r")
	arrive(w, "#value-title")
	require.Empty(t, w.Unreached(60))
	w.Press("?")
	w.Until(`document.querySelector('dialog.keys').open`)
}

// New letters appear by themselves; what somebody has chosen meanwhile stays.
func TestConsoleListIsLive(t *testing.T) {
	c := newConsole(t, nil)
	c.letters(2)
	w := windowOn(t, c)
	w.Visit(c.server.URL+"/letters", "#rows")
	w.Until(`document.querySelectorAll('#rows [data-row]').length === 6`)
	w.Click("#rows li:nth-child(2) input")
	chosen := browser.Eval[string](w, `document.querySelector('#rows input:checked').value`)
	fresh := c.failing(0, "fresh", []byte("no order"), 0)
	w.Until(`document.querySelectorAll('#rows [data-row]').length === 7`)
	require.Contains(t, w.Text("#rows li:first-child"), fresh)
	require.Equal(t, []string{chosen}, browser.Eval[[]string](w, `[...document.querySelectorAll('#rows input:checked')].map((box) => box.value)`))
	require.Contains(t, w.Text("#count"), "7 letters")

	w.Click("[data-live-switch]")
	require.Equal(t, "Paused", w.Text("[data-live-switch]"))
	c.failing(0, "later", []byte("no order"), 0)
	c.person().page("/letters", "8 letters")
	require.Contains(t, w.Text("#count"), "7 letters")
	w.Click("[data-live-switch]")
	w.Until(`document.querySelectorAll('#rows [data-row]').length === 8`)
}

// A whole group is redriven as a job that goes on through a reload, can be
// stopped, and be undone.
func TestConsoleJobInABrowser(t *testing.T) {
	c := newConsole(t, nil)
	c.letters(20)
	w := windowOn(t, c)
	w.Until(`document.querySelectorAll('#causes [data-row]').length === 1`)
	w.Click(`.causes a[href*="kind=redrive"]`)
	arrive(w, ".confirm")
	w.Until(`document.querySelector('.confirm h1').innerText === 'Redrive 60 letters?'`)
	w.Type("#rate", "10")
	w.Type("#why", "the shop mended it")
	w.Click(".confirm button[type=submit]")
	arrive(w, "#job")
	w.Until(`document.querySelector('#job[data-over=false] progress').value > 3`)
	address := browser.Eval[string](w, "location.pathname")
	require.Regexp(t, `^/jobs/[A-Z0-9]+$`, address)
	before := browser.Eval[int](w, "document.querySelector('#job progress').value")
	w.Visit(c.server.URL+address, "#job")
	require.GreaterOrEqual(t, browser.Eval[int](w, "document.querySelector('#job progress').value"), before)
	w.Until(fmt.Sprintf("document.querySelector('#job progress').value > %d", before+2))
	w.Click(`button[form=stop]`)
	arrive(w, "#job[data-over=true]")
	w.Until(`document.querySelector('#job').dataset.over === 'true'`)
	require.Contains(t, strings.ToLower(w.Text("#job")), "not come to")
	sent := browser.Eval[int](w, "document.querySelector('#job progress').value")
	require.Len(t, c.refs(letter.Resolved), sent, "what was sent is written down")
	w.Click(`#job-do a[href*="kind=undo"]`)
	arrive(w, ".confirm")
	w.Until(fmt.Sprintf(`document.querySelector('.confirm h1').innerText === 'Open again %d letters?'`, sent))
	w.Click(".confirm button[type=submit]")
	arrive(w, "#job[data-over=true]")
	require.Empty(t, c.refs(letter.Resolved))
}

// An edited value is validated while it is typed.
func TestConsoleEditorInABrowser(t *testing.T) {
	c := newConsole(t, nil)
	id := c.failing(0, "e", sampleOrder(t, "e", "locale", `"english"`), time.Hour)
	c.person().page("/letters", "1 letter<")
	w := windowOn(t, c)
	w.Visit(c.server.URL+letterPath(id), ".lines")
	w.Click(`form[action="/edit"] button`)
	arrive(w, "#verdict")
	require.Equal(t, "1 failure.", w.Text("#verdict"))
	w.Script(`document.getElementById('value').value = document.getElementById('value').value.replace('"english"', '"en')`)
	w.Script(`document.getElementById('value').focus(); document.getElementById('value').setSelectionRange(1e6, 1e6)`)
	w.Press(" ")
	w.Until(`document.querySelector('#failures').innerText.includes('not_json')`)
	w.Picture("edit-broken")
	w.Script(`document.getElementById('value').value = document.getElementById('value').value.replace('"en,', '"en",')`)
	w.Script(`document.getElementById('value').setSelectionRange(1e6, 1e6)`)
	w.Press(" ")
	w.Until(`document.getElementById('verdict').className === 'valid'`)
	require.Contains(t, w.Text("#changed"), `locale: "english" → "en"`)
	w.Picture("edit-valid")
	w.Type("#why", "locale mended")
	w.Click(`button[value=send]`)
	arrive(w, "#done .good")
	require.Contains(t, w.Text("#done"), "Redriven by Ann Lee")
	require.Empty(t, c.refs(letter.Open))
}

// hostile are texts that were written to become more than text.
var hostile = []string{
	`<script>window.hacked = 1</script>`,
	`"><img src=x onerror="window.hacked = 1">`,
	`'; window.hacked = 1; //`,
	`</textarea></title></style></script><svg onload="window.hacked = 1">`,
	`javascript:window.hacked=1`,
	"{{.Session.CSRF}} ${window.hacked = 1}",
	"\u202Egnp.exe\u2066 \u200B\u00AD\uFEFF",
	"\x1b[31mred\x1b[0m\r\n\x00",
	strings.Repeat("W", 5000),
	strings.Repeat("ﷺ", 200) + strings.Repeat("Z\u0353\u0354\u0355", 50),
	"\xff\xfe\xc0\xaf",
}

// Whatever a letter holds, wherever it holds it, is shown as text.
func TestConsoleShowsHostileLettersAsText(t *testing.T) {
	c := newConsole(t, nil)
	var ids []string
	for i, text := range hostile {
		asJSON, err := json.Marshal(text)
		require.NoError(t, err)
		value := []byte(fmt.Sprintf(`{"order_uid": %s, "%d": [%s], "locale": %s}`, asJSON, i, asJSON, asJSON))
		cause := deadletter.Cause{Reason: text, Stage: deadletter.Stage(text), Errors: []model.FieldError{{Path: text, Rule: text, Message: text}, {Path: "locale", Rule: "bcp47", Message: text}}}
		ids = append(ids, c.failingFor(0, text, value, cause, time.Minute), c.failingFor(1, text, []byte(text), cause, time.Minute))
		// Somebody wrote all headers and the key by hand.
		r := &kgo.Record{Topic: dlqTopic, Partition: 2, Key: []byte(text), Value: []byte(text)}
		for _, name := range []string{"dlq-reason", "dlq-stage", "dlq-errors", "dlq-source-topic", "dlq-source-key", "dlq-consumer-group", "dlq-origin", "dlq-redrive-count", text} {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: strings.ToValidUTF8(name, "?"), Value: []byte(text)})
		}
		c.produce(r)
		ids = append(ids, text)
	}
	c.produce(&kgo.Record{Topic: dlqTopic, Partition: 0, Key: []byte("deep"), Value: []byte(strings.Repeat("[", 9000) + strings.Repeat("]", 9000))},
		&kgo.Record{Topic: dlqTopic, Partition: 0, Key: []byte("lines"), Value: []byte("[" + strings.Repeat("1,\n", 100_000) + "1]")})
	c.person().page("/letters", fmt.Sprintf("%d letters", len(ids)+2))
	snap := c.scan()
	items, err := c.store.Load(t.Context(), snap.Select(letter.Any, 0))
	require.NoError(t, err)
	w := windowOn(t, c)
	addresses := []string{"/", "/letters", "/letters?status=any&q=" + url.QueryEscape(hostile[1]), "/letters?reason=" + url.QueryEscape(hostile[0]), "/letter?id=" + url.QueryEscape(hostile[1]),
		"/confirm?kind=redrive&match=" + url.QueryEscape("reason="+url.QueryEscape(hostile[0])) + "&back=" + url.QueryEscape("javascript:window.hacked=1")}
	for _, item := range items {
		addresses = append(addresses, fmt.Sprintf("/letter?id=%s&at=%d.%d", url.QueryEscape(item.ID), item.Ref.Place.Partition, item.Ref.Place.Offset))
	}
	for i, address := range addresses {
		w.Visit(c.server.URL+address, "footer")
		require.False(t, browser.Eval[bool](w, "'hacked' in window"), address)
		require.Empty(t, beyond(w), address)
		require.Zero(t, browser.Eval[int](w, `document.querySelectorAll('main script, main img, main [onerror], main [onload], main a[href^="javascript"], main svg[onload]').length`), address)
		if i < 2 {
			w.Picture(fmt.Sprintf("hostile-%d", i))
		}
	}
	p := c.signedIn()
	for _, item := range items[:12] {
		_, body := p.send("/letter/reveal", url.Values{"id": {item.ID}, "at": {fmt.Sprintf("%d.%d", item.Ref.Place.Partition, item.Ref.Place.Offset)}})
		require.NotContains(t, body, "<script>window")
		require.NotContains(t, body, "<img src=x")
	}
	w.Phone()
	for _, address := range addresses[:8] {
		w.Visit(c.server.URL+address, "footer")
		require.Empty(t, beyond(w), "on a phone: %s", address)
	}
	w.Visit(c.server.URL+addresses[6], "footer")
	w.Picture("hostile-phone")
}
