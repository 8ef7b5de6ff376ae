package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/index"
	"github.com/orderhub/orderhub/libs/deadletter/resolution"
	"github.com/orderhub/orderhub/libs/deadletter/topic"
)

// Undo and Purge take records away. A purge that did not know of an undo would
// take an open letter away, and Kafka has no "write if nothing changed". So both
// work as the only one of a transactional id: whoever begins ends what the other
// is at, reads the topic up to its end, and only then writes. What was read still
// holds when the records are in, or they do not get in.

// exclusiveName is the transactional id of a topic's undos and purges.
func exclusiveName(name string) string { return "orderhub-dlq/" + name }

const (
	// tries is how often work that somebody else broke off is begun anew.
	tries = 8
	// longestPause is the most that passes before that; it differs at random, so
	// that two do not go on breaking each other off.
	longestPause = 300 * time.Millisecond
)

// exclusively has work done by the only one, and begins anew where somebody else
// became that.
func (s *Store) exclusively(ctx context.Context, work func(*topic.Exclusive) error) error {
	for try := 1; ; try++ {
		err := s.exclusivelyOnce(ctx, work)
		if !errors.Is(err, topic.ErrInterfered) || try == tries {
			return err
		}
		timer := time.NewTimer(rand.N(longestPause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

func (s *Store) exclusivelyOnce(ctx context.Context, work func(*topic.Exclusive) error) error {
	only, err := s.client.Exclusive(ctx, exclusiveName(s.opts.Topic))
	if err != nil {
		return err
	}
	defer only.Close()
	return work(only)
}

// Undo takes back what was done about resolved letters: they are open again.
// What was sent stays sent.
func (s *Store) Undo(ctx context.Context, snap *Snapshot, refs []index.Ref, done func(Outcome)) error {
	return chunks(ctx, refs, func(refs []index.Ref) error {
		return s.exclusively(ctx, func(only *topic.Exclusive) error {
			var changed []Outcome
			items, err := snap.current(ctx, refs, index.Resolved, func(i Item) { changed = append(changed, Outcome{Item: i, Err: ErrNotResolved}) })
			if err != nil {
				return err
			}
			var records []*kgo.Record
			for _, item := range items {
				for _, partition := range item.Ref.Resolutions() {
					records = append(records, resolution.Undo(s.opts.Topic, partition, item.ID))
				}
			}
			if len(records) > 0 {
				if err := only.Write(ctx, records...); err != nil {
					return err
				}
			}
			for _, o := range changed {
				done(o)
			}
			for _, item := range items {
				done(Outcome{Item: item})
			}
			return nil
		})
	})
}

// PurgeOptions say what Purge removes.
type PurgeOptions struct {
	// Before is when a letter was resolved at the latest.
	Before time.Time
	// Source is the topic whose letters Topic holds: resolutions without a
	// letter are removed only if that came from there. Others may be of letters
	// in a foreign topic.
	Source string
	// DryRun only tells.
	DryRun bool
}

// Purge removes from the topic what was resolved before a time, letter and
// resolution together. Letters that are not ours stay, and so do their
// resolutions, without which they would be open again. done is told of each
// letter once it is gone.
func (s *Store) Purge(ctx context.Context, o PurgeOptions, done func(id string)) error {
	switch {
	case s.opts.Foreign != "":
		return errors.New("letters of a topic that others write cannot be purged")
	case o.DryRun:
		return s.purge(ctx, nil, o, done)
	}
	return s.exclusively(ctx, func(only *topic.Exclusive) error { return s.purge(ctx, only, o, done) })
}

func (s *Store) purge(ctx context.Context, only *topic.Exclusive, o PurgeOptions, done func(id string)) error {
	snap, err := s.Scan(ctx, index.Filter{})
	if err != nil {
		return err
	}
	remove := func(refs []index.Ref, ours func(Item) bool) error {
		return chunks(ctx, refs, func(refs []index.Ref) error {
			items, err := s.Load(ctx, refs)
			if err != nil && !errors.Is(err, ErrChanged) {
				return err
			}
			var ids []string
			var records []*kgo.Record
			for _, item := range items {
				r := item.Resolution
				if r == nil || r.When.IsZero() || !r.When.Before(o.Before) || !ours(item) {
					continue
				}
				ids = append(ids, r.ID)
				for _, partition := range item.Ref.Letters() {
					records = append(records, &kgo.Record{Topic: s.opts.Topic, Partition: partition, Key: []byte(r.ID)})
				}
				for _, partition := range item.Ref.Resolutions() {
					records = append(records, resolution.Undo(s.opts.Topic, partition, r.ID))
				}
			}
			if len(ids) == 0 {
				return nil
			}
			if only != nil {
				if err := only.Write(ctx, records...); err != nil {
					return err
				}
			}
			for _, id := range ids {
				done(id)
			}
			return nil
		})
	}
	if err := remove(snap.Select(index.Resolved, 0), func(i Item) bool { return string(i.Key) == i.ID }); err != nil {
		return err
	}
	return remove(snap.Orphans(), func(i Item) bool { return strings.HasPrefix(i.Resolution.ID, o.Source+"/") })
}
