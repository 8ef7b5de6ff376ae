package changes

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// errScattered means that the rows of orders lie too far apart in the tables to be joined
// in the order in which they arrive.
var errScattered = errors.New("too many rows wait for others of their orders, or too many orders differ")

const (
	waitingBytes = 64 << 20
	// entryBytes is about the size of an entry without its rows.
	entryBytes = 256
	// joinedOrders is how many complete orders are sent to the encoders at a time.
	joinedOrders = 64
)

// entry is an order of which some rows have arrived, in COPY's form.
type entry struct {
	uid   []byte
	rows  []byte           // one after another
	parts [tableCount]span // its row of each table, within rows; of items, that at position 0
	items []itemSpan       // all of its items
}

type span struct{ from, to int }

type itemSpan struct {
	span
	position int
}

func (s span) seen() bool { return s.to > 0 }

// joiner joins the rows of four scans to orders. Only the channels whole and used are
// for other goroutines.
type joiner struct {
	scans  [tableCount]*scan
	sorted bool  // the rows are sorted by order_uid
	most   int64 // limit of bytes, unless sorted

	open    [tableCount]bool
	counts  [tableCount]int64  // orders whose rows have arrived
	last    [tableCount][]byte // uid of the last row
	current *entry             // the order of the last item

	waiting map[string]*entry // incomplete orders by uid, whose bytes are the entry's own
	bytes   int64             // size of these

	batch []*entry
	whole chan []*entry // orders with all their rows
	used  chan []*entry // for reuse
	spare []*entry
}

func newJoiner(sorted bool, most int64) *joiner {
	j := &joiner{
		sorted: sorted, most: most, waiting: map[string]*entry{},
		whole: make(chan []*entry, 4), used: make(chan []*entry, 8),
	}
	for t := range j.open {
		j.open[t] = true
	}
	return j
}

// run reads the scans to their ends. An order counts as complete when it has a row of
// each table and the items' scan has reached another order. run returns the uids of
// orders that got a row after that, and of parts without an order.
func (j *joiner) run(ctx context.Context) (split []string, err error) {
	for {
		t, more := j.next()
		if !more {
			break
		}
		var b batch
		select {
		case b = <-j.scans[t].rows:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if b == nil {
			// A scan that failed ends as well.
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			j.close(t)
			j.settle()
		} else {
			j.take(t, b)
			select {
			case j.scans[t].free <- b:
			default:
			}
			if j.sorted {
				j.settle()
			} else if j.bytes > j.most {
				return nil, errScattered
			}
		}
		if len(j.batch) >= joinedOrders {
			if err := j.flush(ctx); err != nil {
				return nil, err
			}
		}
	}
	for _, e := range j.waiting {
		split = append(split, string(e.uid))
	}
	slices.Sort(split)
	return split, j.flush(ctx)
}

// next returns the scan that is behind the others.
func (j *joiner) next() (t table, more bool) {
	for candidate := range tableCount {
		switch {
		case !j.open[candidate]:
		case !more,
			j.sorted && bytes.Compare(j.last[candidate], j.last[t]) < 0,
			!j.sorted && j.counts[candidate] < j.counts[t]:
			t, more = candidate, true
		}
	}
	return t, more
}

func (j *joiner) take(t table, b batch) {
	var uid []byte
	for row := b.next(); row != nil; row = b.next() {
		fields := row.Fields()
		uid = fields.Next()
		position := 0
		if t == itemsTable {
			position = int(orderdb.Integer(fields.Next()))
		}
		e := j.waiting[orderdb.Text(uid)]
		if e == nil {
			e = j.entry(uid)
		}
		at := span{len(e.rows), len(e.rows) + len(row)}
		e.rows = append(e.rows, row...)
		j.bytes += int64(len(row))
		if position == 0 {
			e.parts[t] = at
			j.counts[t]++
		}
		if t != itemsTable {
			j.check(e)
			continue
		}
		e.items = append(e.items, itemSpan{at, position})
		if e != j.current {
			before := j.current
			j.current = e
			if before != nil {
				j.check(before)
			}
		}
	}
	if uid != nil {
		j.last[t] = append(j.last[t][:0], uid...)
	}
}

// entry adds an order to those that wait.
func (j *joiner) entry(uid []byte) *entry {
	if len(j.spare) == 0 {
		select {
		case j.spare = <-j.used:
		default:
		}
	}
	var e *entry
	if n := len(j.spare); n > 0 {
		e, j.spare = j.spare[n-1], j.spare[:n-1]
		*e = entry{uid: e.uid[:0], rows: e.rows[:0], items: e.items[:0]}
	} else {
		e = &entry{}
	}
	e.uid = append(e.uid, uid...)
	j.waiting[orderdb.Text(e.uid)] = e
	j.bytes += entryBytes
	return e
}

// check passes an order on if it has all its rows.
func (j *joiner) check(e *entry) {
	if !e.parts[ordersTable].seen() {
		return
	}
	for t := deliveriesTable; t < itemsTable; t++ {
		if j.open[t] && !e.parts[t].seen() {
			return
		}
	}
	if j.open[itemsTable] && (len(e.items) == 0 || e == j.current) {
		return
	}
	j.pass(e)
}

func (j *joiner) pass(e *entry) {
	j.remove(e)
	j.batch = append(j.batch, e)
}

func (j *joiner) remove(e *entry) {
	delete(j.waiting, orderdb.Text(e.uid))
	j.bytes -= int64(len(e.rows)) + entryBytes
}

func (j *joiner) close(t table) {
	j.open[t] = false
	if t == itemsTable {
		j.current = nil
	}
}

// settle passes on the orders that can get no more rows, because a table has ended or,
// in sorted tables, all scans have reached larger uids.
func (j *joiner) settle() {
	var reached []byte // by all scans
	behind, more := j.next()
	if j.sorted && more {
		reached = j.last[behind]
	}
	for _, e := range j.waiting {
		switch {
		case !j.sorted:
			j.check(e)
		case more && bytes.Compare(e.uid, reached) >= 0: // more rows may arrive
		default:
			if e == j.current {
				j.current = nil
			}
			if e.parts[ordersTable].seen() {
				j.pass(e)
			} else { // parts without an order
				j.remove(e)
			}
		}
	}
}

func (j *joiner) flush(ctx context.Context) error {
	for chunk := range slices.Chunk(j.batch, joinedOrders) {
		select {
		case j.whole <- slices.Clone(chunk):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	j.batch = j.batch[:0]
	return nil
}
