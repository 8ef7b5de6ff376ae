package integration

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
)

// Personal data that the tests plant. Each has one of the needles.
const (
	aName     = "Zebulon Quackenbush"
	aMail     = "zebulon@quackmail.example"
	aPhone    = "+49 170 555-0199"
	aNumber   = "491705550199"
	anAddress = "Квакинская улица 77, 10117 Quackstadt"
	aCustomer = "cust-quack-7"
)

// needles are what no masked output may have, in lower case without separators. The
// digits are so many that no other numbers contain them by chance.
var needles = []string{"quack", "zebulon", "1705550199", "квакин"}

// planted are values with personal data in every place that a record has.
func planted(t *testing.T) map[string][]byte {
	t.Helper()
	quoted := func(v any) string {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		return string(text)
	}
	person := `{"name":"` + aName + `","phone":"` + aPhone + `","email":"` + aMail + `","address":"` + anAddress + `"}`
	values := map[string]string{
		"our shape": string(sampleOrder(t, "uid-1", "name", quoted(aName), "phone", quoted(aPhone), "zip", `"quack1"`, "city", `"Quackstadt"`,
			"address", quoted(anAddress), "region", `"Quackland"`, "email", quoted(aMail), "transaction", `"txn-quack-1"`, "customer_id", quoted(aCustomer))),
		"every text":                         string(regexp.MustCompile(`:"[^"]*"`).ReplaceAll(sampleOrder(t, "uid-2"), []byte(`:"`+aName+`"`))),
		"every text a number of a telephone": string(regexp.MustCompile(`:"[^"]*"`).ReplaceAll(sampleOrder(t, "uid-2"), []byte(`:"`+aNumber+`"`))),
		"every number":                       string(regexp.MustCompile(`:[0-9]+`).ReplaceAll(sampleOrder(t, "uid-3"), []byte(`:`+aNumber))),
		"parts of another type":              `{"order_uid":"uid-4","delivery":` + quoted(aName) + `,"payment":[` + quoted(aMail) + `],"items":{"` + aName + `":` + person + `}}`,
		"flat foreign names":                 `{"fullName":` + quoted(aName) + `,"tel":` + aNumber + `,"kunde":` + quoted(aMail) + `,"Ort":` + quoted(anAddress) + `,"quackenbush":1}`,
		"snake_case names":                   `{"customer_full_name":` + quoted(aName) + `,"shipping_address_line_1":` + quoted(anAddress) + `,"note":"call ` + aPhone + `"}`,
		"names that are data":                `{"` + aMail + `":{"` + aName + `":true},"` + aNumber + `":null}`,
		"JSON in a string":                   `{"payload":` + quoted(person) + `,"event":` + quoted(quoted(person)) + `}`,
		"a string that is JSON":              quoted(person),
		"twice encoded":                      quoted(quoted(person)),
		"an array":                           `[` + quoted(aName) + `,` + aNumber + `,[` + person + `]]`,
		"a string":                           quoted(aName),
		"a number":                           aNumber,
		"a uid that is e-mail":               `{"order_uid":` + quoted(aMail) + `}`,
		"a uid that is a name":               `{"order_uid":"zebulon-quackenbush-1"}`,
		"a uid that is a number":             `{"order_uid":"` + aNumber + `","rid":"` + aNumber + `"}`,
		"base64":                             `{"data":"` + base64.StdEncoding.EncodeToString([]byte(person)) + `"}`,
		"base64 alone":                       base64.StdEncoding.EncodeToString([]byte(person)),
		"escapes":                            `{"x":"\u0051uackenbush \u005aebulon"}`,
		"text":                               "Please call " + aName + " at " + aPhone + " or " + aMail,
		"cut JSON":                           `{"order_uid":"uid-5","delivery":{"name":"` + aName + `","phone":"` + aNumber + `","email":"` + aMail,
		"cut JSON in a string":               `{"payload":"{\"name\":\"` + aName + `\",\"tel\":` + aNumber,
		"one pretty-printed line":            `    "name": "` + aName + `",`,
		"single quotes":                      `{name: '` + aName + `', phone: ` + aNumber + `}`,
		"XML":                                `<order><name>` + aName + `</name><Quackenbush tel="` + aPhone + `"/></order>`,
		"CSV":                                "name;phone\n" + aName + ";" + aNumber + "\n",
		"a form":                             url.Values{"name": {aName}, "email": {aMail}, "q": {anAddress}}.Encode(),
		"trailing data":                      person + person,
		"duplicate names":                    `{"x":1,"quackenbush":1,"quackenbush":` + quoted(aName) + `}`,
		"deep":                               strings.Repeat("[", 70) + quoted(aName) + strings.Repeat("]", 70),
		"bytes":                              "\x00\x01\x02\x03\x04\x05\x06\x07" + aName + "\x00\x01\x02\x03\xff\xfe\x00\x01" + aMail,
		"invalid UTF-8":                      `{"name":"` + aName + "\xff" + `"}`,
		"NUL":                                `{"name":"` + aName + `\u0000"}`,
	}
	all := map[string][]byte{}
	for name, value := range values {
		all[name] = []byte(value)
	}
	for _, c := range utf16.Encode([]rune(person)) {
		all["UTF-16"] = append(all["UTF-16"], byte(c), byte(c>>8))
	}
	return all
}

// plantedHeaders have personal data in names and values.
var plantedHeaders = []kgo.RecordHeader{
	{Key: "customer-name", Value: []byte(aName)}, {Key: aMail, Value: []byte("x")}, {Key: "trace-id", Value: []byte(aNumber)},
	{Key: "Quackenbush", Value: []byte("1")}, {Key: "content-type", Value: []byte("text/quack")}, {Key: "payload", Value: []byte(`{"tel":"` + aPhone + `"}`)},
	{Key: "x", Value: []byte(base64.StdEncoding.EncodeToString([]byte(aName)))}, {Key: "dlq-invented", Value: []byte(aMail)},
}

// plant writes letters with personal data in every part, ours and others', and gives
// the ids of ours.
func (w *world) plant(foreign string) (ids []string) {
	offset := int64(100)
	codec := model.New(model.Options{RejectUnknown: true})
	for _, value := range planted(w.t) {
		_, err := codec.Decode(value)
		cause, failures := "conflict", []model.FieldError{{Path: "delivery.name", Rule: "conflict", Message: "differs from the stored order"}}
		if refused, ok := err.(*model.RecordError); ok { //nolint:errorlint // it is never wrapped
			cause, failures = string(refused.Reason), refused.Errors
		}
		offset++
		r := &kgo.Record{Topic: orders, Offset: offset, Key: []byte(aMail), Value: value, Headers: plantedHeaders, Timestamp: failed}
		ids = append(ids, w.fail(r, cause, failures...))
		text := func(s string) []byte { return []byte(s) }
		w.produce(
			&kgo.Record{Topic: foreign, Key: text(aName), Value: value, Headers: append([]kgo.RecordHeader{
				{Key: "__connect.errors.topic", Value: text(orders)}, {Key: "__connect.errors.partition", Value: text("0")}, {Key: "__connect.errors.offset", Value: text(strconv.FormatInt(offset, 10))},
				{Key: "__connect.errors.exception.class.name", Value: text("org.apache.kafka.connect.errors.DataException")},
				{Key: "__connect.errors.exception.message", Value: text("Invalid value " + aName + " for field \"" + aMail + "\", tel " + aPhone)},
				{Key: "__connect.errors.exception.stacktrace", Value: text("DataException: " + aName + "\n\tat x")},
			}, plantedHeaders...)},
			&kgo.Record{Topic: foreign, Key: text(aMail), Value: value, Headers: append([]kgo.RecordHeader{
				{Key: "kafka_dlt-exception-fqcn", Value: text("java.lang.IllegalStateException")}, {Key: "kafka_dlt-exception-message", Value: text("Failed on " + aNumber)},
				{Key: "kafka_dlt-original-topic", Value: text(orders)}, {Key: "kafka_dlt-key-exception-stacktrace", Value: text(aName)},
			}, plantedHeaders...)},
			&kgo.Record{Topic: foreign, Key: text(aNumber), Value: value, Headers: plantedHeaders},
		)
	}
	// A letter in our form whose id is an address of e-mail.
	w.produce(&kgo.Record{Topic: dlqTopic, Key: []byte(aMail), Value: []byte(aName), Headers: []kgo.RecordHeader{
		{Key: deadletter.HeaderReason, Value: []byte("invalid")}, {Key: deadletter.HeaderSourceKey, Value: []byte(aName)}, {Key: deadletter.HeaderOrigin, Value: []byte(aMail)},
		{Key: deadletter.HeaderErrors, Value: []byte(`[{"path":"delivery.` + aName + `","rule":"` + aName + `","message":"is wrong"}]`)},
		{Key: deadletter.HeaderSourceTopic, Value: []byte(orders)}, {Key: deadletter.HeaderSourceOffset, Value: []byte("7")},
	}})
	return ids
}

var (
	jsonEscape  = regexp.MustCompile(`\\u[0-9a-fA-F]{4}`)
	base64Run   = regexp.MustCompile(`[A-Za-z0-9+/_-]{8,}`)
	hexPairs    = regexp.MustCompile(`(?:[0-9a-f]{2} ?){4,}`)
	separators  = regexp.MustCompile(`[^\pL\pN]+`)
	urlEncoding = regexp.MustCompile(`(?:%[0-9A-Fa-f]{2})+`)
)

// leaks gives the needles that an output has: as they are, JSON-escaped, URL-encoded,
// HTML-escaped, in base64 or hex, in any case, with any separators.
func leaks(output string) (found []string) {
	text := html.UnescapeString(output)
	text = jsonEscape.ReplaceAllStringFunc(text, func(escape string) string {
		n, _ := strconv.ParseUint(escape[2:], 16, 16)
		return string(rune(n))
	})
	text = urlEncoding.ReplaceAllStringFunc(text, func(escape string) string {
		plain, _ := url.PathUnescape(escape)
		return plain
	})
	forms := []string{text}
	for _, run := range base64Run.FindAllString(text, -1) {
		for skip := range min(4, len(run)) {
			for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				part := run[skip:]
				decoded, _ := encoding.DecodeString(part[:len(part)/4*4])
				forms = append(forms, string(decoded))
				again, _ := encoding.DecodeString(string(decoded)) // of base64 in a value that is exported
				forms = append(forms, string(again))
			}
		}
	}
	for _, run := range hexPairs.FindAllString(text, -1) {
		decoded, _ := hex.DecodeString(strings.ReplaceAll(run, " ", ""))
		forms = append(forms, string(decoded))
	}
	for _, form := range forms {
		form = strings.ReplaceAll(form, "\x00", "")
		bare := separators.ReplaceAllString(strings.ToLower(form), "")
		for _, needle := range needles {
			if i := strings.Index(bare, needle); i >= 0 {
				found = append(found, fmt.Sprintf("%s in …%s", needle, bare[max(i-40, 0):min(i+40, len(bare))]))
			}
		}
	}
	return found
}

func TestLeaksAreFound(t *testing.T) {
	for _, output := range []string{
		aName, strings.ToUpper(aName), html.EscapeString("<" + aMail + ">"), `\u0051uack`, url.QueryEscape(anAddress), base64.StdEncoding.EncodeToString([]byte("xx" + aName)),
		base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(aName)))), hex.EncodeToString([]byte(aName)), "Q\x00u\x00a\x00c\x00k\x00", "+49/170/555/01.99",
	} {
		require.NotEmpty(t, leaks(output), output)
	}
	require.Empty(t, leaks("orders/0/17/9f3a1c2e *** 1817"))
}

// What is shown without --reveal and without signing in holds no personal data, wherever
// a record has it. A new output is a line of the tables below.
func TestNoOutputShowsPersonalData(t *testing.T) {
	withDatabase(t)
	t.Setenv("ORDERHUB_AUDIT_FILE", filepath.Join(t.TempDir(), "audit.jsonl"))
	c := newConsole(t, nil)
	const (
		foreign = "foreign.dlq"
		strict  = "with unknown fields refused"
	)
	require.NoError(t, c.broker.CreateTopics(t.Context(), map[string]broker.Topic{foreign: {Partitions: 1}}))
	ids := c.plant(foreign)
	export := filepath.Join(t.TempDir(), "letters.jsonl")
	patch := filepath.Join(t.TempDir(), "patch.json")
	require.NoError(t, os.WriteFile(patch, []byte(`[{"op":"test","path":"/order_uid","value":1}]`), 0o600))

	commands := [][]string{
		{"dlq", "list"}, {"dlq", "list", "--status", "any"}, {"dlq", "list", "--foreign", foreign}, {"dlq", "stats"}, {"dlq", "stats", "--foreign", foreign},
		{"dlq", "export"}, {"dlq", "export", "--foreign", foreign}, {"dlq", "export", "--to", export}, {"dlq", "export", "--format", "csv"}, {"dlq", "export", "--format", "csv", "--foreign", foreign},
		{"dlq", "redrive", "--all", "--dry-run"}, {strict, "dlq", "redrive", "--all", "--dry-run"}, {"dlq", "redrive", "--all", "--dry-run", "--foreign", foreign},
		{"dlq", "edit", "--all", "--set", "locale=de", "--dry-run"}, {strict, "dlq", "edit", "--all", "--set", "locale=de", "--yes"}, {"dlq", "edit", "--all", "--patch", patch, "--dry-run"},
		{"find", "uid-1"}, {"find", "uid-5"},
	}
	for _, id := range ids {
		commands = append(commands, []string{"dlq", "show", id})
	}
	for _, where := range [][]string{nil, {"--foreign", foreign}} {
		for line := range strings.Lines(c.orderctl(append([]string{"dlq", "list", "--output", "json"}, where...)...).stdout) {
			var l struct{ ID string }
			require.NoError(t, json.Unmarshal([]byte(line), &l))
			commands = append(commands, append([]string{"dlq", "show", l.ID}, where...))
		}
	}
	commands = append(commands, []string{"dlq", "discard", ids[0], "--why", "tests"}, []string{"dlq", "undo", ids[0]}, []string{"dlq", "redrive", ids[0]},
		[]string{"dlq", "purge", "--resolved", "--older-than", "0s", "--dry-run"})
	seen := 0
	for _, command := range commands {
		t.Setenv("INGEST_REJECT_UNKNOWN_FIELDS", fmt.Sprint(command[0] == strict))
		if command[0] == strict {
			command = command[1:]
		}
		for _, format := range []string{"text", "json"} {
			if format == "json" && strings.Contains(strings.Join(command, " "), "csv") {
				continue
			}
			got := c.orderctl(append(command, "--output", format)...)
			require.NotEqual(t, 2, got.code, "%v: %s", command, got.stderr)
			require.Empty(t, leaks(got.stdout+got.stderr), "%v --output %s", command, format)
			seen += len(got.stdout)
		}
	}
	exported, err := os.ReadFile(export)
	require.NoError(t, err)
	require.Empty(t, leaks(string(exported)), "an exported file")
	require.Greater(t, seen, 100_000, "there was something to see")

	p := c.person()
	p.page("/letters?status=any", fmt.Sprintf("%d letters", len(ids)+1))
	signed := c.signedIn()
	_, _ = signed.send("/jobs", url.Values{"kind": {"discard"}, "why": {"tests"}, "match": {url.Values{"key": {aMail}, "text": {aName}, "q": {aMail}}.Encode()}, "back": {"/letters?key=" + url.QueryEscape(aMail)}, "job": {"FILTERED"}})
	_, _ = signed.send("/jobs", url.Values{"kind": {"discard"}, "why": {"tests"}, "match": {url.Values{"key": {aMail}}.Encode()}, "back": {"/letters?key=" + url.QueryEscape(aMail)}, "job": {"BYKEY"}})
	_, _ = signed.send("/jobs", url.Values{"kind": {"undo"}, "from": {"BYKEY"}, "job": {"UNDONE"}})
	pages := []string{
		"/", "/?status=any&span=14d", "/letters", "/letters?status=any", "/letters?reason=invalid", "/jobs", "/jobs/FILTERED", "/jobs/BYKEY", "/jobs/UNDONE", "/audit", "/login", "/healthz", "/absent",
		"/letter?id=absent", "/confirm?kind=redrive&match=", "/confirm?kind=discard&from=BYKEY", "/jobs/DRY", "/letters?partition=x",
	}
	_, body := p.post("/jobs/dry-run", url.Values{"kind": {"dry-run"}, "match": {""}, "job": {"DRY"}})
	require.Empty(t, leaks(body), "a dry run")
	links := map[string]bool{}
	for i := 0; i < len(pages); i++ {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.server.URL+pages[i], nil)
		require.NoError(t, err)
		status, body, header := p.do(r)
		require.Less(t, status, 500, pages[i])
		require.Empty(t, leaks(fmt.Sprint(body, header)), pages[i])
		for _, link := range regexp.MustCompile(`href="(/[^"]*)"`).FindAllStringSubmatch(body, -1) {
			if to := html.UnescapeString(link[1]); !links[to] && !strings.HasPrefix(to, "/assets") && !strings.HasPrefix(to, "/login") && len(links) < 400 {
				links[to] = true
				pages = append(pages, to)
			}
		}
	}
	require.Greater(t, len(pages), 2*len(ids), "every letter was looked at")
	logged, err := os.ReadFile(c.audit)
	require.NoError(t, err)
	require.Empty(t, leaks(string(logged)), "the audit log")
	status, body := p.post("/letter/reveal", url.Values{"id": {ids[0]}})
	require.Equal(t, http.StatusUnauthorized, status)
	require.Empty(t, leaks(body))
	require.Eventually(t, func() bool {
		_, body := signed.send("/letter/reveal", url.Values{"id": {ids[0]}})
		return len(leaks(body)) > 0
	}, 10*time.Second, 50*time.Millisecond, "signed in it is shown")
}
