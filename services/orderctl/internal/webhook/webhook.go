// Package webhook tells an HTTP address about new, growing and returned causes of dead
// letters.
//
// Of several consoles one sends, the leader of a consumer group (dlq.Leader). What was told
// is kept in the topic of letters (dlq.Queue.WriteNotes), after the address has accepted it:
// each event is told at least once, and again only if the console is killed in between or
// if the answer is lost.
package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

// Settings are the operator's. Without a URL nothing is sent.
type Settings struct {
	URL     config.Secret `env:"LETTERS_WEBHOOK_URL" validate:"omitempty,http_url" help:"http or https address that is told about new, growing and returned causes of letters, such as a Slack webhook (default: none)"`
	URLFile string        `env:"LETTERS_WEBHOOK_URL_FILE"`
	Key     config.Secret `env:"LETTERS_WEBHOOK_KEY" validate:"omitempty,bytes=16" help:"key that signs these messages, 16 bytes or more (default: they are not signed)"`
	KeyFile string        `env:"LETTERS_WEBHOOK_KEY_FILE"`
	Console string        `env:"CONSOLE_URL" help:"address of this console, for these messages to name (default: none)"`
}

// Letters are what is told about.
type Letters interface {
	// Known are the letters as they were read last, and the version of that; empty: they
	// were not read yet.
	Known() (letters []dlq.Ref, version string)
	// Current reads what was written since.
	Current(ctx context.Context) (*dlq.View, error)
}

// Options of a Webhook. All but Pause are required.
type Options struct {
	Settings Settings
	Topic    string // of the letters, for people
	Queue    *dlq.Queue
	Letters  Letters
	Metrics  prometheus.Registerer
	Log      *zap.Logger
	// Pause is between two looks at the letters, and ten times that between two messages;
	// 1 s.
	Pause time.Duration
}

const (
	defaultPause = time.Second
	// pausesAfter is how many pauses follow a message, so that a flood of letters makes few.
	pausesAfter    = 10
	longestRetry   = time.Minute
	requestTimeout = 10 * time.Second
	// maxEvents is how many events a message has.
	maxEvents = 20
)

// Webhook is a lifecycle.Part.
type Webhook struct {
	*lifecycle.Loop

	opts         Options
	scope        string // of the group and the notes
	client       *http.Client
	sent, failed prometheus.Counter
	// What follows belongs to the term.
	term    int
	version string // of the letters that nothing more is to be told about
	told    map[string]told
	unsaved map[string][]byte // notes that are not written yet
}

// New prepares a webhook.
func New(o Options) *Webhook {
	if o.Pause == 0 {
		o.Pause = defaultPause
	}
	w := &Webhook{opts: o, scope: "webhook/" + strings.Join(o.Queue.Letters(), ","), client: &http.Client{
		Timeout: requestTimeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	w.Loop = lifecycle.NewLoop("webhook", w.run, nil)
	requests := promauto.With(o.Metrics).NewCounterVec(prometheus.CounterOpts{
		Name: "orderhub_webhook_requests_total", Help: "Messages about causes of dead letters, by outcome.",
	}, []string{"outcome"})
	w.sent, w.failed = requests.WithLabelValues("sent"), requests.WithLabelValues("failed")
	return w
}

func (w *Webhook) run(ctx context.Context) error {
	leader, err := w.opts.Queue.Lead("orderhub-"+w.scope, func(err error) {
		w.opts.Log.Warn("cannot take part in choosing the console that sends messages; trying again", zap.Error(err))
	})
	if err != nil { // of the settings, with which the console would not run either
		w.opts.Log.Error("unrecoverable error, no messages are sent", zap.Error(err))
		return err
	}
	defer leader.Close()
	backoff := retry.NewBackoff(longestRetry)
	for ctx.Err() == nil {
		sent := 0
		err := leader.Do(func(term int) (err error) {
			sent, err = w.look(ctx, term)
			return err
		})
		switch {
		case err != nil && ctx.Err() == nil:
			w.opts.Log.Warn("nobody was told about causes of dead letters; trying again", zap.Error(err))
			_ = backoff.Wait(ctx) // the loop looks at ctx
			continue
		case sent > 0:
			_ = retry.Sleep(ctx, pausesAfter*w.opts.Pause)
		default:
			_ = retry.Sleep(ctx, w.opts.Pause)
		}
		backoff.Reset()
	}
	return nil
}

// look tells what is due, and how many events that were.
func (w *Webhook) look(ctx context.Context, term int) (sent int, err error) {
	if _, version := w.opts.Letters.Known(); version == "" || version == w.version && term == w.term && len(w.unsaved) == 0 {
		return 0, nil
	}
	if term != w.term {
		if err := w.load(ctx); err != nil {
			return 0, err
		}
		w.term = term
	}
	letters, version := w.opts.Letters.Known()
	events, after := due(letters, w.told)
	if len(events) > maxEvents {
		for _, e := range events[maxEvents:] {
			delete(after, e.name())
		}
		events, version = events[:maxEvents], ""
	}
	if len(events) > 0 {
		// A stop waits for the answer: what was accepted is not told again.
		if err := w.send(context.WithoutCancel(ctx), events); err != nil {
			w.failed.Inc()
			return 0, err
		}
		w.sent.Inc()
		w.opts.Log.Info("told about causes of dead letters", zap.Int("events", len(events)))
	}
	for name, t := range after {
		if t == nil {
			delete(w.told, name)
			w.unsaved[name] = nil
			continue
		}
		w.told[name] = *t
		if w.unsaved[name], err = json.Marshal(t); err != nil {
			return 0, err
		}
	}
	if err := w.opts.Queue.WriteNotes(context.WithoutCancel(ctx), w.scope+"/", w.unsaved); err != nil {
		return 0, fmt.Errorf("it was sent, but not written down: %w", err)
	}
	clear(w.unsaved)
	w.version = version
	return len(events), nil
}

func (w *Webhook) load(ctx context.Context) error {
	view, err := w.opts.Letters.Current(ctx)
	if err != nil {
		return err
	}
	notes, err := w.opts.Queue.Notes(ctx, view, w.scope+"/")
	if err != nil {
		return err
	}
	w.told, w.unsaved = map[string]told{}, map[string][]byte{}
	for name, note := range notes {
		var t told
		if err := json.Unmarshal(note, &t); err != nil {
			return fmt.Errorf("what was told about %s: %w", name, err)
		}
		w.told[name] = t
	}
	return nil
}

// send makes one request. Its error has nothing of the address but the host.
func (w *Webhook) send(ctx context.Context, events []Event) error {
	s := &w.opts.Settings
	address, err := s.URL.Now(s.URLFile)
	if err != nil {
		return fmt.Errorf("LETTERS_WEBHOOK_URL_FILE: %w", err)
	}
	key, err := s.Key.Now(s.KeyFile)
	if err != nil {
		return fmt.Errorf("LETTERS_WEBHOOK_KEY_FILE: %w", err)
	}
	id, body, err := newMessage(w.opts.Topic, s.Console, events)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.Reveal(), bytes.NewReader(body))
	if err != nil {
		return errors.New("LETTERS_WEBHOOK_URL: no address") // err quotes it
	}
	now := time.Now()
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(headerID, id)
	request.Header.Set(headerTimestamp, strconv.FormatInt(now.Unix(), 10))
	if key != "" {
		request.Header.Set(headerSignature, sign([]byte(key.Reveal()), id, now, body))
	}
	response, err := w.client.Do(request)
	if err != nil {
		if quoting := (*url.Error)(nil); errors.As(err, &quoting) {
			err = quoting.Err
		}
		return fmt.Errorf("LETTERS_WEBHOOK_URL: %s: %w", request.URL.Host, err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 4<<10))
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("LETTERS_WEBHOOK_URL: %s answers %s", request.URL.Host, response.Status)
	}
	return nil
}

// The headers are those of Standard Webhooks (standardwebhooks.com), for whose signature
// there are libraries.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp" // seconds since 1970
	headerSignature = "Webhook-Signature" // v1,<base64 of the HMAC-SHA256>
)

// message is the body of a request. Text is for Slack and the like.
type message struct {
	Text    string  `json:"text"`
	Version int     `json:"version"`
	Topic   string  `json:"topic"`
	Events  []Event `json:"events"`
}

const messageVersion = 1

// newMessage gives a message's id and body. The id is the same where the events are told
// again.
func newMessage(topic, console string, events []Event) (id string, body []byte, err error) {
	text := strings.Builder{}
	text.WriteString("Orderhub: dead letters in " + topic)
	ids := sha256.New()
	for _, e := range events {
		ids.Write([]byte(e.ID + "\n"))
		fmt.Fprintf(&text, "\n• %s: %s", e.Event, e.Reason)
		for _, part := range [][2]string{{", rule ", e.Rule}, {" at ", e.Path}} {
			if part[1] != "" {
				text.WriteString(part[0] + part[1])
			}
		}
		fmt.Fprintf(&text, ", %d open, first seen %s", e.Open, e.FirstSeen.UTC().Format(time.RFC3339))
	}
	shown := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text.String()) // Slack's markup
	if console != "" {
		shown += "\n" + console
	}
	body, err = json.Marshal(message{Text: shown, Version: messageVersion, Topic: topic, Events: events})
	return "orderhub-" + hex.EncodeToString(ids.Sum(nil)[:12]), body, err
}

func sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// maxCauses is how many causes are followed, those with most letters.
const maxCauses = 1000

// The events.
const (
	isNew    = "new"      // the first open letters of a cause
	growing  = "growing"  // the open letters of a cause have reached another power of ten
	returned = "returned" // new letters of a cause all of whose letters had been resolved
)

// cause is a cause of letters, masked: causes that differ in what is masked are one.
type cause struct {
	Reason string `json:"reason"`
	Rule   string `json:"rule,omitempty"`
	Path   string `json:"path,omitempty"`
}

func (c cause) name() string {
	sum := sha256.Sum256([]byte(c.Reason + "\x00" + c.Rule + "\x00" + c.Path))
	return hex.EncodeToString(sum[:8])
}

// Event is what is told about a cause.
type Event struct {
	ID    string `json:"id"` // the same where it is told again
	Event string `json:"event"`
	cause
	Open      int       `json:"open"` // letters
	Resolved  int       `json:"resolved"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
}

type told struct {
	cause
	// Round is how often the cause was new or has returned, and Digits is the most open
	// letters that were told since then, in decimal digits; 0: all were resolved after that.
	Round  int `json:"round"`
	Digits int `json:"digits"`
}

// due returns what is to be told about letters, and what will have been told then, by the
// causes' names; nil is for causes without letters.
func due(letters []dlq.Ref, before map[string]told) (events []Event, after map[string]*told) {
	after = map[string]*told{}
	stats := dlq.StatsOf(dlq.Each(letters, letter.Any), dlq.StatsOptions{})
	causes := map[string]*Event{}
	for _, c := range stats.Causes {
		masked := cause{}
		masked.Reason, masked.Rule, masked.Path = dlqview.MaskCause(c.Reason, c.Rule, c.Path)
		e := causes[masked.name()]
		if e == nil {
			if len(causes) == maxCauses {
				continue
			}
			e = &Event{cause: masked, FirstSeen: c.First, LastSeen: c.Last}
			causes[masked.name()] = e
		}
		e.Open, e.Resolved = e.Open+c.Open, e.Resolved+c.Resolved
		if c.First.Before(e.FirstSeen) {
			e.FirstSeen = c.First
		}
		if c.Last.After(e.LastSeen) {
			e.LastSeen = c.Last
		}
	}
	for name := range before {
		if causes[name] == nil && len(causes) < maxCauses {
			after[name] = nil
		}
	}
	for name, e := range causes {
		was, known := before[name]
		digits := len(strconv.Itoa(e.Open))
		now := &told{e.cause, was.Round, digits}
		switch {
		case e.Open == 0:
			if now.Digits = 0; !known || was.Digits > 0 {
				after[name] = now
			}
			continue
		case was.Digits >= digits:
			continue
		case !known:
			e.Event = isNew
			now.Round++
		case was.Digits == 0:
			e.Event = returned
			now.Round++
		default:
			e.Event = growing
		}
		e.ID = fmt.Sprintf("%s-%d-%d", name, now.Round, digits)
		events, after[name] = append(events, *e), now
	}
	slices.SortFunc(events, func(a, b Event) int { return cmp.Or(cmp.Compare(b.Open, a.Open), cmp.Compare(a.ID, b.ID)) })
	return events, after
}
