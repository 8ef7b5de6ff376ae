package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
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
	// keptHeads is how many letters are kept without their values, so that lists need
	// not read them again: some 20 MB.
	keptHeads = 50_000
)

// list is what the topic held at a moment. It is never changed.
type list struct {
	version string
	refs    []dlq.Ref // newest first
	open    int
}

// live follows the topics and makes lists of their letters. It keeps some 400 bytes a
// letter. While the topics can't be read, the last list stays. Safe for concurrent use.
type live struct {
	*lifecycle.Loop

	client   *dlq.Client
	queue    *dlq.Queue
	letters  string   // topic of the letters
	topics   []string // that one, and the topic of the resolutions
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
	l := &live{client: opts.Client, queue: opts.Store, letters: opts.Topic, topics: []string{opts.Topic}, now: opts.Now, instance: rand.Text()[:8]}
	if opts.Foreign != "" {
		l.letters, l.topics = opts.Foreign, append(l.topics, opts.Foreign)
	}
	l.Loop = lifecycle.NewLoop("console", l.run, nil)
	return l
}

func (l *live) run(ctx context.Context) error {
	backoff := retry.NewBackoff(longestRetry)
	for ctx.Err() == nil {
		began := time.Now()
		err := l.follow(ctx)
		if errors.Is(err, errOtherTopic) {
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

// errOtherTopic says that a topic ends before what was read of it: it was made anew, or
// lost its end.
var errOtherTopic = errors.New("the topic was made anew")

// follow reads the topics, and then what is added to them.
func (l *live) follow(ctx context.Context) error {
	known, err := l.ends(ctx)
	if err != nil {
		return err
	}
	view, err := l.queue.ScanHeads(ctx, letter.Filter{}, keptHeads)
	if err != nil {
		return err
	}
	l.build(view)
	for rest := pollEvery; retry.Sleep(ctx, rest) == nil; {
		rest = pollEvery
		now, err := l.ends(ctx)
		began := time.Now()
		switch {
		case err != nil:
		case now.before(known):
			return errOtherTopic
		case maps.Equal(now, known):
			l.failed(nil)
			continue
		default:
			err = view.Refresh(ctx)
		}
		if err != nil {
			l.failed(err)
			continue
		}
		known = now
		l.build(view)
		rest = max(pollEvery, restPerList*time.Since(began))
	}
	return ctx.Err()
}

// ends are the ends of partitions, by topic and number.
type ends map[string]int64

func (l *live) ends(ctx context.Context) (ends, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	all := ends{}
	for _, topic := range l.topics {
		bounds, err := l.client.Bounds(ctx, topic)
		if err != nil {
			return nil, err
		}
		for partition, span := range bounds {
			all[fmt.Sprint(topic, "/", partition)] = span.To
		}
	}
	return all, nil
}

// before reports whether any partition ends earlier than it did, or is gone.
func (e ends) before(earlier ends) bool {
	for partition, end := range earlier {
		if e[partition] < end {
			return true
		}
	}
	return false
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
