package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/console"
)

const largeRecord = 4 << 20

// largeOrder has about 2 MB, mostly Cyrillic text, which a form's usual encoding triples.
func largeOrder(t *testing.T, uid string) []byte {
	t.Helper()
	order := map[string]any{}
	sample, err := os.ReadFile("../testdata/model.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(sample, &order))
	first, _ := order["items"].([]any)[0].(map[string]any)
	items := make([]any, 1000)
	for i := range items {
		item := maps.Clone(first)
		item["name"], item["rid"] = strings.Repeat("Пальто шерстяное ", 55)+"x", fmt.Sprintf("case-rid-%d", i)
		items[i] = item
	}
	order["items"], order["order_uid"], order["locale"] = items, uid, "english"
	value, err := json.Marshal(order)
	require.NoError(t, err)
	require.Greater(t, len(value), 1_800_000)
	return value
}

func largeConsole(t *testing.T) *consoleWorld {
	t.Helper()
	return newConsole(t, func(o *console.Options) { o.Codec = model.New(model.Options{MaxRecordBytes: largeRecord}) })
}

// multiple posts a form as browsers send the editor's.
func (p *person) multiple(address string, form url.Values) (int, string) {
	p.c.t.Helper()
	_, body := p.get("/audit")
	form.Set("csrf", formToken.FindStringSubmatch(body)[1])
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name := range form {
		require.NoError(p.c.t, w.WriteField(name, form.Get(name)))
	}
	require.NoError(p.c.t, w.Close())
	r, err := http.NewRequestWithContext(p.c.t.Context(), http.MethodPost, p.c.server.URL+address, &b)
	require.NoError(p.c.t, err)
	r.Header.Set("Content-Type", w.FormDataContentType())
	r.Header.Set("Origin", p.c.server.URL)
	status, text, _ := p.do(r)
	return status, text
}

// What the worker takes the editor takes: checked, sent, and in either encoding of forms.
// What is larger is refused by its size, whatever else the form has.
func TestConsoleEditsALargeLetter(t *testing.T) {
	c := largeConsole(t)
	id := c.failing(0, "big", largeOrder(t, "big"), time.Hour)
	c.person().page("/letters", "1 letter")
	p := c.signedIn()
	_, body := p.send("/edit", url.Values{"id": {id}})
	require.Contains(t, body, `enctype="multipart/form-data"`)
	mended := string(bytes.Replace(largeOrder(t, "big"), []byte(`"english"`), []byte(`"en"`), 1))
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, []byte(mended), "", "  "))

	form := url.Values{"id": {id}, "value": {indented.String()}, "do": {"check"}}
	_, body = p.send("/edit/check", form) // three times as long
	require.Contains(t, body, `"valid":true`)
	_, body = p.multiple("/edit/check", form)
	require.Contains(t, body, `"valid":true`)
	require.Contains(t, body, `locale: \"english\" → \"en\"`)

	tooLarge := url.Values{"id": {id}, "value": {strings.Repeat("я", 10<<20)}, "do": {"send"}}
	for _, address := range []string{"/edit/check", "/edit/send", "/jobs"} {
		for _, post := range []func(string, url.Values) (int, string){p.send, p.multiple} {
			status, body := post(address, tooLarge)
			require.Equal(t, http.StatusRequestEntityTooLarge, status, address)
			require.Contains(t, shown(body), "Edit a letter of this size in a terminal, with orderctl dlq edit")
		}
	}
	status, body := p.multiple("/edit/send", url.Values{"id": {id}, "value": {"{}"}, "do": {"send"}})
	require.Equal(t, http.StatusUnprocessableEntity, status, "the form alone is read as before")
	require.Contains(t, shown(body), "It still breaks today’s rules")

	form.Set("do", "send")
	_, body = p.multiple("/edit/send", form)
	require.Contains(t, shown(body), "Redriven by ann")
	sent := c.read(orders)[0]
	require.Equal(t, mended, string(sent[len(sent)-1].Value))

	// A letter that is larger than the worker takes is named what to use instead.
	small := newConsole(t, func(o *console.Options) { o.Codec = model.New(model.Options{MaxRecordBytes: 1 << 16}) })
	id = small.failing(0, "big", largeOrder(t, "big"), time.Hour)
	small.person().page("/letters", "1 letter")
	p = small.signedIn()
	_, body = p.send("/edit", url.Values{"id": {id}})
	require.Contains(t, shown(body), "Edit it in a terminal: orderctl dlq edit "+id)
}

func TestConsoleEditsALargeLetterInABrowser(t *testing.T) {
	c := largeConsole(t)
	id := c.failing(0, "big", largeOrder(t, "big"), time.Hour)
	c.person().page("/letters", "1 letter<")
	w := windowOn(t, c)
	w.Visit(c.server.URL+letterPath(id), ".lines")
	w.Click(`form[action="/edit"] button`)
	arrive(w, "#verdict")
	require.Equal(t, "1 failure.", w.Text("#verdict"))
	w.Script(`{ const value = document.getElementById('value'); value.value = value.value.replace('"english"', '"en"'); value.dispatchEvent(new Event('input')); }`)
	w.Until(`document.getElementById('verdict').className === 'valid'`)
	w.Click(`button[value=send]`)
	arrive(w, "#done .good")
	require.Contains(t, w.Text("#done"), "Redriven by Ann Lee")
	require.Empty(t, c.refs(letter.Open))
}

// The terminal's editor has no limit of its own.
func TestDLQEditOfALargeLetter(t *testing.T) {
	w := newWorld(t)
	t.Setenv("INGEST_MAX_RECORD_BYTES", fmt.Sprint(largeRecord))
	id := w.failing(0, "big", largeOrder(t, "big"), time.Hour)
	editor(t, `sed -i 's/"english"/"en"/' "$2"`)
	got := w.orderctl("dlq", "edit", id)
	require.Equal(t, 0, got.code, got.stderr)
	sent := w.read(orders)[0]
	require.Contains(t, string(sent[len(sent)-1].Value), `"locale":"en"`)
}
