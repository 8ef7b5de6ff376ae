package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// kind is a kind of strike.
type kind int

const (
	killWorker kind = iota
	terminateWorker
	freezeWorker // for less than the session time-out, or more
	killDatabase
	kinds
)

var kindNames = [kinds]string{"SIGKILL of a worker", "SIGTERM of a worker", "SIGSTOP of a worker", "SIGKILL of PostgreSQL"}

// hit is a strike with the time from its beginning until each partition's
// committed offset had passed what was sent before it; 0 where the next strike
// came without waiting for that.
type hit struct {
	kind     kind
	recovery time.Duration
}

// strike strikes until so many workers were killed.
func (s *site) strike(ctx context.Context, random *rand.Rand, kills int, say func(string, ...any)) (hits []hit, err error) {
	if err := s.await(ctx, offsets{0: 1}); err != nil { // they are at work
		return nil, err
	}
	for killed := 0; killed < kills; {
		if err := sleep(ctx, time.Duration(random.IntN(600))*time.Millisecond); err != nil {
			return nil, err
		}
		for _, w := range s.workers {
			if err := w.alive(); err != nil {
				return nil, err
			}
		}
		h := hit{kind: pickKind(random)}
		began, goal := time.Now(), s.ends()
		for i := range goal {
			goal[i]++ // one that is sent later
		}
		if err := s.strikeOnce(ctx, random, h.kind); err != nil {
			return nil, fmt.Errorf("%s: %w", kindNames[h.kind], err)
		}
		if random.IntN(2) == 0 {
			if err := s.await(ctx, goal); err != nil {
				return nil, fmt.Errorf("after %s: %w", kindNames[h.kind], err)
			}
			h.recovery = time.Since(began)
		}
		hits = append(hits, h)
		if h.kind == killWorker {
			if killed++; killed%10 == 0 {
				say("%d workers killed", killed)
			}
		}
	}
	return hits, nil
}

func pickKind(random *rand.Rand) kind {
	switch n := random.IntN(100); {
	case n < 64:
		return killWorker
	case n < 76:
		return terminateWorker
	case n < 88:
		return freezeWorker
	default:
		return killDatabase
	}
}

// strikeOnce leaves everything running again.
func (s *site) strikeOnce(ctx context.Context, random *rand.Rand, k kind) error {
	w := s.workers[random.IntN(len(s.workers))]
	switch k {
	case killWorker:
		w.kill(ctx)
		return w.start()
	case terminateWorker:
		return w.restart(ctx)
	case freezeWorker:
		return w.freeze(ctx, time.Duration(random.Int64N(int64(2*sessionTimeout))))
	default:
		if err := s.database.Kill(); err != nil {
			return err
		}
		if err := sleep(ctx, time.Duration(random.IntN(500))*time.Millisecond); err != nil {
			return err
		}
		return s.database.Restart(ctx)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
