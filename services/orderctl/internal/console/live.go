package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

const (
	// pollEvery is how often the topics are asked for their ends.
	pollEvery   = 250 * time.Millisecond
	pollTimeout = 4 * time.Second
	// restPerList limits the work on lists to a fraction of the time.
	restPerList = 4
	// catchUpTimeout bounds how long a page waits for what was just written.
	catchUpTimeout = 5 * time.Second
	longestRetry   = 5 * time.Second
)

// list is what the topic held at a moment. It is never changed.
type list struct {
	version string
	refs    []dlq.Ref // newest first
	open    int
	reasons map[string]*backlog
}

// live follows the topics and makes lists of their letters. It keeps some 400 bytes a
// letter. While the topics can't be read, the last list stays. Safe for concurrent use.
type live struct {
	*lifecycle.Loop

	queue    *dlq.Queue
	health   *health.Component
	log      *zap.Logger
	instance string // tells lists of one process from those of another

	// building is held while a list is made, so that an older one never replaces a
	// newer one.
	building sync.Mutex

	mu      sync.Mutex
	view    *dlq.View // nil until the topics were read once
	list    *list     // likewise
	version uint64
	err     error // why the topics can't be read now
	since   time.Time
}

func newLive(opts Options) *live {
	l := &live{queue: opts.Store, instance: rand.Text()[:8], health: opts.Health.Component("dead letters"), log: opts.Log}
	l.Loop = lifecycle.NewLoop("console", l.run, nil)
	return l
}

func (l *live) run(ctx context.Context) error {
	backoff := retry.NewBackoff(longestRetry)
	for ctx.Err() == nil {
		began := time.Now()
		err := l.follow(ctx)
		if errors.Is(err, dlq.ErrRecreated) {
			continue
		}
		l.failed(err)
		if time.Since(began) > 2*longestRetry {
			backoff.Reset()
		}
		_ = backoff.Wait(ctx) // the loop looks at ctx
	}
	return nil
}

// follow reads the topics, and then what is added to them.
func (l *live) follow(ctx context.Context) error {
	view, err := l.queue.Scan(ctx, letter.Filter{})
	if err != nil {
		return err
	}
	l.build(view)
	l.failed(nil)
	for rest := pollEvery; retry.Sleep(ctx, rest) == nil; {
		rest = pollEvery
		polling, cancel := context.WithTimeout(ctx, pollTimeout)
		behind, err := view.Behind(polling)
		cancel()
		began := time.Now()
		switch {
		case errors.Is(err, dlq.ErrRecreated):
			return err
		case behind && err == nil:
			if err = view.Refresh(ctx); err == nil {
				l.build(view)
				rest = max(pollEvery, restPerList*time.Since(began))
			}
		}
		l.failed(err)
	}
	return ctx.Err()
}

// failed notes why the topics can't be read; nil: they can. Once they were read, the
// console stays ready: it shows what they held.
func (l *live) failed(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if (err == nil) != (l.err == nil) {
		l.since = time.Now()
		meanwhile := "those that were read last are shown"
		if l.list == nil {
			meanwhile = "there are none to show"
		}
		if err != nil {
			l.log.Warn("the dead letters can't be read; trying again", zap.Error(err), zap.String("meanwhile", meanwhile))
		} else if l.list != nil {
			l.log.Info("reading dead letters again")
		}
	}
	l.err = err
	switch {
	case err == nil && l.list != nil:
		l.health.Ready("")
	case err != nil && l.list != nil:
		l.health.Ready(fmt.Sprintf("letters as of %s: %v", l.since.UTC().Format(time.RFC3339), err))
	case err != nil:
		l.health.NotReady(err.Error())
	}
}

func (l *live) build(view *dlq.View) {
	l.building.Lock()
	defer l.building.Unlock()
	made := &list{refs: view.Select(letter.Any, 0)}
	made.reasons = openByReason(made.refs)
	for _, w := range made.reasons {
		made.open += w.open
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version++
	made.version = fmt.Sprintf("%s-%d", l.instance, l.version)
	l.view, l.list = view, made
}

// liveState is how well the topics are known.
type liveState struct {
	List  *list // nil: not yet
	View  *dlq.View
	Err   error // why they can't be read now
	Since time.Time
}

func (l *live) state() liveState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return liveState{l.list, l.view, l.err, l.since}
}

// catchUp makes a list of everything that is in the topics now.
func (l *live) catchUp(ctx context.Context) (*dlq.View, error) {
	view := l.state().View
	if view == nil {
		return nil, errors.New("the letters are not read yet")
	}
	err := view.Refresh(ctx)
	if err == nil {
		l.build(view)
	}
	return view, err
}

// otherReason stands for the reasons of letters that other systems wrote: their number
// is not bounded.
const otherReason = "other"

// backlog is the open letters of a reason.
type backlog struct {
	open   int
	oldest time.Time // when the first of them failed
}

// openByReason counts the open letters. It has all reasons that are known.
func openByReason(refs []dlq.Ref) map[string]*backlog {
	reasons := map[string]*backlog{otherReason: {}}
	for _, reason := range deadletter.Reasons() {
		reasons[reason] = &backlog{}
	}
	for ref := range dlq.Each(refs, letter.Open) {
		w := reasons[ref.Reason]
		if w == nil {
			w = reasons[otherReason]
		}
		if w.open++; w.open == 1 || ref.FailedAt.Before(w.oldest) {
			w.oldest = ref.FailedAt
		}
	}
	return reasons
}

var (
	openLetters = prometheus.NewDesc("orderhub_letters_open", "Open dead letters, by reason.", []string{"reason"}, nil)
	oldestOpen  = prometheus.NewDesc("orderhub_letters_oldest_seconds", "Time since the oldest open letter failed, 0 without one, by reason.", []string{"reason"}, nil)
)

func (l *live) Describe(to chan<- *prometheus.Desc) {
	to <- openLetters
	to <- oldestOpen
}

// Collect implements prometheus.Collector. While the topics cannot be read, the letters
// are those that were known last, and grow older.
func (l *live) Collect(to chan<- prometheus.Metric) {
	known := l.state().List
	if known == nil {
		known = &list{reasons: openByReason(nil)}
	}
	for reason, w := range known.reasons {
		age := 0.0
		if w.open > 0 {
			age = max(0, time.Since(w.oldest).Seconds())
		}
		to <- prometheus.MustNewConstMetric(openLetters, prometheus.GaugeValue, float64(w.open), reason)
		to <- prometheus.MustNewConstMetric(oldestOpen, prometheus.GaugeValue, age, reason)
	}
}
