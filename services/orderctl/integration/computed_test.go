package integration

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// fieldCase is an input of the field.
func fieldCase(t *testing.T, name string) []byte {
	t.Helper()
	value, err := os.ReadFile("../../../libs/model/testdata/cases/" + name)
	require.NoError(t, err)
	return value
}

// Letters whose values are not JSON, or are inside of something, are mended together, each
// by its own value.
func TestDLQEditsWholeValuesInBulk(t *testing.T) {
	w := newWorld(t)
	prefixed := w.failing(0, "a", fieldCase(t, "schema-registry.bin"), time.Hour)
	envelope := w.failing(0, "b", fieldCase(t, "connect-envelope.json"), time.Hour)
	text := w.failing(1, "c", fieldCase(t, "text-in-json.json"), time.Hour)

	got := w.orderctl("dlq", "edit", "--rule", "registry_prefix", "--set", ".=strip(., registry)", "--dry-run")
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stdout, prefixed+"  pass\n    byte 0\n      - ")
	require.NotContains(t, got.stdout, "Nora")
	got = w.orderctl("dlq", "edit", "--all", "--set", ".=strip(., registry)", "--dry-run")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stdout, text+"  stay: strip: it does not begin with a schema registry's prefix\n")

	require.Equal(t, 0, w.orderctl("dlq", "edit", prefixed, "--set", ".=strip(.)").code)
	got = w.orderctl("dlq", "edit", "--reason", "wrapped", "--set", ".=unwrap(.)", "--dry-run")
	require.Equal(t, 0, got.code, got.stdout)
	require.Contains(t, got.stdout, envelope+"  pass\n    around …\n      - {\"schema\":")
	require.Equal(t, 0, w.orderctl("dlq", "edit", "--reason", "wrapped", "--set", ".=unwrap(.)", "--yes").code)
	require.Empty(t, w.refs(letter.Open))
	last := w.read(orders)[1]
	require.True(t, strings.HasPrefix(string(last[len(last)-1].Value), `{"order_uid":"case-text-1"`))

	got = w.orderctl("dlq", "edit", "--all", "--set", "locale=uper(.)")
	require.Equal(t, 2, got.code)
	require.Contains(t, got.stderr, `there is no function "uper"`)
}

func TestDLQEditSetsBareNumbersAsTexts(t *testing.T) {
	w := newWorld(t)
	id := w.failing(0, "a", fieldCase(t, "numbers-for-texts.json"), time.Hour)
	got := w.orderctl("dlq", "edit", id, "--set", "delivery.zip=3100001", "--set", "shardkey=9", "--set", "oof_shard=1", "--set", "items[].size=0", "--dry-run", "--reveal")
	require.Equal(t, 0, got.code, got.stdout+got.stderr)
	require.Contains(t, got.stdout, "    shardkey\n      - 9\n      + \"9\"\n")
	got = w.orderctl("dlq", "edit", id, "--set", "sm_id=99", "--dry-run")
	require.Contains(t, got.stdout, `stay: the edit changes nothing: sm_id is like that already; for a text write sm_id='"…"'`)
}

func TestConsoleEditsManyLetters(t *testing.T) {
	c := newConsole(t, nil)
	for _, uid := range []string{"a", "b"} {
		c.failing(0, uid, sampleOrder(t, uid, "locale", `"ru_RU"`), time.Hour)
	}
	c.person().page("/letters", "2 letters")
	p := c.signedIn()
	form := url.Values{"kind": {"dry-run"}, "match": {"reason=invalid"}, "set": {"locale=replace(., '_', '-')\r\n"}}
	status, _ := c.person().post("/jobs/dry-run", form)
	require.Equal(t, http.StatusUnauthorized, status)
	_, body := p.send("/jobs/dry-run", form)
	require.Contains(t, shown(body), `locale: "***" → "ru-RU"`)
	require.Contains(t, shown(body), "valid, not compared 2")
	job := between(body, "from=", "&")

	_, body = p.get("/confirm?kind=redrive&from=" + job)
	require.Contains(t, body, "locale=replace(., &#39;_&#39;, &#39;-&#39;)</textarea>", "what was tried out is what is done")
	form.Set("kind", "redrive")
	form.Set("set", "locale=uper(.)")
	status, body = p.send("/jobs", form)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, shown(body), `there is no function "uper"`)
	form.Set("set", "locale=replace(., '_', '-')")
	_, body = p.send("/jobs", form)
	require.Contains(t, shown(body), "Redriven: 2 of 2")
	sent := c.read(orders)[0]
	require.Contains(t, string(sent[len(sent)-1].Value), `"locale":"ru-RU"`)
	require.Contains(t, headersOf(sent[len(sent)-1]), "dlq-edited-by=ann")
	_, body = p.get("/audit")
	require.Contains(t, shown(body), "ann redrive: open letters, reason invalid, edited (2 letters)")
}

func between(text, before, after string) string {
	_, text, _ = strings.Cut(text, before)
	text, _, _ = strings.Cut(text, after)
	return text
}
