package integration

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap/zaptest"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/webhook"
)

// hook is an address that is told about causes of letters.
type hook struct {
	*httptest.Server
	mu       sync.Mutex
	got      []hooked
	answers  []int       // of the next requests; then 200
	received chan hooked // each request, before its answer
	answer   chan bool   // the answer waits for it, where it is set
}

type hooked struct {
	header http.Header
	body   string
}

// event is what receivers read.
type event struct {
	ID, Event, Reason, Rule, Path string
	Open                          int
}

func (h hooked) events(t *testing.T) []event {
	t.Helper()
	var body struct {
		Text    string
		Version int
		Topic   string
		Events  []event
	}
	require.NoError(t, json.Unmarshal([]byte(h.body), &body))
	require.Equal(t, 1, body.Version)
	require.Equal(t, dlqTopic, body.Topic)
	require.Contains(t, body.Text, "dead letters in orders.dlq")
	return body.Events
}

const hookSecret = "/services/T000/s3cr3t-of-the-address"

func newHook(t *testing.T, answers ...int) *hook {
	t.Helper()
	h := &hook{received: make(chan hooked, 100), answers: answers}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		one := hooked{r.Header.Clone(), string(body)}
		h.mu.Lock()
		h.got = append(h.got, one)
		status, wait := http.StatusOK, h.answer
		if len(h.answers) > 0 {
			status, h.answers = h.answers[0], h.answers[1:]
		}
		h.mu.Unlock()
		h.received <- one
		if wait != nil {
			<-wait
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) url() config.Secret { return config.Secret(h.URL + hookSecret) }

// next is the next request.
func (h *hook) next(t *testing.T) hooked {
	t.Helper()
	select {
	case one := <-h.received:
		return one
	case <-time.After(time.Minute):
		require.Fail(t, "nobody was told")
		return hooked{}
	}
}

// telling starts a webhook on a console's letters, impatient.
func (c *consoleWorld) telling(s webhook.Settings) (stop func()) {
	c.t.Helper()
	w := webhook.New(webhook.Options{Settings: s, Topic: dlqTopic, Queue: c.store, Letters: c.console, Metrics: prometheus.NewRegistry(), Log: zaptest.NewLogger(c.t), Pause: 10 * time.Millisecond})
	require.NoError(c.t, w.Start(c.t.Context()))
	stop = sync.OnceFunc(w.Stop)
	c.t.Cleanup(stop)
	return stop
}

// failLocale writes letters of one cause from an offset on.
func (w *world) failLocale(from, count int) {
	w.t.Helper()
	for i := range count {
		w.fail(&kgo.Record{Topic: orders, Offset: int64(from + i), Value: []byte("x")}, "invalid", model.FieldError{Path: "locale", Rule: "bcp47", Message: "must be a language"})
	}
}

// quiet makes sure that nobody is told about what there is: a letter of a new cause is
// told about alone, after it.
func (h *hook) quiet(t *testing.T, w *world, reason string) {
	t.Helper()
	w.fail(&kgo.Record{Topic: orders, Offset: 1000, Value: []byte(reason)}, reason)
	events := h.next(t).events(t)
	require.Len(t, events, 1)
	require.Equal(t, reason, events[0].Reason)
}

func TestWebhookTellsNewGrowingAndReturnedCauses(t *testing.T) {
	c := newConsole(t, nil)
	h := newHook(t)
	stop := c.telling(webhook.Settings{URL: h.url(), Console: "https://dlq.example.com"})
	c.failLocale(0, 1)
	first := h.next(t)
	id := first.events(t)[0].ID
	require.Equal(t, []event{{id, "new", "invalid", "bcp47", "locale", 1}}, first.events(t))
	require.Contains(t, first.body, "https://dlq.example.com")
	require.Equal(t, "application/json", first.header.Get("Content-Type"))
	require.Empty(t, first.header.Get("Webhook-Signature"), "there is no key")
	c.failLocale(1, 8)
	h.quiet(t, c.world, "conflict") // nine are of the same power of ten
	c.failLocale(9, 1)
	require.Equal(t, "growing", h.next(t).events(t)[0].Event)

	// After a restart nothing is told again, and what has happened meanwhile is.
	stop()
	c.failLocale(10, 90)
	stop = c.telling(webhook.Settings{URL: h.url()})
	grown := h.next(t).events(t)
	require.Len(t, grown, 1)
	require.Equal(t, []any{"growing", 100}, []any{grown[0].Event, grown[0].Open})
	h.quiet(t, c.world, "tombstone")

	// Fewer letters are no news, nor are those that come while there are others.
	c.discard(50)
	c.failLocale(100, 50)
	h.quiet(t, c.world, "not_json")
	c.discard(0)
	require.Eventually(t, func() bool {
		notes, err := c.store.Notes(t.Context(), c.scan(), "webhook/"+dlqTopic+"/")
		require.NoError(t, err)
		over := 0
		for _, note := range notes {
			over += strings.Count(string(note), `"digits":0`)
		}
		return over == 4
	}, time.Minute, 10*time.Millisecond, "all causes are over")
	c.failLocale(200, 2)
	again := h.next(t).events(t)
	require.Len(t, again, 1)
	require.Equal(t, []any{"returned", 2}, []any{again[0].Event, again[0].Open})
	require.NotEqual(t, id, again[0].ID)
	stop()

	// Purging leaves the notes, and what letters are left are told about no more.
	require.Equal(t, 0, c.orderctl("dlq", "purge", "--resolved", "--older-than", "0s", "--yes").code)
	before := len(c.refs(letter.Any))
	require.Equal(t, 2, before)
	c.telling(webhook.Settings{URL: h.url()})
	h.quiet(t, c.world, "too_deep")
}

func TestWebhookIsSignedAndHasNoPersonalData(t *testing.T) {
	c := newConsole(t, nil)
	const key, person = "0123456789abcdef", "ann.smith@example.com"
	for i, field := range []model.FieldError{{Path: "delivery." + person, Rule: "unknown", Message: person}, {Path: person, Rule: person, Message: person}} {
		c.fail(&kgo.Record{Topic: orders, Offset: int64(i), Key: []byte(person), Value: []byte(person)}, "invalid", field)
	}
	c.fail(&kgo.Record{Topic: orders, Offset: 2, Value: []byte("x")}, "failed for "+person)
	h := newHook(t)
	c.telling(webhook.Settings{URL: h.url(), Key: key})
	got := h.next(t)
	require.Len(t, got.events(t), 3)
	require.NotContains(t, got.body, "ann")
	require.NotContains(t, got.body, "smith")
	signed := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(signed, "%s.%s.%s", got.header.Get("Webhook-Id"), got.header.Get("Webhook-Timestamp"), got.body)
	require.Equal(t, "v1,"+base64.StdEncoding.EncodeToString(signed.Sum(nil)), got.header.Get("Webhook-Signature"))
	notes, err := c.store.Notes(t.Context(), c.scan(), "webhook/")
	require.NoError(t, err)
	for name, note := range notes {
		require.NotContains(t, name+string(note), "smith")
	}
}

func TestWebhookIsRetried(t *testing.T) {
	c := newConsole(t, nil)
	h := newHook(t, http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusFound)
	c.telling(webhook.Settings{URL: h.url()})
	c.failLocale(0, 1)
	first := h.next(t)
	for range 3 {
		again := h.next(t)
		require.Equal(t, first.header.Get("Webhook-Id"), again.header.Get("Webhook-Id"))
	}
	h.quiet(t, c.world, "conflict")
}

func TestAFloodOfCausesMakesFewMessages(t *testing.T) {
	c := newConsole(t, nil)
	for i := range 45 {
		c.fail(&kgo.Record{Topic: orders, Offset: int64(i), Value: []byte("x")}, "invalid", model.FieldError{Path: fmt.Sprintf("items[0].%s.%s", letterFields[i%7], letterFields[i/7]), Rule: "required"})
	}
	h := newHook(t)
	c.telling(webhook.Settings{URL: h.url()})
	seen := map[string]bool{}
	for _, want := range []int{20, 20, 5} {
		events := h.next(t).events(t)
		require.Len(t, events, want)
		for _, e := range events {
			require.False(t, seen[e.ID])
			seen[e.ID] = true
		}
	}
}

// letterFields are names that are not masked.
var letterFields = []string{"price", "name", "brand", "status", "total_price", "size", "sale"}

// Of two consoles one tells, also while they come and go.
func TestTwoConsolesTellOnce(t *testing.T) {
	w := newWorld(t)
	h := newHook(t)
	environment := []string{"LETTERS_WEBHOOK_URL=" + h.url().Reveal(), "LETTERS_WEBHOOK_KEY=0123456789abcdef"}
	one, out := w.ui(environment...)
	address(t, out)
	two, outOfTwo := w.ui(environment...)
	address(t, outOfTwo)
	w.failLocale(0, 1)
	require.Equal(t, "new", h.next(t).events(t)[0].Event)
	h.quiet(t, w, "conflict")
	stop(t, one, out)
	h.quiet(t, w, "tombstone")
	three, outOfThree := w.ui(environment...)
	address(t, outOfThree)
	stop(t, two, outOfTwo)
	h.quiet(t, w, "not_json")
	stop(t, three, outOfThree)
	for _, o := range []*said{out, outOfTwo, outOfThree} {
		require.NotContains(t, o.String(), "s3cr3t")
		require.NotContains(t, o.String(), "0123456789abcdef")
	}
}

func stop(t *testing.T, cmd *exec.Cmd, out *said) {
	t.Helper()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "%s", out)
}

// A console that is killed after it has told, and before it has written that down, is
// followed by one that tells it again, once.
func TestAKilledConsoleIsFollowedByOneRepeat(t *testing.T) {
	w := newWorld(t)
	h := newHook(t)
	h.answer = make(chan bool)
	environment := []string{"LETTERS_WEBHOOK_URL=" + h.url().Reveal()}
	one, out := w.ui(environment...)
	address(t, out)
	w.failLocale(0, 1)
	first := h.next(t)
	require.NoError(t, one.Process.Kill())
	_ = one.Wait()
	close(h.answer)
	_, out = w.ui(environment...)
	address(t, out)
	again := h.next(t)
	require.Equal(t, first.header.Get("Webhook-Id"), again.header.Get("Webhook-Id"), "so it can be recognized")
	h.quiet(t, w, "conflict")
}

// A console that stops while it waits for the answer writes down what was told. Its
// successor waits for that.
func TestAStopWaitsForTheAnswer(t *testing.T) {
	w := newWorld(t)
	h := newHook(t)
	h.answer = make(chan bool)
	environment := []string{"LETTERS_WEBHOOK_URL=" + h.url().Reveal()}
	one, out := w.ui(environment...)
	address(t, out)
	w.failLocale(0, 1)
	h.next(t)
	_, outOfTwo := w.ui(environment...)
	address(t, outOfTwo)
	require.NoError(t, one.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "stopping") }, time.Minute, 10*time.Millisecond)
	close(h.answer)
	require.NoError(t, one.Wait(), "%s", out)
	h.quiet(t, w, "conflict")
}

// The secret of the address is in no log, whatever goes wrong with it.
func TestTheWebhooksAddressIsNotLogged(t *testing.T) {
	w := newWorld(t)
	w.failLocale(0, 1)
	h := newHook(t, http.StatusInternalServerError)
	for _, url := range []string{h.url().Reveal(), "http://127.0.0.1:1" + hookSecret, strings.Replace(h.url().Reveal(), "http:", "https:", 1)} {
		cmd, out := w.ui("LETTERS_WEBHOOK_URL="+url, "LOG_LEVEL=debug")
		require.Eventually(t, func() bool { return strings.Contains(out.String(), "trying again") }, time.Minute, 10*time.Millisecond, "%s", out)
		require.NotContains(t, out.String(), "s3cr3t")
		stop(t, cmd, out)
	}
	for _, wrong := range []string{"ftp://x" + hookSecret, "https://[x" + hookSecret, hookSecret} {
		t.Setenv("LETTERS_WEBHOOK_URL", wrong)
		got := w.orderctl("dlq", "ui")
		require.Equal(t, 2, got.code)
		require.Contains(t, got.stderr, "LETTERS_WEBHOOK_URL")
		require.NotContains(t, got.stderr, "s3cr3t")
	}
}

// What the webhook keeps in the topic is no letter.
func TestNotesAreNoLetters(t *testing.T) {
	w := newWorld(t)
	w.letters(1)
	require.NoError(t, w.store.WriteNotes(t.Context(), "a/", map[string][]byte{"x": []byte(`{"n":1}`), "y": []byte("2")}))
	require.NoError(t, w.store.WriteNotes(t.Context(), "a/", map[string][]byte{"x": []byte("3"), "y": nil}))
	notes, err := w.store.Notes(t.Context(), w.scan(), "a/")
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{"x": []byte("3")}, notes)
	require.Len(t, w.refs(letter.Any), 3)
	require.Contains(t, w.orderctl("dlq", "stats").stdout, "3 open, 0 resolved")
	require.NoError(t, w.store.Purge(t.Context(), dlq.PurgeOptions{Before: time.Now().Add(time.Hour), Source: orders}, func(id string) { require.Fail(t, "purged", id) }))
}
