package changes

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// errScattered says that the rows of orders lie too far apart in the tables to be joined
// in the order in which they come.
var errScattered = errors.New("too many rows wait for others of their orders")

const (
	waitingBytes = 64 << 20
	// entryBytes is about what an entry takes beside its rows.
	entryBytes = 256
	// joinedOrders is how many whole orders travel between goroutines at a time.
	joinedOrders = 64
)

// entry is what is known so far of an order: its rows, in COPY's form.
type entry struct {
	uid           []byte
	before, after *entry           // neighbours among those that wait, in the order of their first rows
	rows          []byte           // end to end
	parts         [tableCount]span // where its row of each table is; of items, that at position 0
	items         []itemSpan       // all of its items
}

type span struct{ from, to int }

type itemSpan struct {
	span
	position int
}

func (s span) seen() bool { return s.to > 0 }

// joiner puts orders together from the rows of four scans. It belongs to one
// goroutine, but for whole and used.
type joiner struct {
	scans  [tableCount]*scan
	sorted bool  // the rows come by order_uid
	most   int64 // bytes that may wait; not for sorted ones

	open    [tableCount]bool
	counts  [tableCount]int64  // orders whose rows have come
	last    [tableCount][]byte // uid of the last row
	current *entry             // whose items are coming

	ends    entry             // of the ring of entries that wait
	waiting int               // how many these are
	held    [tableCount]int   // and how many of them have a row of a table in parts
	bytes   int64             // that these take
	index   map[string]*entry // by uid, whose bytes are the entry's own; nil: was not needed lately
	unasked int               // rows since it was
	// found is the entry of a table's last row or, when that has gone, the one
	// before it.
	found [tableCount]*entry

	batch []*entry
	whole chan []*entry // orders with all their rows
	used  chan []*entry // to be used again
	spare []*entry
}

func newJoiner(sorted bool, most int64) *joiner {
	j := &joiner{
		sorted: sorted, most: most,
		whole: make(chan []*entry, 4), used: make(chan []*entry, 8),
	}
	j.ends.before, j.ends.after = &j.ends, &j.ends
	for t := range j.open {
		j.open[t], j.found[t] = true, &j.ends
	}
	return j
}

// run reads the scans to their ends. An order counts as complete when it has a row of
// each table and the items' scan has reached another order. If rows of an order come
// after that, or without an order, run returns its uid.
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
			if err := j.settle(ctx); err != nil {
				return nil, err
			}
			continue
		}
		j.take(t, b)
		select {
		case j.scans[t].free <- b:
		default:
		}
		if j.sorted {
			err = j.settle(ctx)
		} else if j.bytes > j.most {
			err = errScattered
		}
		if err == nil && len(j.batch) >= joinedOrders {
			err = j.flush(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	for e := j.ends.after; e != &j.ends; e = e.after {
		split = append(split, string(e.uid))
	}
	slices.Sort(split)
	return split, j.flush(ctx)
}

// next chooses the scan that is behind the others.
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

// take gives orders their rows of a batch.
func (j *joiner) take(t table, b batch) {
	var uid []byte
	for row := b.next(); row != nil; row = b.next() {
		fields := row.Fields()
		uid = fields.Next()
		position := 0
		if t == itemsTable {
			position = int(orderdb.Integer(fields.Next()))
		}
		e := j.find(t, uid, position)
		at := span{len(e.rows), len(e.rows) + len(row)}
		e.rows = append(e.rows, row...)
		j.bytes += int64(len(row))
		if position == 0 {
			e.parts[t] = at
			j.held[t]++
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
	if j.unasked > 8*j.waiting { // so that making it anew costs little
		j.index = nil
	}
}

// find returns the entry of a row's order. Rows mostly lie in the same order in
// all tables: then it is the one after that of t's last row, or there is none yet
// because t is ahead. Otherwise it is looked for.
func (j *joiner) find(t table, uid []byte, position int) *entry {
	e := j.found[t]
	if position == 0 || string(e.uid) != string(uid) {
		e = e.after
	}
	j.unasked++
	if e == &j.ends || string(e.uid) != string(uid) {
		e = nil
		// No order has two rows in a table, nor two items at a position.
		if position != 0 || j.held[t] < j.waiting {
			e = j.search(uid)
		}
		if e == nil {
			e = j.entry(uid)
		}
	}
	j.found[t] = e
	return e
}

// search looks for an order among all that wait.
func (j *joiner) search(uid []byte) *entry {
	if j.index == nil {
		j.index = make(map[string]*entry, j.waiting)
		for e := j.ends.after; e != &j.ends; e = e.after {
			j.index[e.key()] = e
		}
	}
	j.unasked = 0
	return j.index[string(uid)]
}

// entry adds one to those that wait.
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
	e.before, e.after = j.ends.before, &j.ends
	e.before.after, j.ends.before = e, e
	if j.index != nil {
		j.index[e.key()] = e
	}
	j.waiting++
	j.bytes += entryBytes
	return e
}

// key is valid as long as the entry isn't used again.
func (e *entry) key() string { return orderdb.Text(e.uid) }

// check passes an order on that has all its rows.
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

// remove takes an entry from those that wait.
func (j *joiner) remove(e *entry) {
	if j.index != nil {
		delete(j.index, e.key())
	}
	j.waiting--
	j.bytes -= int64(len(e.rows)) + entryBytes
	e.before.after, e.after.before = e.after, e.before
	for t := range tableCount {
		if j.found[t] == e {
			j.found[t] = e.before
		}
		if e.parts[t].seen() {
			j.held[t]--
		}
	}
	e.before, e.after = nil, nil
}

func (j *joiner) close(t table) {
	j.open[t] = false
	if t == itemsTable {
		j.current = nil
	}
}

// settle passes orders on that can get no more rows: a table has ended or, if
// they are sorted, all have gone on to larger uids.
func (j *joiner) settle(ctx context.Context) error {
	var reached []byte // by all scans
	behind, more := j.next()
	if j.sorted && more {
		reached = j.last[behind]
	}
	for e := j.ends.after; e != &j.ends; {
		after := e.after
		switch {
		case !j.sorted:
			j.check(e)
		case more && bytes.Compare(e.uid, reached) >= 0: // there may be more of it
		default:
			if e == j.current {
				j.current = nil
			}
			if e.parts[ordersTable].seen() {
				j.pass(e)
			} else { // parts of no order
				j.remove(e)
			}
		}
		e = after
	}
	return j.flushFull(ctx)
}

func (j *joiner) flushFull(ctx context.Context) error {
	if len(j.batch) < joinedOrders {
		return nil
	}
	return j.flush(ctx)
}

// flush sends the whole orders on.
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
