package orderwrite

import (
	"context"
	"database/sql"

	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// decision is made inside a transaction and takes effect once that has succeeded.
type decision struct {
	entry   *Entry
	outcome Outcome
	differs []string

	writes   bool         // the tables are to be changed: change does it
	previous *model.Order // what the entry replaces or deletes
}

// row is what the look-up returns of an order that is stored, or that was deleted.
type row struct {
	hash  []byte
	xid   string
	stamp *model.Stamp // nil: it is older than any record
	// deleted says that there is no order, but a remembered deletion.
	deleted bool
	// remembered says that there is a remembered deletion.
	remembered bool
}

// and combines an order that somebody made by hand with the deletion before. The order
// stays, and is as new as the deletion: what was older than that does not replace it.
func (r row) and(other row) row {
	if r.deleted {
		r, other = other, r
	}
	if other.stamp.NewerThan(r.stamp) {
		r.stamp = other.stamp
	}
	r.remembered = true
	return r
}

// is tells whether a row is what an entry makes of it.
func (r row) is(e *Entry) bool {
	if e.Order == nil {
		return r.deleted && r.stamp.Compare(e.Stamp) == 0
	}
	return !r.deleted && e.Has(r.hash)
}

// compare sorts the entries into those that were erased or that the look-up decides, those
// whose order is to be read, and those to insert.
func (w *Writer) compare(pending []*Entry, stored map[string]row, erased *erased.Known) (decided []decision, unlike, fresh []*Entry) {
	taken := make(map[string]bool, len(pending)) // orders that an earlier entry writes
	for _, e := range pending {
		uid := e.UID()
		r, exists := stored[uid]
		newer := e.Stamp.NewerThan(r.stamp)
		switch {
		case erased.Has(uid):
			decided = append(decided, decision{entry: e, outcome: Erased})
		case taken[uid]: // the next round decides
		case exists && e.xid != "" && (r.xid == e.xid || r.deleted) && r.is(e):
			decided = append(decided, decision{entry: e, outcome: e.tried}) // by our own commit, whose answer was lost
		case e.Accepted && (!exists || r.deleted):
			decided = append(decided, decision{entry: e, outcome: Absent})
		case e.Accepted: // its rows count, whatever record they come from
			unlike = append(unlike, e)
			taken[uid] = true
		case e.Order == nil && !exists:
			decided = append(decided, decision{entry: e, outcome: Deleted, writes: true})
			taken[uid] = true
		case e.Order == nil && r.deleted, exists && r.is(e):
			writes := newer && w.opts.Versions.on()
			decided = append(decided, decision{entry: e, outcome: Duplicate, writes: writes})
			taken[uid] = writes
		case e.Order == nil && !newer, r.deleted && !newer:
			decided = append(decided, decision{entry: e, outcome: Stale})
		case exists && !r.deleted:
			unlike = append(unlike, e)
			taken[uid] = w.opts.Versions.on()
		default:
			fresh = append(fresh, e)
			taken[uid] = true
		}
	}
	return decided, unlike, fresh
}

// compareRows compares entries with the rows as they are now: rows that were
// inserted or changed by hand may equal a record although their hash does not.
func (w *Writer) compareRows(ctx context.Context, tx *sql.Tx, unlike []*Entry, stored map[string]row) ([]decision, error) {
	uids := make([]string, 0, len(unlike))
	for _, e := range unlike {
		uids = append(uids, e.UID())
	}
	rows, err := orderdb.Read(ctx, tx, uids)
	if err != nil {
		return nil, err
	}
	decided := make([]decision, 0, len(unlike))
	for _, e := range unlike {
		s, ok := rows[e.UID()]
		stamp := stored[e.UID()].stamp
		switch {
		case !ok: // it stays pending
		case e.Accepted:
			decided = append(decided, w.accept(e, s.Order, stamp))
		default:
			decided = append(decided, w.compareRow(e, s.Order, e.Stamp.NewerThan(stamp)))
		}
	}
	return decided, recognize(ctx, tx, decided, w.opts.Differs)
}

// accept decides an entry that people accepted. The order is as new as before, or newer, so
// that no record which is older than that changes it again.
func (w *Writer) accept(e *Entry, stored *model.Order, stamp *model.Stamp) decision {
	same := len(model.Diff(model.BothKept(stored, e.Order))) == 0
	switch {
	case same && e.Stamp != nil && e.Stamp.Compare(stamp) == 0: // by an earlier call, which was killed
		return decision{entry: e, outcome: Replaced}
	case same:
		return decision{entry: e, outcome: Duplicate}
	case e.Instead != nil && len(w.opts.Differs(stored, e.Instead)) > 0:
		return decision{entry: e, outcome: Stale}
	case stamp.NewerThan(e.Stamp):
		e.Stamp = stamp
	}
	return decision{entry: e, outcome: Replaced, writes: true, previous: stored}
}

// recognize finds the conflicts that have the content of an earlier version of their order.
// They are duplicates: such a record was stored before.
func recognize(ctx context.Context, tx *sql.Tx, decided []decision, differs func(stored, o *model.Order) []string) error {
	var uids []string
	for _, d := range decided {
		if d.outcome == Conflict {
			uids = append(uids, d.entry.UID())
		}
	}
	earlier, err := orderdb.Earlier(ctx, tx, uids)
	if err != nil {
		return err
	}
	for i := range decided {
		if d := &decided[i]; d.outcome == Conflict && orderdb.HasContent(earlier[d.entry.UID()], d.entry.Order, differs) {
			d.outcome, d.differs = Duplicate, nil
		}
	}
	return nil
}

func (w *Writer) compareRow(e *Entry, stored *model.Order, newer bool) decision {
	if e.Order == nil {
		return decision{entry: e, outcome: Deleted, writes: true, previous: stored}
	}
	// A newer record also replaces one that differs only in its form, which Options.Differs
	// may leave out: else the form would depend on which record came first.
	if w.opts.Versions.Newest && newer && len(model.Diff(model.BothKept(stored, e.Order))) > 0 {
		return decision{entry: e, outcome: Replaced, writes: true, previous: stored}
	}
	switch differs := w.opts.Differs(stored, e.Order); {
	case len(differs) == 0:
		return decision{entry: e, outcome: Duplicate, writes: newer && w.opts.Versions.on()}
	case w.opts.Versions.Newest:
		return decision{entry: e, outcome: Stale}
	default:
		return decision{entry: e, outcome: Conflict, differs: differs}
	}
}
