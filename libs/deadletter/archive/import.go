package archive

import (
	"context"
	"errors"
	"io"

	"github.com/orderhub/orderhub/libs/deadletter/index"
	"github.com/orderhub/orderhub/libs/deadletter/store"
)

// importChunk is how many entries are written together.
const importChunk = 100

// Import writes the letters of entries, with their resolutions, that the topic
// does not have; done is told of each, and whether it was there already. What is
// there stays as it is, so an import can be run again, also after it was
// interrupted: resolutions are written first, so that no letter is open in
// between that was not.
func Import(ctx context.Context, box *store.Store, entries *Reader, done func(id string, there bool)) error {
	snap, err := box.Scan(ctx, index.Filter{})
	if err != nil {
		return err
	}
	for last := false; !last; {
		var some []Entry
		for len(some) < importChunk {
			e, err := entries.Next()
			if last = errors.Is(err, io.EOF); last {
				break
			}
			if err != nil {
				return errors.Join(write(ctx, box, snap, some, done), err)
			}
			some = append(some, e)
		}
		if err := write(ctx, box, snap, some, done); err != nil {
			return err
		}
	}
	return nil
}

func write(ctx context.Context, box *store.Store, snap *store.Snapshot, entries []Entry, done func(id string, there bool)) error {
	copies := make([]store.Copied, 0, len(entries))
	there := make([]bool, len(entries))
	for i := range entries {
		e := &entries[i]
		c := store.Copied{ID: e.ID, Partition: e.Letter.Partition, Letter: e.Letter.Record("", 0)}
		if e.Resolution != nil {
			c.Resolution = e.Resolution.Record("", 0)
		}
		if known, exists := snap.Lookup(e.ID); exists {
			if there[i] = known.HasLetter; there[i] {
				continue
			}
			c.Partition, c.Resolution = known.ResolutionPartition, nil // as it is there
		}
		copies = append(copies, c)
	}
	if err := box.Insert(ctx, copies); err != nil {
		return err
	}
	for i, e := range entries {
		done(e.ID, there[i])
	}
	return nil
}
