package changes

import (
	"context"
	"fmt"
)

// Sample says which orders to look at.
type Sample struct {
	// Rows is about how many are drawn from the tables.
	Rows int
	// Expected is about how many the tables have.
	Expected int64
	// UIDs are further ones. Those that do not exist are given as deleted.
	UIDs []string
}

// ofTable draws whole pages of the table, which costs little however large it is.
const ofTable = ` TABLESAMPLE SYSTEM (%f) LIMIT %d`

// readSample gives found the orders of a sample as the transaction sees them.
func (s *Source) readSample(ctx context.Context, sample Sample, found Sink) error {
	if err := s.closeCursor(ctx); err != nil {
		return err
	}
	percent := min(100, 100*float64(sample.Rows)/float64(max(sample.Expected, 1)))
	if err := s.give(ctx, fmt.Sprintf(ofTable, percent, 2*sample.Rows), found); err != nil {
		return err
	}
	exist := existing{Sink: found, uids: make(map[string]bool, len(sample.UIDs))}
	if err := s.readListed(ctx, sample.UIDs, exist); err != nil {
		return err
	}
	for _, uid := range sample.UIDs {
		if !exist.uids[uid] {
			found.Delete(uid)
		}
	}
	return nil
}

// existing remembers which orders there are.
type existing struct {
	Sink
	uids map[string]bool
}

func (e existing) Put(o Order) bool {
	e.uids[o.OrderUID] = true
	return e.Sink.Put(o)
}
