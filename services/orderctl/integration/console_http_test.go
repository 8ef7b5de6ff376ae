package integration

import (
	"bytes"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/console"
)

func letterPath(id string) string { return "/letter?id=" + url.QueryEscape(id) }

var tags = regexp.MustCompile(`<[^>]*>`)

// shown is what a person reads of a page.
func shown(body string) string {
	return strings.Join(strings.Fields(html.UnescapeString(tags.ReplaceAllString(body, " "))), " ")
}

func TestConsoleGroupsLettersByCause(t *testing.T) {
	c := newConsole(t, nil)
	for i := range 3 {
		c.failing(0, fmt.Sprint("a", i), sampleOrder(t, fmt.Sprint("a", i), "email", `"nobody"`), time.Hour)
	}
	c.failing(1, "old", sampleOrder(t, "old", "currency", `"EURO"`), 50*time.Hour)
	c.failing(1, "old2", sampleOrder(t, "old2", "currency", `"EURO"`), time.Hour)
	c.failing(2, "broken", []byte(`{"order_uid": nope}`), time.Minute)
	p := c.person()
	text := shown(p.page("/", `data-key="3"`))
	require.Contains(t, text, "6 letters wait 5 new since yesterday")
	require.Regexp(t, `email delivery\.email invalid new must be .* 3 Sample`, text)
	require.Regexp(t, `payment\.currency .* \+1 since yesterday`, text)
	require.Contains(t, text, "not_json")

	// It is live: what happens elsewhere is seen without asking for it.
	snap := c.scan()
	require.NoError(t, c.store.Discard(t.Context(), snap, snap.Select(letter.Open, 1), by, nobody))
	require.Contains(t, shown(p.page("/", "letters wait")), "Causes")
	require.Contains(t, shown(p.page("/?status=resolved", "not_json")), "1 letter is resolved")
	require.NotContains(t, p.page("/", `data-key="3"`), "not_json")

	// A cause leads to its letters, and to them alone.
	link := regexp.MustCompile(`href="(/letters\?[^"]*payment\.currency[^"]*)"`).FindStringSubmatch(p.page("/", "payment.currency"))
	require.NotNil(t, link)
	_, list := p.get(html.UnescapeString(link[1]))
	require.Contains(t, shown(list), "2 letters")
	require.NotContains(t, list, "delivery.email")
}

func TestConsoleListPages(t *testing.T) {
	c := newConsole(t, nil)
	c.letters(85) // in each of three partitions
	p := c.person()
	first := p.page("/letters", "255 letters")
	require.Equal(t, 100, strings.Count(first, "data-row="))
	require.NotContains(t, first, "Newer")
	older := regexp.MustCompile(`class="button older" href="([^"]+)"`).FindStringSubmatch(first)
	_, second := p.get(html.UnescapeString(older[1]))
	require.Contains(t, second, "101 to 200 of 255")
	older = regexp.MustCompile(`class="button older" href="([^"]+)"`).FindStringSubmatch(second)
	_, third := p.get(html.UnescapeString(older[1]))
	require.Equal(t, 55, strings.Count(third, "data-row="))
	require.Contains(t, third, "Newer")
	require.NotContains(t, third, "Older")

	for filter, n := range map[string]int{
		"partition=1": 85, "offsets=0-9": 30, "key=uid-1-7": 1, "text=value+3+of+2": 1, "q=uid-2-5": 1, "reason=conflict": 0,
		"rule=bcp47&path=locale": 255, "rule=bcp47&path=-": 0, "since=2h": 0, "until=2h": 255, "status=resolved": 0, "stage=validate&partition=2&offsets=-3": 4,
	} {
		_, body := p.get("/letters?" + filter)
		word := "letters"
		if n == 1 {
			word = "letter"
		}
		require.Contains(t, shown(body), fmt.Sprintf("%d %s", n, word), filter)
	}
	status, body := p.get("/letters?offsets=x&partition=-1&since=soon&status=shut")
	require.Equal(t, http.StatusBadRequest, status)
	for _, field := range []string{"offsets:", "partition:", "since:", "status:"} {
		require.Contains(t, body, field)
	}
}

func TestConsoleSearch(t *testing.T) {
	c := newConsole(t, nil)
	id := c.failing(1, "", sampleOrder(t, "wanted-7", "locale", `"english"`), time.Hour)
	c.failing(1, "other", sampleOrder(t, "other"), time.Hour)
	p := c.person()
	p.page("/letters", "2 letters")
	_, body := p.get("/?q=wanted-7") // the read page's link
	require.Contains(t, body, html.EscapeString(id))
	require.Contains(t, shown(body), "1 letter ")
	_, body = p.get("/?q=nosuch")
	require.Contains(t, shown(body), "nosuch is in no dead letter")
	_, body = p.get("/?q=" + url.QueryEscape(id)) // an id leads to its letter
	require.Contains(t, shown(body), "Where it came from")
	_, body = p.get("/?q=" + url.QueryEscape(id[:strings.LastIndexByte(id, '/')]))
	require.Contains(t, shown(body), "Where it came from")
	status, body := p.get(letterPath("orders/0/999/00000000"))
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, shown(body), "This letter is not in the topic")
}

func TestConsoleMarksFailures(t *testing.T) {
	c := newConsole(t, nil)
	p := c.person()
	field := c.failing(0, "f", sampleOrder(t, "f", "email", `"nobody"`), time.Hour)
	broken := c.failing(0, "b", []byte(`{"order_uid": nope}`), time.Hour)
	binary := c.failing(0, "x", []byte{0, 1, 2, 0xff, 0xfe, 3, 4, 5, 0x80, 'a'}, time.Hour)
	body := p.page(letterPath(field), "Where it came from")
	require.Regexp(t, `<li class="wrong">.*email.*<code aria-hidden="true">\s+\^ </code>must be`, strings.ReplaceAll(body, "\n", ""))
	body = p.page(letterPath(broken), "Where it came from")
	require.Contains(t, body, `<code aria-hidden="true">              ^ </code>byte 14`)
	body = p.page(letterPath(binary), "Where it came from")
	require.Contains(t, shown(body), "The value is not text")
	require.Contains(t, body, "00 01 02 2a 2a 03", "what may be a character is masked")
}

func TestConsoleMasksAndAudits(t *testing.T) {
	c := newConsole(t, nil)
	id := c.failing(0, "f", sampleOrder(t, "f", "locale", `"english"`), time.Hour)
	nobody := c.person()
	body := nobody.page(letterPath(id), "Where it came from")
	require.NotContains(t, body, "Testov")
	require.NotContains(t, body, "+9720000000")
	status, _ := nobody.post("/letter/reveal", url.Values{"id": {id}})
	require.Equal(t, http.StatusUnauthorized, status)
	written, err := os.ReadFile(c.audit)
	require.NoError(t, err)
	require.NotContains(t, string(written), "reveal")

	p := c.signedIn()
	status, body = p.send("/letter/reveal", url.Values{"id": {id}})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "Test Testov")
	written, err = os.ReadFile(c.audit)
	require.NoError(t, err)
	require.Contains(t, string(written), `"action":"reveal","targets":["`+id+`"],"allowed":true,"actor":"ann","kind":"console-token","from":"127.0.0.1"`)
	_, body = nobody.get("/audit")
	require.Regexp(t, `ann reveal `+id, shown(body))

	// What can't be written down does not happen.
	require.NoError(t, os.Remove(c.audit))
	require.NoError(t, os.Mkdir(c.audit, 0o700))
	status, body = p.send("/letter/reveal", url.Values{"id": {id}})
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NotContains(t, body, "Testov")
	status, _ = p.send("/jobs", url.Values{"kind": {"discard"}, "why": {"w"}, "match": {"status=open"}})
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Len(t, c.refs(letter.Open), 1)
}

func TestConsoleDealsWithLetters(t *testing.T) {
	c := newConsole(t, nil)
	good := c.failing(0, "good", sampleOrder(t, "good"), time.Hour)
	c.failing(0, "bad", sampleOrder(t, "bad", "locale", `"english"`), time.Hour)
	c.failing(1, "bad2", sampleOrder(t, "bad2", "locale", `"english"`), time.Hour)
	p := c.signedIn()
	p.page("/", "letters wait")
	p.page("/letters", "3 letters")

	// A dry run of all tells which would pass, and needs nobody's name.
	status, body := c.person().post("/jobs/dry-run", url.Values{"kind": {"dry-run"}, "match": {""}})
	require.Equal(t, http.StatusOK, status)
	text := shown(body)
	require.Contains(t, text, "Tried out: 3 of 3")
	require.Contains(t, text, "would fail again 2")
	require.Contains(t, text, "valid, not compared 1")
	require.Len(t, c.refs(letter.Open), 3)
	job := regexp.MustCompile(`from=([A-Z0-9]+)`).FindStringSubmatch(body)[1]

	// Those that would pass are redriven, and no others.
	_, body = p.get("/confirm?kind=redrive&from=" + job)
	require.Contains(t, shown(body), "Redrive 1 letter?")
	status, body = p.send("/jobs", url.Values{"kind": {"redrive"}, "from": {job}, "why": {"mended"}, "job": {"ONE"}})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, shown(body), "Redriven: 1 of 1")
	require.Len(t, c.refs(letter.Open), 2)
	_, body = p.get(letterPath(good))
	require.Regexp(t, `Redriven by ann on .* as orders/0/\d+ : mended`, shown(body))
	require.Len(t, c.read(orders)[0], 3, "the copy")

	// The same form sent again does nothing again.
	_, body = p.send("/jobs", url.Values{"kind": {"redrive"}, "from": {job}, "why": {"mended"}, "job": {"ONE"}})
	require.Contains(t, shown(body), "Redriven: 1 of 1")
	require.Len(t, c.read(orders)[0], 3)

	// A group is discarded with a reason, and that is undone.
	match := url.Values{"kind": {"discard"}, "match": {"reason=invalid&path=locale"}}
	status, body = p.send("/jobs", match)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, shown(body), "Say why")
	match.Set("why", "tests of ours")
	match.Set("job", "TWO")
	_, body = p.send("/jobs", match)
	require.Contains(t, shown(body), "Discarded: 2 of 2")
	require.Empty(t, c.refs(letter.Open))
	_, body = p.get("/jobs/TWO") // after a reload it is there as well
	require.Contains(t, shown(body), "Discarded: 2 of 2")
	_, body = p.send("/jobs", url.Values{"kind": {"undo"}, "from": {"TWO"}})
	require.Contains(t, shown(body), "Opened again: 2 of 2")
	require.Len(t, c.refs(letter.Open), 2)
	_, body = p.get("/jobs")
	require.Contains(t, shown(body), "Discarded 2 of 2")
	_, body = p.get("/audit")
	require.Contains(t, shown(body), "ann undo: what was discarded before (2 letters)")

	_, body = p.send("/jobs", url.Values{"kind": {"undo"}, "from": {"TWO"}})
	require.Contains(t, shown(body), "There is nothing to do")
	status, _ = p.get("/jobs/NOSUCH")
	require.Equal(t, http.StatusNotFound, status)
}

// An undo takes back what its job did, and not what somebody did since.
func TestConsoleUndoesItsOwnOnly(t *testing.T) {
	c := newConsole(t, nil)
	c.letters(1)
	p := c.signedIn()
	p.page("/letters", "3 letters")
	_, body := p.send("/jobs", url.Values{"kind": {"discard"}, "why": {"w"}, "match": {""}, "job": {"MINE"}})
	require.Contains(t, shown(body), "Discarded: 3 of 3")
	snap := c.scan()
	other := snap.Select(letter.Resolved, 1)
	require.NoError(t, c.store.Undo(t.Context(), snap, other, nil, nobody))
	require.NoError(t, c.store.Discard(t.Context(), snap, other, by, nobody))
	p.page("/letters?status=any", "3 letters")
	_, body = p.send("/jobs", url.Values{"kind": {"undo"}, "from": {"MINE"}})
	require.Contains(t, shown(body), "done 2 left alone 1")
	require.Contains(t, shown(body), "was dealt with by somebody since")
	require.Len(t, c.refs(letter.Open), 2)
}

// Letters that come while somebody reads the question are not meant.
func TestConsoleLeavesLaterLettersAlone(t *testing.T) {
	c := newConsole(t, nil)
	c.failing(0, "a", []byte("no order"), time.Hour)
	p := c.signedIn()
	p.page("/letters", "1 letter<")
	_, body := p.get("/confirm?kind=discard&match=")
	asked := regexp.MustCompile(`name="asof" value="(\d+)"`).FindStringSubmatch(body)
	require.NotNil(t, asked)
	c.failing(0, "b", []byte("no order"), -time.Second)
	p.page("/letters", "2 letters")
	_, body = p.send("/jobs", url.Values{"kind": {"discard"}, "why": {"w"}, "match": {""}, "asof": {asked[1]}})
	require.Contains(t, shown(body), "Discarded: 1 of 1")
	require.Len(t, c.refs(letter.Open), 1)
}

func TestConsoleEdits(t *testing.T) {
	c := newConsole(t, nil)
	id := c.failing(0, "e", sampleOrder(t, "e", "locale", `"english"`), time.Hour)
	p := c.signedIn()
	p.page("/letters", "1 letter<")
	_, body := p.send("/edit", url.Values{"id": {id}})
	require.Contains(t, body, "Test Testov", "it is edited as it is")
	require.Contains(t, shown(body), "1 failure.")
	written, err := os.ReadFile(c.audit)
	require.NoError(t, err)
	require.Contains(t, string(written), `"action":"edit","targets":["`+id+`"]`)

	still := string(sampleOrder(t, "e", "locale", `"anglais"`))
	status, body := p.send("/edit/check", url.Values{"id": {id}, "value": {"{\r\n\"order_uid\": \"e\",\r\n  nope}"}})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"valid":false`)
	require.Contains(t, body, `"line":3,"column":3,"offset":22`)
	_, body = p.send("/edit/check", url.Values{"id": {id}, "value": {still}})
	require.Contains(t, body, `locale: \"english\" → \"anglais\"`)
	status, body = p.send("/edit/send", url.Values{"id": {id}, "value": {still}, "do": {"send"}})
	require.Equal(t, http.StatusUnprocessableEntity, status)
	require.Contains(t, shown(body), "Nothing was sent")
	require.Len(t, c.read(orders)[0], 1)

	mended := string(sampleOrder(t, "e"))
	_, body = p.send("/edit/send", url.Values{"id": {id}, "value": {mended}, "do": {"check"}})
	require.Contains(t, shown(body), "DATABASE_URL is not set")
	require.Len(t, c.read(orders)[0], 1)
	_, body = p.send("/edit/send", url.Values{"id": {id}, "value": {strings.ReplaceAll(mended, ",", ",\r\n  ")}, "why": {"locale mended"}, "do": {"send"}})
	require.Contains(t, shown(body), "Redriven by ann")
	copies := c.read(orders)[0]
	require.Len(t, copies, 2)
	require.Equal(t, mended, string(copies[1].Value), "without the white space of the editor")
	headers := map[string]string{}
	for _, h := range copies[1].Headers {
		headers[h.Key] = string(h.Value)
	}
	require.Equal(t, "ann", headers["dlq-edited-by"])
	require.Equal(t, id, headers["dlq-edited-from"])
	require.Equal(t, "1", headers["dlq-redrive-count"])
	require.Empty(t, c.refs(letter.Open))
	status, body = p.send("/edit", url.Values{"id": {id}})
	require.Equal(t, http.StatusConflict, status)
	require.NotContains(t, body, "Testov")
}

// The history of a record is told wherever one looks into it.
func TestConsoleHistory(t *testing.T) {
	c := newConsole(t, nil)
	first := c.failing(0, "h", sampleOrder(t, "h", "locale", `"english"`), time.Hour)
	p := c.signedIn()
	p.page("/letters", "1 letter<")
	_, body := p.send("/jobs", url.Values{"kind": {"redrive"}, "match": {""}, "why": {"try again"}})
	require.Contains(t, shown(body), "Redriven: 1 of 1")
	copied := c.read(orders)[0][1]
	copied.Timestamp = failed
	second := c.fail(copied, "invalid", model.FieldError{Path: "locale", Rule: "bcp47", Message: "must be a language"})
	text := shown(p.page(letterPath(second), "Where it came from"))
	require.Contains(t, text, "Redriven 1 time")
	require.Contains(t, text, "Failed: invalid, "+first)
	require.Contains(t, text, "redriven by ann")
	require.Contains(t, shown(p.page(letterPath(first), second)), "try again")
}

// A conflict is shown against what PostgreSQL has.
func TestConsoleConflict(t *testing.T) {
	withDatabase(t)
	c := newConsole(t, func(o *console.Options) { o.Orders, o.Accept = storedOrders(t), acceptor(t, o) })
	const uid = "b563feb7b2b84b6test"
	value := bytes.Replace(sampleOrder(t, uid, "amount", "1999"), []byte("Test Testov"), []byte("Somebody Else"), 1)
	id := c.failing(0, uid, value, time.Hour)
	same := c.failing(0, uid, sampleOrder(t, uid), time.Hour)
	p := c.signedIn()
	body := p.page(letterPath(id), "Against the stored order")
	text := shown(body)
	require.Contains(t, text, "payment.amount 1817 stored, 1999 in the letter")
	require.Contains(t, text, `delivery.name "***" stored, "***" in the letter`)
	require.NotContains(t, body, "Somebody Else")
	_, body = p.send("/letter/reveal", url.Values{"id": {id}})
	require.Contains(t, shown(body), `"Test Testov" stored, "Somebody Else" in the letter`)
	require.Contains(t, shown(p.page(letterPath(same), "Against the stored order")), "would be a duplicate")
	_, body = c.person().post("/jobs/dry-run", url.Values{"kind": {"dry-run"}, "match": {""}})
	require.Contains(t, shown(body), "would be duplicates 1")
	require.Contains(t, shown(body), "would fail again 1")

	// Accepted, it is the newest version of the order, until it is opened again.
	amount := func() (amount int) {
		require.NoError(t, openURL(t, os.Getenv("DATABASE_URL")).QueryRowContext(t.Context(), `SELECT amount FROM payments`).Scan(&amount))
		return amount
	}
	form := url.Values{"kind": {"accept"}, "letter": {id}, "job": {"A"}, "back": {letterPath(id)}}
	status, _ := c.person().post("/jobs", form)
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = p.post("/jobs", form)
	require.Equal(t, http.StatusForbidden, status, "the form has no token")
	require.Equal(t, 1817, amount())
	require.Contains(t, p.page(letterPath(id), ">Accept</a>"), "kind=accept")
	require.Contains(t, shown(p.page("/confirm?kind=accept&letter="+url.QueryEscape(id), "Accept 1 letter?")), "What the order was before is kept")
	_, body = p.send("/jobs", form)
	require.Contains(t, shown(body), "Accepted by ann.")
	require.Equal(t, 1999, amount())
	require.Contains(t, shown(p.page(letterPath(id), "Accepted by ann")), "the same now")
	require.Contains(t, p.page("/audit", "accept: one letter"), "ann")
	_, body = p.send("/jobs", url.Values{"kind": {"undo"}, "letter": {id}, "job": {"B"}, "back": {letterPath(id)}})
	require.Contains(t, shown(body), "Opened again by ann.")
	require.Equal(t, 1817, amount())
}

// Where a broker is away, pages say so and keep what is known; where it never was
// there, they say what to do.
func TestConsoleWithoutABroker(t *testing.T) {
	w := newWorld(t)
	w.letters(1)
	c := consoleOn(t, w, func(o *console.Options) {
		o.Explain = func(err error) error { return fmt.Errorf("start the broker: %w", err) }
	})
	p := c.person()
	p.page("/letters", "3 letters")
	require.NoError(t, w.broker.Stop())
	text := shown(p.page("/letters", "not up to date"))
	require.Contains(t, text, "start the broker")
	require.Contains(t, text, "3 letters", "what was known is shown")
	status, _ := p.get("/healthz")
	require.Equal(t, http.StatusOK, status)
}

func TestConsoleWithoutATopic(t *testing.T) {
	w := newWorld(t)
	c := consoleOn(t, w, func(o *console.Options) { o.Store = dlq.New(w.client, dlq.Options{Topic: "absent"}) })
	p := c.person()
	text := shown(p.page("/", "can’t be read"))
	require.Contains(t, text, "topic absent: the topic does not exist")
	status, _ := p.get("/")
	require.Equal(t, http.StatusServiceUnavailable, status)
	status, _ = p.get("/healthz")
	require.Equal(t, http.StatusServiceUnavailable, status)
}
