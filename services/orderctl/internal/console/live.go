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
)

const (
	// beat is how often the topics are asked for their ends.
	beat        = 250 * time.Millisecond
	beatTimeout = 4 * time.Second
	// restPerBuild keeps the making of views to a fraction of the time.
	restPerBuild = 4
	// catchUpTimeout bounds how long a page waits for what was just written.
	catchUpTimeout = 5 * time.Second

	firstRetry = 500 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// live follows the topics and makes views of them. It holds some 300 bytes for
// each letter, and no values. While the topics can't be read, the last view stays.
type live struct {
	client      *dlq.Client
	store       *dlq.Queue
	letters     string // topic of the letters
	resolutions string // topic of the resolutions, the same unless the letters are another's
	now         func() time.Time
	instance    string // tells views of one process from those of another

	// building is held while a view is made, so that an older one never follows
	// a newer.
	building sync.Mutex

	mu       sync.Mutex
	snapshot *dlq.View // nil until the topics were read once
	view     *view     // likewise
	version  uint64
	err      error // why the topics can't be read now
	since    time.Time
}

func newLive(client *dlq.Client, from *dlq.Queue, letters, resolutions string, now func() time.Time) *live {
	return &live{client: client, store: from, letters: letters, resolutions: resolutions, now: now, instance: rand.Text()[:8]}
}

// run follows the topics until the context ends.
func (l *live) run(ctx context.Context) {
	pause := firstRetry
	for ctx.Err() == nil {
		began := time.Now()
		err := l.once(ctx)
		if ctx.Err() != nil || errors.Is(err, errOtherTopic) {
			continue
		}
		l.fail(err)
		if time.Since(began) > 2*lastRetry {
			pause = firstRetry
		}
		select {
		case <-time.After(pause):
			pause = min(pause*2, lastRetry)
		case <-ctx.Done():
		}
	}
}

// errOtherTopic says that a topic ends before what was read of it: it is another
// one, or lost its end.
var errOtherTopic = errors.New("the topic was made anew")

// ends are those of the topics' partitions.
type ends map[string]map[int32]int64

// once reads the topics and follows them until they are others.
func (l *live) once(ctx context.Context) error {
	known, err := l.ends(ctx)
	if err != nil {
		return err
	}
	snap, err := l.store.Scan(ctx, letter.Filter{})
	if err != nil {
		return err
	}
	l.build(snap)
	for rest := beat; ; {
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return ctx.Err()
		}
		rest = beat
		now, err := l.ends(ctx)
		if err != nil {
			l.fail(err)
			continue
		}
		if now.before(known) {
			return errOtherTopic
		}
		if now.equal(known) {
			l.recover()
			continue
		}
		began := time.Now()
		if err := snap.Refresh(ctx); err != nil {
			l.fail(err)
			continue
		}
		known = now
		l.build(snap)
		rest = max(beat, restPerBuild*time.Since(began))
	}
}

// ends asks for the topics' ends. It costs two small requests a topic.
func (l *live) ends(ctx context.Context) (ends, error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	all := ends{}
	for _, name := range []string{l.resolutions, l.letters} {
		if all[name] != nil {
			continue
		}
		bounds, err := l.client.Bounds(ctx, name)
		if err != nil {
			return nil, err
		}
		all[name] = map[int32]int64{}
		for partition, span := range bounds {
			all[name][partition] = span.To
		}
	}
	return all, nil
}

func (e ends) equal(other ends) bool {
	return maps.EqualFunc(e, other, maps.Equal)
}

// before says whether any partition ends earlier than it did, or is gone.
func (e ends) before(other ends) bool {
	for name, partitions := range other {
		for partition, end := range partitions {
			if e[name][partition] < end {
				return true
			}
		}
	}
	return false
}

func (l *live) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.since = l.now()
	}
	l.err = err
}

func (l *live) recover() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = nil
}

func (l *live) build(snap *dlq.View) {
	l.building.Lock()
	defer l.building.Unlock()
	v := newView(snap.Select(letter.Any, 0))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version++
	v.version = fmt.Sprintf("%s-%d", l.instance, l.version)
	l.snapshot, l.view, l.err = snap, v, nil
}

// state is how well the topics are known.
type state struct {
	View  *view // nil: not yet
	Err   error // why they can't be read now
	Since time.Time
}

func (l *live) state() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return state{View: l.view, Err: l.err, Since: l.since}
}

// current is the snapshot that is followed, nil until there is one.
func (l *live) current() *dlq.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.snapshot
}

// catchUp makes a view of all that is in the topics now, for pages that show what
// was just done. It gives up quietly: the view comes later then.
func (l *live) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if snap := l.current(); snap != nil && snap.Refresh(ctx) == nil {
		l.build(snap)
	}
}
