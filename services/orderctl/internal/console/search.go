package console

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

const (
	// searchTimeout is how long reading the whole topic for a search may take.
	searchTimeout = 60 * time.Second
	// searchLife is how long a search's result serves while new letters come.
	searchLife = 10 * time.Second
	// keptSearches bounds the memory: that many results are kept.
	keptSearches = 8
)

// searches answers what the index can't: it reads the topic, one search at a
// time, and keeps the last results, so that turning pages does not read again.
type searches struct {
	now func() time.Time

	turn chan struct{} // of capacity 1: whose turn it is to read

	mu   sync.Mutex
	kept []*searched // the newest last
}

// searched is a search's result.
type searched struct {
	filter    string
	version   string // of the view that it was made for
	at        time.Time
	positions []position
}

func newSearches(now func() time.Time) *searches {
	return &searches{now: now, turn: make(chan struct{}, 1)}
}

func (s *searches) find(ctx context.Context, from *dlq.Queue, f letter.Filter, version string) ([]position, error) {
	name := fmt.Sprintf("%q %q %q %q %q %q", f.Text, f.UID, f.Origin, f.Keys, f.Paths, f.Rules)
	if found := s.recent(name, version); found != nil {
		return found.positions, nil
	}
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if found := s.recent(name, version); found != nil { // somebody asked the same
		return found.positions, nil
	}
	snap, err := from.Scan(ctx, f)
	if err != nil {
		return nil, err
	}
	refs := snap.Select(letter.Any, 0)
	found := &searched{filter: name, version: version, at: s.now(), positions: make([]position, len(refs))}
	for i := range refs {
		found.positions[i] = positionOf(&refs[i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, found)
	if len(s.kept) > keptSearches {
		s.kept = append(s.kept[:0], s.kept[1:]...)
	}
	return found.positions, nil
}

func (s *searches) recent(name, version string) *searched {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Backward(s.kept) {
		if k.filter == name && (k.version == version || s.now().Sub(k.at) < searchLife) {
			return k
		}
	}
	return nil
}
