package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/internal/httpget"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// hit is a strike with its recovery: the time from its beginning until each
// partition had committed more than was sent by then, and each reader had begun
// to read changes after that.
type hit struct {
	what  string
	kind  *kind // nil for no strike
	began time.Time

	more     int64
	goal     ledger.Offsets // nil until the ends are known
	caughtUp time.Time      // when the workers had
	recovery time.Duration
	done     chan struct{} // closed once it has recovered
}

const (
	watchPolling  = 50 * time.Millisecond
	readerTimeout = time.Second // a frozen reader does not hold up the others for long
)

// watch follows offsets and readers, and says when hits have recovered.
type watch struct {
	site *site
	end  context.CancelFunc
	over chan struct{}

	mu      sync.Mutex
	pending []*hit
	at      ledger.Offsets       // committed
	tails   map[string]time.Time // by reader, the beginning of its last round
}

func startWatch(s *site) *watch {
	ctx, end := context.WithCancel(context.Background())
	w := &watch{site: s, end: end, over: make(chan struct{}), tails: map[string]time.Time{}}
	go w.run(ctx)
	return w
}

func (w *watch) stop() {
	w.end()
	<-w.over
}

// add watches a hit. Under load, more is how many further records of each partition
// must be committed before the hit counts as recovered.
func (w *watch) add(h *hit, more int64) *hit {
	h.began, h.more, h.done = time.Now(), more, make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, h)
	return h
}

// wait returns once a hit has recovered.
func (w *watch) wait(ctx context.Context, h *hit) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-h.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		w.mu.Lock()
		defer w.mu.Unlock()
		return fmt.Errorf("no recovery within %s from %s: committed %s of %s, readers' last rounds %v ago", patience, h.what, w.at, h.goal, w.ages())
	}
}

func (w *watch) ages() map[string]time.Duration {
	ages := map[string]time.Duration{}
	for reader, began := range w.tails {
		ages[reader] = time.Since(began).Round(time.Millisecond)
	}
	return ages
}

func (w *watch) run(ctx context.Context) {
	defer close(w.over)
	client := &http.Client{Timeout: readerTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	for retry.Sleep(ctx, watchPolling) == nil {
		if err := w.setGoals(ctx); err != nil {
			continue
		}
		at, err := w.site.progress.Committed(ctx)
		if err != nil {
			continue
		}
		tails := w.askReaders(ctx, client)
		w.mu.Lock()
		w.at = at
		maps.Copy(w.tails, tails)
		w.recovered()
		w.mu.Unlock()
	}
}

// setGoals gives new hits the present ends as their goal.
func (w *watch) setGoals(ctx context.Context) error {
	w.mu.Lock()
	fresh := slices.DeleteFunc(slices.Clone(w.pending), func(h *hit) bool { return h.goal != nil })
	w.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	ends, err := w.site.progress.Ends(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range fresh {
		h.goal = ends.Plus(h.more)
	}
	return nil
}

// askReaders asks all readers at once for the beginning of their last rounds.
func (w *watch) askReaders(ctx context.Context, client *http.Client) map[string]time.Time {
	var mu sync.Mutex
	var all sync.WaitGroup
	tails := map[string]time.Time{}
	for _, reader := range w.site.readers {
		all.Go(func() {
			var stats struct {
				Synced          bool      `json:"synced"`
				LastTailBeganAt time.Time `json:"last_tail_began_at"`
			}
			err := httpget.JSON(ctx, client, "http://"+reader.addr+"/api/v1/stats", &stats)
			if err == nil && stats.Synced {
				mu.Lock()
				defer mu.Unlock()
				tails[reader.Name] = stats.LastTailBeganAt
			}
		})
	}
	all.Wait()
	return tails
}

// recovered closes hits that have. The caller holds the lock.
func (w *watch) recovered() {
	var pending []*hit
	for _, h := range w.pending {
		if h.caughtUp.IsZero() && h.goal != nil && w.at.Reach(h.goal) {
			h.caughtUp = time.Now()
		}
		if h.caughtUp.IsZero() || !w.readersSince(h.caughtUp) {
			pending = append(pending, h)
			continue
		}
		h.recovery = time.Since(h.began)
		close(h.done)
	}
	w.pending = pending
}

func (w *watch) readersSince(moment time.Time) bool {
	for _, reader := range w.site.readers {
		if w.tails[reader.Name].Before(moment) {
			return false
		}
	}
	return true
}

// memberPolling is how often the embedded broker is checked.
const memberPolling = 500 * time.Millisecond

// await returns once a hit has recovered. The embedded broker doesn't expire a
// member that dies while it joins: the member keeps its partitions until the next
// rebalance. So a worker is restarted where that happens.
func (s *site) await(ctx context.Context, h *hit) error {
	if s.embedded == nil {
		return s.watch.wait(ctx, h)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waited := make(chan error, 1)
	go func() { waited <- s.watch.wait(ctx, h) }()
	since := time.Time{}
	for {
		select {
		case err := <-waited:
			return err
		case <-time.After(memberPolling):
		}
		switch {
		case !s.hasDeadMember():
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > 3*sessionTimeout:
			if err := restart(ctx, s.workers[0], false); err != nil {
				cancel()
				return errors.Join(err, <-waited)
			}
			since = time.Time{}
		}
	}
}

// hasDeadMember says whether the group is stable with more members than there are
// workers.
func (s *site) hasDeadMember() bool {
	g := s.embedded.Cluster().GroupInfo(group)
	return g != nil && g.State == "Stable" && len(g.Members) > len(s.workers)
}
