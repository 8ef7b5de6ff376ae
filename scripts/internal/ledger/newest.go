package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// Changed is what is expected besides where the newest record of an order decides, and a
// null one deletes it. What there is of a kind is counted as if the records had arrived from
// the oldest to the newest, but for stale ones.
type Changed struct {
	Versions  int // records with other content than the order before
	Deletions int
	Recreated int // records of orders that were deleted before
	Stale     int // records that have a newer one before them in their partition: no row may come of them
	// Deleted are orders that must not be there, by order_uid, with the place of their deletion
	// and the stamp that must be remembered.
	Deleted map[string]Order

	changes map[string][]change // by order_uid
}

// change is a valid record.
type change struct {
	Order
	deletes bool
	stale   bool
}

// ExpectNewest is Expect for workers with INGEST_ON_CONFLICT=newest and
// INGEST_ON_TOMBSTONE=delete: the newest record of each order must have decided.
func ExpectNewest(ctx context.Context, brokers []string, topic string, erased ...string) (*Expected, error) {
	e := &Expected{Changed: Changed{Deleted: map[string]Order{}, changes: map[string][]change{}}}
	err := e.read(ctx, brokers, topic, erased)
	for uid, all := range e.changes {
		e.decide(uid, slices.DeleteFunc(slices.Clone(all), func(c change) bool { return c.stale }))
	}
	return e, err
}

// change takes a record with an order's content, or none.
func (e *Expected) change(r *kgo.Record, uid string, hash *model.Hash) {
	if e.erased[uid] {
		e.OfErased++
		return
	}
	c := change{Order: Order{Place: Place{r.Partition, r.Offset, r.Timestamp}, Stamp: stampOf(r)}, deletes: hash == nil}
	if hash != nil {
		c.Hash = *hash
	}
	c.stale = slices.ContainsFunc(e.changes[uid], func(earlier change) bool {
		return earlier.Partition == r.Partition && earlier.Stamp.NewerThan(c.Stamp)
	})
	if c.stale {
		e.Stale++
	}
	e.changes[uid] = append(e.changes[uid], c)
}

// decide finds the newest record of an order.
func (e *Expected) decide(uid string, all []change) {
	slices.SortFunc(all, func(a, b change) int { return a.Stamp.Compare(b.Stamp) })
	var before *change
	for i, c := range all {
		switch {
		case c.deletes:
			e.Deletions++
		case before == nil:
		case before.deletes:
			e.Recreated++
		case before.Hash == c.Hash:
			e.Duplicates++
		default:
			e.Versions++
		}
		before = &all[i]
	}
	if before.deletes {
		e.Deleted[uid] = before.Order
	} else {
		e.Orders[uid] = before.Order
	}
}

// stampOf is the stamp of a record, or of that of which it is a copy.
func stampOf(r *kgo.Record) *model.Stamp {
	stamp := &model.Stamp{Time: r.Timestamp, Partition: r.Partition, Offset: r.Offset}
	if at := header(r, deadletter.HeaderOriginTimestamp); at != "" {
		stamp.Time, _ = time.Parse(time.RFC3339, at)
		stamp.Time = stamp.Time.Truncate(time.Millisecond)
		_, _ = fmt.Sscan(header(r, deadletter.HeaderOriginPartition), &stamp.Partition)
		_, _ = fmt.Sscan(header(r, deadletter.HeaderOriginOffset), &stamp.Offset)
	}
	return stamp
}

// deletions compares the remembered deletions.
func (f *Findings) deletions(ctx context.Context, db *bun.DB, w World, e *Expected) {
	var rows []*orderdb.Version // it has the same columns, and more
	must.Succeed(db.NewSelect().Model(&rows).ModelTableExpr("order_tombstones AS v").
		Column("order_uid", "record_version", "record_time", "record_partition", "record_offset").Scan(ctx))
	remembered := map[string]*model.Stamp{}
	for _, row := range rows {
		remembered[row.OrderUID] = row.Stamp()
		if _, there := e.Deleted[row.OrderUID]; !there && w.has(row.OrderUID) {
			f.say(&f.Extra, Finding{What: "a deletion of order " + row.OrderUID + " is remembered", Place: Place{Offset: -1}, UID: row.OrderUID})
		}
	}
	for uid, order := range e.Deleted {
		if stamp := remembered[uid]; order.Stamp.Compare(stamp) != 0 {
			f.say(&f.Lost, Finding{What: fmt.Sprintf("the deletion of order %s at %v is remembered as %v", uid, order.Stamp, stamp), Place: order.Place, UID: uid})
		}
	}
}

// versions finds earlier versions of orders that cannot have been: of stale records, erased
// orders, or with other content than their record.
func (f *Findings) versions(ctx context.Context, db *bun.DB, w World, e *Expected) {
	var rows []*orderdb.Version
	must.Succeed(db.NewSelect().Model(&rows).Scan(ctx))
	for _, row := range rows {
		hash := model.ContentHash(must.Get(row.Canonical()))
		was := func(c change) bool { return !c.stale && c.Hash == hash && c.Stamp.Compare(row.Stamp()) == 0 }
		if w.has(row.OrderUID) && !slices.ContainsFunc(e.changes[row.OrderUID], was) {
			f.say(&f.Extra, Finding{What: fmt.Sprintf("order %s was never version %d, of %v", row.OrderUID, row.Number, row.Stamp()), Place: Place{Offset: -1}, UID: row.OrderUID})
		}
	}
}
