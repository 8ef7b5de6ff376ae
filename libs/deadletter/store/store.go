// Package store finds dead letters and deals with them: it reads their topic,
// sends letters back to where they came from, and writes down what was done. The
// topic is all there is: no second store.
package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/index"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/deadletter/resolution"
	"github.com/orderhub/orderhub/libs/deadletter/topic"
)

// Options of a Store.
type Options struct {
	// Topic holds our worker's letters, and all resolutions.
	Topic string
	// Foreign is a topic of letters that somebody else wrote; then these are
	// the letters. Empty: those of Topic are.
	Foreign string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Store is safe for concurrent use.
type Store struct {
	client *topic.Client
	opts   Options
}

// New returns a store that reads and writes through a client.
func New(client *topic.Client, opts Options) *Store {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Foreign == opts.Topic {
		opts.Foreign = ""
	}
	return &Store{client: client, opts: opts}
}

// letters is the topic that the letters are in.
func (s *Store) letters() string {
	if s.opts.Foreign != "" {
		return s.opts.Foreign
	}
	return s.opts.Topic
}

// Item is a letter with what was done about it.
type Item struct {
	letter.Letter
	Ref index.Ref
	// Resolution is nil while the letter is open.
	Resolution *resolution.Resolution
	// Record and ResolutionRecord are the two as they stand in their topics.
	Record, ResolutionRecord *kgo.Record
}

// ErrChanged says that letters were gone when they were read again: purged,
// or replaced by a copy, in between.
var ErrChanged = errors.New("the letters changed while they were read; run the command again")

// nearby is how many offsets between two wanted records are read along.
const nearby = 200

// Load reads letters again, in the order of refs. The error is ErrChanged where
// one is gone; those that are there are given all the same.
func (s *Store) Load(ctx context.Context, refs []index.Ref) ([]Item, error) {
	wanted := map[string]map[int32][]int64{}
	want := func(name string, partition int32, offset int64) {
		if wanted[name] == nil {
			wanted[name] = map[int32][]int64{}
		}
		wanted[name][partition] = append(wanted[name][partition], offset)
	}
	for _, r := range refs {
		if r.HasLetter {
			want(s.letters(), r.Partition, r.Offset)
		}
		if r.Status == index.Resolved {
			want(s.opts.Topic, r.ResolutionPartition, r.ResolutionOffset)
		}
	}
	found := map[letter.Place]*kgo.Record{}
	for name, partitions := range wanted {
		if err := s.fetch(ctx, name, partitions, found); err != nil {
			return nil, err
		}
	}
	items := make([]Item, 0, len(refs))
	var changed error
	for _, r := range refs {
		item := Item{Ref: r}
		if r.HasLetter {
			record := found[letter.Place{Topic: s.letters(), Partition: r.Partition, Offset: r.Offset}]
			if record == nil {
				changed = ErrChanged
				continue
			}
			item.Letter, item.Record = letter.Parse(record), record
		}
		if r.Status == index.Resolved {
			record := found[letter.Place{Topic: s.opts.Topic, Partition: r.ResolutionPartition, Offset: r.ResolutionOffset}]
			if record == nil {
				changed = ErrChanged
				continue
			}
			// One that can't be read resolves its letter all the same.
			parsed, _ := resolution.Parse(record)
			item.Resolution, item.ResolutionRecord = &parsed, record
		}
		items = append(items, item)
	}
	return items, changed
}

// fetch reads single records, those that are near each other in one go.
func (s *Store) fetch(ctx context.Context, name string, partitions map[int32][]int64, found map[letter.Place]*kgo.Record) error {
	spans := map[int32][]topic.Span{}
	for partition, offsets := range partitions {
		slices.Sort(offsets)
		offsets = slices.Compact(offsets)
		partitions[partition] = offsets
		var merged []topic.Span
		for _, offset := range offsets {
			if n := len(merged); n > 0 && offset-merged[n-1].To < nearby {
				merged[n-1].To = offset + 1
				continue
			}
			merged = append(merged, topic.Span{From: offset, To: offset + 1})
		}
		spans[partition] = merged
	}
	var mu sync.Mutex
	_, err := s.client.Read(ctx, name, spans, func(r *kgo.Record) error {
		if _, ok := slices.BinarySearch(partitions[r.Partition], r.Offset); ok {
			mu.Lock()
			found[letter.Place{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}] = r
			mu.Unlock()
		}
		return nil
	})
	return err
}

// rescans is how often List begins anew where letters changed meanwhile.
const rescans = 3

// List finds letters, newest first, at most limit of them (0: all).
func (s *Store) List(ctx context.Context, filter index.Filter, status index.Status, limit int) ([]Item, *Snapshot, error) {
	for attempt := 1; ; attempt++ {
		snap, err := s.Scan(ctx, filter)
		if err != nil {
			return nil, nil, err
		}
		items, err := s.Load(ctx, snap.Select(status, limit))
		if errors.Is(err, ErrChanged) && attempt < rescans {
			continue
		}
		return items, snap, err
	}
}

// Errors of Find.
var (
	ErrNotFound  = errors.New("there is no such letter")
	ErrAmbiguous = errors.New("several letters have this topic, partition and offset: give the id with its 8 hex digits")
)

// Find gives the letters with the ids, which may lack their hex digits where
// that is unique, in the order given. The error names the id that is not found or
// not unique.
func (s *Store) Find(ctx context.Context, ids ...string) ([]Item, *Snapshot, error) {
	items, snap, err := s.List(ctx, index.Filter{IDs: ids}, index.Any, 0)
	if err != nil {
		return nil, nil, err
	}
	found := make([]Item, 0, len(ids))
	for _, id := range ids {
		matches := slices.DeleteFunc(slices.Clone(items), func(i Item) bool { return !index.SameID(id, i.ID) })
		switch len(matches) {
		case 0:
			return nil, nil, fmt.Errorf("%s: %w", id, ErrNotFound)
		case 1:
			if !slices.ContainsFunc(found, func(i Item) bool { return i.ID == matches[0].ID }) {
				found = append(found, matches[0])
			}
		default:
			return nil, nil, fmt.Errorf("%s: %w", id, ErrAmbiguous)
		}
	}
	return found, snap, nil
}

// History gives the letters of a row of redrives, the first first.
func (s *Store) History(ctx context.Context, item Item) ([]Item, error) {
	items, _, err := s.List(ctx, index.Filter{Origin: item.Origin}, index.Any, 0)
	slices.Reverse(items)
	return items, err
}
