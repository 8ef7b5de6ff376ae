package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
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
}

// live follows the topics and makes lists of their letters. It keeps less than a kilobyte a
// letter. While the topics can't be read, the last list stays. Safe for concurrent use.
type live struct {
	*lifecycle.Loop

	queue    *dlq.Queue
	now      func() time.Time
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
	l := &live{queue: opts.Store, now: opts.Now, instance: rand.Text()[:8]}
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

// failed notes why the topics can't be read; nil: they can.
func (l *live) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.since = l.now()
	}
	l.err = err
}

func (l *live) build(view *dlq.View) {
	l.building.Lock()
	defer l.building.Unlock()
	made := &list{refs: view.Select(letter.Any, 0)}
	for i := range made.refs {
		if made.refs[i].Status == letter.Open {
			made.open++
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version++
	made.version = fmt.Sprintf("%s-%d", l.instance, l.version)
	l.view, l.list, l.err = view, made, nil
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

// catchUp makes a list of everything that is in the topics now, for pages that show what
// was just done. It gives up silently: the list comes later then.
func (l *live) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if view := l.state().View; view != nil && view.Refresh(ctx) == nil {
		l.build(view)
	}
}
