package store

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/index"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/deadletter/topic"
)

// Snapshot is what the topics held when it was taken, or brought up to date.
// Safe for concurrent use.
type Snapshot struct {
	*index.Index

	store *Store

	refreshing sync.Mutex
	mu         sync.Mutex
	ends       map[string]map[int32]int64 // by topic and partition: what was read up to
	gaps       []topic.Gap
}

// Scan reads the topics from their start to the ends as they are now.
func (s *Store) Scan(ctx context.Context, filter index.Filter) (*Snapshot, error) {
	return s.ScanHeads(ctx, filter, 0)
}

// ScanHeads is Scan, and keeps the letters that match without their values, if
// there are at most so many of them; see Heads.
func (s *Store) ScanHeads(ctx context.Context, filter index.Filter, most int) (*Snapshot, error) {
	snap := &Snapshot{
		Index: index.New(s.letters(), s.opts.Topic, filter), store: s,
		ends: map[string]map[int32]int64{},
	}
	if most > 0 {
		snap.KeepHeads(most)
	}
	for _, name := range s.topics() {
		snap.ends[name] = map[int32]int64{}
	}
	return snap, snap.Refresh(ctx)
}

// Heads gives letters without values and resolutions: from memory if they were
// kept, else by reading them again. The error is ErrChanged where one is gone; the
// others are given all the same.
func (snap *Snapshot) Heads(ctx context.Context, refs []index.Ref) ([]Item, error) {
	items := make([]Item, len(refs))
	for i, ref := range refs {
		head, kept := snap.Head(ref)
		if !kept {
			loaded, err := snap.store.Load(ctx, refs)
			for j := range loaded {
				loaded[j].Letter = loaded[j].Head()
			}
			return loaded, err
		}
		items[i] = Item{Letter: head, Ref: ref}
	}
	return items, nil
}

func (s *Store) topics() []string {
	if s.opts.Foreign != "" {
		return []string{s.opts.Topic, s.opts.Foreign}
	}
	return []string{s.opts.Topic}
}

// Refresh reads what has come since.
func (snap *Snapshot) Refresh(ctx context.Context) error {
	snap.refreshing.Lock()
	defer snap.refreshing.Unlock()
	for _, name := range snap.store.topics() {
		bounds, err := snap.store.client.Bounds(ctx, name)
		if err != nil {
			return err
		}
		spans := map[int32][]topic.Span{}
		snap.mu.Lock()
		for partition, span := range bounds {
			if end, known := snap.ends[name][partition]; known {
				span.From = end
			}
			if span.From < span.To {
				spans[partition] = []topic.Span{span}
			}
		}
		snap.mu.Unlock()
		gaps, err := snap.store.client.Scan(ctx, name, spans, func(r *kgo.Record) error {
			snap.Take(r)
			return nil
		})
		if err != nil {
			return err
		}
		snap.mu.Lock()
		for partition, span := range bounds {
			snap.ends[name][partition] = max(snap.ends[name][partition], span.To)
		}
		snap.gaps = append(snap.gaps, gaps...)
		snap.mu.Unlock()
	}
	return nil
}

// Gaps are ranges of offsets that the broker dropped while they were read.
func (snap *Snapshot) Gaps() []topic.Gap {
	snap.mu.Lock()
	defer snap.mu.Unlock()
	return append([]topic.Gap(nil), snap.gaps...)
}

// Follow goes on where the snapshot ended, and hands out the letters that come
// and match its filter, one at a time. It ends with the context or an error of
// use.
func (snap *Snapshot) Follow(ctx context.Context, use func(*letter.Letter, index.Status) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var using sync.Mutex
	var followers sync.WaitGroup
	for _, name := range snap.store.topics() {
		snap.mu.Lock()
		from := maps.Clone(snap.ends[name])
		snap.mu.Unlock()
		followers.Go(func() {
			cancel(snap.store.client.Follow(ctx, name, from, func(r *kgo.Record) error {
				using.Lock()
				defer using.Unlock()
				l, status := snap.Add(r)
				snap.mu.Lock()
				snap.ends[name][r.Partition] = max(snap.ends[name][r.Partition], r.Offset+1)
				snap.mu.Unlock()
				if l != nil {
					return use(l, status)
				}
				return nil
			}))
		})
	}
	followers.Wait()
	return context.Cause(ctx)
}

// current loads those of the letters that have a status now, and hands the others
// to changed: somebody else has dealt with them. Those that are gone are passed
// over.
func (snap *Snapshot) current(ctx context.Context, refs []index.Ref, status index.Status, changed func(Item)) ([]Item, error) {
	if err := snap.Refresh(ctx); err != nil {
		return nil, err
	}
	wanted := make([]index.Ref, 0, len(refs))
	for _, ref := range refs {
		if now, there := snap.Current(ref); there {
			wanted = append(wanted, now)
		}
	}
	items, err := snap.store.Load(ctx, wanted)
	if err != nil && !errors.Is(err, ErrChanged) {
		return nil, err
	}
	kept := items[:0]
	for _, item := range items {
		if item.Ref.Status == status {
			kept = append(kept, item)
		} else {
			changed(item)
		}
	}
	return kept, nil
}
