package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/orderhub/orderhub/scripts/internal/httpget"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/poll"
)

// hit is a strike with its recovery: the time from its beginning until each
// partition had committed more than was sent by then, and each reader had begun
// to read changes after that.
type hit struct {
	what  string
	kind  *kind // nil for no strike
	began time.Time

	caughtUp time.Time // when the workers had
	recovery time.Duration
	done     chan error // gets one value
}

const (
	watchPolling  = 50 * time.Millisecond
	memberPolling = 500 * time.Millisecond
	readerTimeout = time.Second // a frozen reader is asked again
)

// client asks readers, which are killed meanwhile.
var client = &http.Client{Timeout: readerTimeout, Transport: &http.Transport{DisableKeepAlives: true}}

// watch begins to watch a hit. Under load, more is how many further records of each
// partition must be committed before the hit counts as recovered.
func (s *site) watch(h *hit, more int64) *hit {
	h.began, h.done = time.Now(), make(chan error, 1)
	s.watching.Go(func() { h.done <- must.Try(func() { s.recovered(s.life, h, more) }) })
	return h
}

func (s *site) recovered(ctx context.Context, h *hit, more int64) {
	ends := make([]ledger.Offsets, len(s.feeds))
	for i, f := range s.feeds {
		ends[i] = must.Get(f.progress.Ends(ctx))
	}
	for i, f := range s.feeds {
		must.Succeed(f.progress.Await(ctx, ends[i].Plus(more)))
	}
	h.caughtUp = time.Now()
	var rounds []func(context.Context)
	for _, reader := range s.readers {
		rounds = append(rounds, func(ctx context.Context) { must.Succeed(reader.beginsRound(ctx, h.caughtUp)) })
	}
	must.Together(ctx, rounds...)
	h.recovery = time.Since(h.began)
}

// beginsRound returns once a reader has begun to read changes after a moment.
func (w *service) beginsRound(ctx context.Context, moment time.Time) error {
	return poll.Until(ctx, watchPolling, func() error {
		var stats struct {
			Synced          bool      `json:"synced"`
			LastTailBeganAt time.Time `json:"last_tail_began_at"`
		}
		err := httpget.JSON(ctx, client, "http://"+w.addr+"/api/v1/stats", &stats)
		if err == nil && (!stats.Synced || stats.LastTailBeganAt.Before(moment)) {
			err = fmt.Errorf("the last round of %s began at %s", w.Name, stats.LastTailBeganAt)
		}
		return err
	})
}

// await returns once a hit has recovered. The embedded broker doesn't expire a
// member that dies while it joins: the member keeps its partitions until the next
// rebalance. So a worker is restarted where that happens.
func (s *site) await(ctx context.Context, h *hit) error {
	since, late := time.Time{}, time.After(patience)
	for {
		select {
		case err := <-h.done:
			h.done <- err // it may be awaited again
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late:
			s.end(fmt.Errorf("no recovery within %s from %s", patience, h.what))
			return <-h.done // it says what is missing
		case <-time.After(memberPolling):
		}
		switch {
		case s.embedded == nil:
		case s.besideDead() == nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > 3*sessionTimeout:
			if err := restart(ctx, cmp.Or(s.besideDead(), s.workers[0]), false); err != nil {
				return err
			}
			since = time.Time{}
		}
	}
}

// besideDead is a worker of a group that is stable with more members than it has workers;
// nil if there is none.
func (s *site) besideDead() *service {
	for _, f := range s.feeds {
		workers := slices.DeleteFunc(slices.Clone(s.workers), func(w *service) bool { return !slices.Equal(w.settings, f.settings) })
		if g := s.embedded.Cluster().GroupInfo(f.group); g != nil && g.State == "Stable" && len(g.Members) > len(workers) {
			return workers[0]
		}
	}
	return nil
}
