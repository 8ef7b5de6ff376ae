package integration

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap/zaptest"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/accept"
	"github.com/orderhub/orderhub/services/orderctl/internal/console"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
)

const consoleToken = "a-token-of-the-tests"

// consoleWorld is a console on a world's topics.
type consoleWorld struct {
	*world
	console *console.Console
	server  *httptest.Server
	audit   string
}

// newConsole starts a console; change may be nil.
func newConsole(t *testing.T, change func(*console.Options)) *consoleWorld {
	t.Helper()
	return consoleOn(t, newWorld(t), change)
}

func consoleOn(t *testing.T, w *world, change func(*console.Options)) *consoleWorld {
	t.Helper()
	c := &consoleWorld{world: w, audit: filepath.Join(t.TempDir(), "audit.jsonl")}
	c.server = httptest.NewUnstartedServer(nil)
	settings := audit.Settings{To: audit.ToFile, File: c.audit, FileBytes: 1 << 20}
	records, err := audit.Open(settings, audit.Options{Program: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = records.Close() }) // tests make it fail
	opts := console.Options{
		Store: w.store, OrdersTopic: orders, Codec: model.New(model.Options{}),
		Listen: c.server.Listener.Addr().String(), Token: consoleToken, Actor: "ann", Audit: records, AuditSettings: settings,
		Log: zaptest.NewLogger(t),
	}
	if change != nil {
		change(&opts)
	}
	c.console, err = console.New(opts)
	require.NoError(t, err)
	require.NoError(t, c.console.Start(t.Context()))
	c.server.Config.Handler = c.console.Handler()
	c.server.Start()
	t.Cleanup(func() {
		c.server.Close()
		c.console.Stop()
	})
	return c
}

// person asks the console as a browser does, with cookies and without JavaScript.
type person struct {
	c     *consoleWorld
	http  *http.Client
	token string // which a program sends
}

func (c *consoleWorld) person() *person {
	jar, err := cookiejar.New(nil)
	require.NoError(c.t, err)
	transport := &http.Transport{}
	c.t.Cleanup(transport.CloseIdleConnections)
	return &person{c: c, http: &http.Client{Jar: jar, Transport: transport}}
}

// signedIn is a person who has signed in.
func (c *consoleWorld) signedIn() *person {
	p := c.person()
	status, body := p.post("/login", url.Values{"token": {consoleToken}, "actor": {"ann"}})
	require.Equal(c.t, http.StatusOK, status, body)
	require.Contains(c.t, body, "Sign out")
	return p
}

func (p *person) do(r *http.Request) (int, string, http.Header) {
	p.c.t.Helper()
	if r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", "text/html,*/*")
	}
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	response, err := p.http.Do(r)
	require.NoError(p.c.t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(p.c.t, err)
	return response.StatusCode, string(body), response.Header
}

func (p *person) get(address string) (int, string) {
	p.c.t.Helper()
	r, err := http.NewRequestWithContext(p.c.t.Context(), http.MethodGet, p.c.server.URL+address, nil)
	require.NoError(p.c.t, err)
	status, body, _ := p.do(r)
	return status, body
}

// page waits until a page has a text: the console follows the topic, and a page
// may be a moment behind.
func (p *person) page(address, text string) string {
	p.c.t.Helper()
	body := ""
	require.Eventually(p.c.t, func() bool {
		_, body = p.get(address)
		return strings.Contains(body, text)
	}, 20*time.Second, 20*time.Millisecond, "%s never has %q:\n%s", address, text, readable{&body})
	return body
}

// readable is a text that is looked at when it is printed.
type readable struct{ text *string }

func (r readable) String() string { return *r.text }

func (p *person) post(address string, form url.Values) (int, string) {
	p.c.t.Helper()
	r, err := http.NewRequestWithContext(p.c.t.Context(), http.MethodPost, p.c.server.URL+address, strings.NewReader(form.Encode()))
	require.NoError(p.c.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", p.c.server.URL)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	status, body, _ := p.do(r)
	return status, body
}

var formToken = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// send posts a form as a page has it, with the session's token.
func (p *person) send(address string, form url.Values) (int, string) {
	p.c.t.Helper()
	_, body := p.get("/audit")
	found := formToken.FindStringSubmatch(body)
	require.NotNil(p.c.t, found, "no form of a person who is signed in")
	form.Set("csrf", found[1])
	return p.post(address, form)
}

// failing writes a value to the orders' topic and the letter of it, as the worker
// finds it. The letter failed so long ago.
func (w *world) failing(partition int32, key string, value []byte, ago time.Duration) string {
	w.t.Helper()
	_, err := model.New(model.Options{}).Decode(value)
	refused, ok := errors.AsType[*model.RecordError](err)
	cause := deadletter.Cause{Reason: deadletter.ReasonConflict, Stage: deadletter.StageConflict, Errors: []model.FieldError{
		{Path: "payment.amount", Rule: "conflict", Message: "differs from the stored order"},
	}}
	if ok {
		cause = deadletter.Cause{Reason: string(refused.Reason), Stage: deadletter.Stage(refused.Stage), Errors: refused.Errors}
	}
	return w.failingFor(partition, key, value, cause, ago)
}

func (w *world) failingFor(partition int32, key string, value []byte, cause deadletter.Cause, ago time.Duration) string {
	w.t.Helper()
	r := &kgo.Record{Topic: orders, Partition: partition, Key: []byte(key), Value: value, Headers: []kgo.RecordHeader{{Key: "trace-id", Value: []byte("4bf92f3577b34da6")}}}
	w.produce(r)
	source := deadletter.Source{Topic: orders, Partition: int(partition), Offset: r.Offset, Timestamp: time.Now().Add(-ago).Truncate(time.Millisecond), Key: r.Key, Value: value, Headers: []deadletter.Header{{Key: "trace-id", Value: []byte("4bf92f3577b34da6")}}}
	l := deadletter.New(source, cause, "orderhub", time.Now().Add(-ago))
	record := &kgo.Record{Topic: dlqTopic, Partition: partition, Key: []byte(l.ID), Value: l.Value}
	for _, h := range l.Headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	w.produce(record)
	return l.ID
}

// sampleOrder is the sample with another uid, changed by pairs of a path's last
// name and JSON, on one line.
func sampleOrder(t *testing.T, uid string, changes ...string) []byte {
	t.Helper()
	value, err := os.ReadFile("../testdata/model.json")
	require.NoError(t, err)
	var line bytes.Buffer
	require.NoError(t, json.Compact(&line, value))
	value = bytes.ReplaceAll(line.Bytes(), []byte("b563feb7b2b84b6test"), []byte(uid))
	for i := 0; i < len(changes); i += 2 {
		field := regexp.MustCompile(`"` + changes[i] + `":("[^"]*"|[^,}]*)`)
		require.Regexp(t, field, string(value))
		value = field.ReplaceAll(value, []byte(`"`+changes[i]+`":`+strings.ReplaceAll(changes[i+1], "$", "$$")))
	}
	return value
}

// storedOrders reads the orders of the test's database.
func storedOrders(t *testing.T) dryrun.Orders {
	t.Helper()
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return func(ctx context.Context, uids []string) (map[string]orderdb.Stored, error) {
		return orderdb.Read(ctx, db, uids)
	}
}

// acceptor accepts letters as the console of the command line does.
func acceptor(t *testing.T, o *console.Options) *accept.Acceptor {
	t.Helper()
	db, err := bundb.Open(config.Database{URL: config.Secret(os.Getenv("DATABASE_URL"))}, bundb.Options{MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	writer := orderwrite.New(db, orderwrite.Options{Timeout: 30 * time.Second, Versions: orderwrite.Versions{Deletions: true, Kept: 20}})
	return &accept.Acceptor{Codec: o.Codec, Queue: o.Store, Orders: o.Orders, Writer: writer, DB: db, Explain: func(err error) error { return err }}
}

// by is who acts in the tests that act behind the console's back.
var by = dlq.By{Actor: "bob", Why: "in a terminal"}
