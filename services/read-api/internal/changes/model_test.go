package changes

import "math/bits"

// This is a small model of the protocol between the tables and a reader, for
// model_explore_test.go to walk through every interleaving of. What PostgreSQL
// does is in this file: transactions that commit in any order, snapshots, row
// locks, TRUNCATE, deletions and their pruning, notifications, and standbys that
// replay a log. What the reader does is in model_reader_test.go; whether it has to
// relist, and whether a standby is behind, it asks the package's own code.
//
// A state is a value that can be compared, and a step makes another one of it.

// Bounds of the model. Transactions and versions are numbered from 1.
const (
	uids        = 2 // orders
	maxTxns     = 4
	maxVersions = 8 // of an order
	maxGone     = 4 // rows of order_deletions
	maxStates   = 4 // versions of order_changes_state
	maxLog      = 12
	maxStandbys = 2
)

// op is a statement of a transaction.
type op uint8

const (
	putA       op = iota // insert or update an order, or a part of it
	putB                 //
	delA                 // delete
	moveAB               // change of the uid
	trunc                // TRUNCATE of all tables
	truncParts           // TRUNCATE of a table of parts
	prune                // delete the deletions that are known, and move the horizon
	mute                 // the transaction doesn't ring: its notification is lost
)

// script is a transaction: its statements, then COMMIT or ROLLBACK.
type script []op

type status uint8

const (
	waiting status = iota
	running
	committed
	aborted
)

// set is a set of transactions or of transaction ids.
type set uint16

func (s set) has(n uint8) bool { return s&(1<<n) != 0 }
func (s set) with(n uint8) set { return s | 1<<n }
func (s set) min() uint8       { return uint8(bits.TrailingZeros16(uint16(s))) }
func (s set) max() uint8       { return uint8(bits.Len16(uint16(s)) - 1) } // of a set that isn't empty

type txn struct {
	status status
	next   uint8 // statement
	xid    uint8 // 0: none yet
	muted  bool
}

// version is a state of an order's rows. A transaction that is number 0 has been
// there from the beginning.
type version struct {
	writer, stamp uint8
	present       bool
	truncated     bool // it is what TRUNCATE left: nothing, or orders without parts
}

// gone is a row of order_deletions.
type gone struct {
	uid, writer, stamp, version uint8
	pruner                      uint8 // 0: nobody
}

// shared is a version of order_changes_state.
type shared struct{ writer, horizon, relist uint8 }

// record is an entry of the log that standbys replay.
type record struct {
	writer uint8
	kind   status // running: its first change; or how it ended
}

// world is a state of the model: everything that there is.
type world struct {
	txns     [maxTxns + 1]txn
	nextXID  uint8
	versions [uids][maxVersions]version
	count    [uids]uint8
	gone     [maxGone]gone
	goneN    uint8
	states   [maxStates]shared
	statesN  uint8

	crashes    uint8 // so far
	replicated bool
	log        [maxLog]record
	logN       uint8
	replayed   [maxStandbys]uint8

	reader reader
}

// newWorld has order A, and not order B.
func newWorld(s *scenario) world {
	m := world{nextXID: 1, replicated: s.servers != set(0).with(primary)}
	m.versions[0][0] = version{present: true}
	m.count = [uids]uint8{1, 1}
	m.states[0].horizon = s.horizon
	m.statesN = 1
	m.reader.leftOut = s.leftOut
	return m
}

// snap is a snapshot: by which transactions it sees, and by the numbers that
// pg_current_snapshot() shows of it.
type snap struct {
	seen       set
	xmin, xmax uint8
	xip        set
}

// snapshot is what a transaction that begins now sees: on the primary, or on a
// standby.
func (m *world) snapshot(server int) snap {
	s := snap{seen: set(0).with(0)}
	var busy, done set
	if server == primary {
		for n, t := range m.txns {
			switch {
			case t.status == committed:
				s.seen = s.seen.with(uint8(n))
				done = done.with(t.xid)
			case t.status == aborted:
				done = done.with(t.xid)
			case t.xid != 0:
				busy = busy.with(t.xid)
			}
		}
	} else {
		// What is in progress, a standby knows from the ids that the log has shown:
		// those between them are in progress as well, until it says otherwise.
		var known uint8
		for _, r := range m.log[:m.replayed[server]] {
			xid := m.txns[r.writer].xid
			known = max(known, xid)
			switch r.kind {
			case committed:
				s.seen = s.seen.with(r.writer)
				done = done.with(xid)
			case aborted:
				done = done.with(xid)
			default: // its first change
			}
		}
		for xid := uint8(1); xid <= known; xid++ {
			if !done.has(xid) {
				busy = busy.with(xid)
			}
		}
	}
	s.xmax = done.with(0).max() + 1
	s.xip = busy & (1<<s.xmax - 1)
	s.xmin = s.xip.with(s.xmax).min()
	if server != primary {
		s.xip = 0
	}
	return s
}

// visible is the version of an order that a snapshot sees. torn says that there
// is nothing to be read of it, or (partly) that its parts are missing: a TRUNCATE
// was committed since.
func (m *world) visible(uid int, s snap) (found uint8, torn, partly bool) {
	for i, v := range m.versions[uid][:m.count[uid]] {
		switch {
		case s.seen.has(v.writer):
			found = uint8(i)
		case v.truncated && m.txns[v.writer].status == committed:
			return found, true, v.present
		}
	}
	return found, false, false
}

func (m *world) state(s snap) (found shared) {
	for _, one := range m.states[:m.statesN] {
		if s.seen.has(one.writer) {
			found = one
		}
	}
	return found
}

// current is the version that is committed now.
func (m *world) current(uid int) uint8 {
	v, _, _ := m.visible(uid, m.snapshot(primary))
	return v
}

// wasCommitted tells whether a version was ever to be seen by others than its
// writer.
func (m *world) wasCommitted(uid int, v uint8) bool {
	writer := m.versions[uid][v].writer
	if writer != 0 && m.txns[writer].status != committed {
		return false
	}
	return v+1 >= m.count[uid] || m.versions[uid][v+1].writer != writer
}

// locked tells whether another transaction holds a row's lock.
func (m *world) locked(uid int, n uint8) bool {
	v := m.versions[uid][m.count[uid]-1]
	return v.writer != n && v.writer != 0 && m.txns[v.writer].status == running
}

// truncating tells whether a transaction holds the tables for itself.
func (m *world) truncating(except uint8) bool {
	for uid := range uids {
		v := m.versions[uid][m.count[uid]-1]
		if v.truncated && v.writer != except && m.txns[v.writer].status == running {
			return true
		}
	}
	return false
}

// do executes a transaction's next statement; false where it has to wait.
func (m *world) do(n uint8, o op) bool {
	t := &m.txns[n]
	if o != prune && m.truncating(n) {
		return false
	}
	if t.xid == 0 {
		// A statement that waits has its id already; here it gets it when it goes on,
		// which makes fewer states and no other orders of ids and commits.
		t.xid = m.nextXID
	}
	ok := true
	switch o {
	case putA:
		ok = m.write(n, 0, true)
	case putB:
		ok = m.write(n, 1, true)
	case delA:
		ok = m.remove(n, 0)
	case moveAB:
		ok = m.remove(n, 0) && m.write(n, 1, true)
	case trunc:
		ok = m.truncate(n, false)
	case truncParts:
		ok = m.truncate(n, true)
	case prune:
		ok = m.prune(n)
	case mute:
		t.muted = true
	}
	if !ok {
		return false
	}
	if t.status == waiting {
		t.status = running
		m.nextXID++
		m.append(record{n, running})
	}
	t.next++
	return true
}

func (m *world) write(n uint8, uid int, present bool) bool {
	if m.locked(uid, n) {
		return false
	}
	m.versions[uid][m.count[uid]] = version{writer: n, stamp: m.txns[n].xid, present: present}
	m.count[uid]++
	return true
}

func (m *world) remove(n uint8, uid int) bool {
	if m.locked(uid, n) {
		return false
	}
	if v := m.last(uid); !v.present {
		return true // nothing to delete
	}
	m.gone[m.goneN] = gone{uid: uint8(uid), writer: n, stamp: m.txns[n].xid, version: m.count[uid]}
	m.goneN++
	return m.write(n, uid, false)
}

// last is an order's newest version whose writer didn't roll back.
func (m *world) last(uid int) version {
	for i := m.count[uid]; i > 0; i-- {
		if v := m.versions[uid][i-1]; m.txns[v.writer].status != aborted {
			return v
		}
	}
	return version{}
}

func (m *world) truncate(n uint8, partsOnly bool) bool {
	if m.reader.locks || !m.setState(n, func(s *shared) { s.relist = m.txns[n].xid }) {
		return false
	}
	for other, t := range m.txns {
		if uint8(other) != n && t.status == running { // it may have rows' locks
			return false
		}
	}
	for uid := range uids {
		before := m.last(uid)
		m.versions[uid][m.count[uid]] = version{
			writer: n, truncated: true, present: partsOnly && before.present, stamp: before.stamp, // which it leaves
		}
		m.count[uid]++
	}
	return true
}

func (m *world) prune(n uint8) bool {
	s := m.snapshot(primary)
	newest := uint8(0)
	for i, g := range m.gone[:m.goneN] {
		if s.seen.has(g.writer) && g.pruner == 0 {
			m.gone[i].pruner = n
			newest = max(newest, g.stamp)
		}
	}
	return newest == 0 || m.setState(n, func(s *shared) {
		// Forward each time, even where what was pruned is older than the horizon.
		if m.reader.leftOut != leftHorizonWhereItIs {
			s.horizon++
		}
		s.horizon = max(s.horizon, newest+1)
	})
}

func (m *world) setState(n uint8, change func(*shared)) bool {
	s := shared{}
	for _, one := range m.states[:m.statesN] {
		switch {
		case one.writer != 0 && one.writer != n && m.txns[one.writer].status == running:
			return false
		case m.txns[one.writer].status != aborted:
			s = one
		}
	}
	s.writer = n
	change(&s)
	m.states[m.statesN] = s
	m.statesN++
	return true
}

// end commits or rolls back.
func (m *world) end(n uint8, how status) {
	t := &m.txns[n]
	t.status = how
	if how == aborted {
		for i, g := range m.gone[:m.goneN] {
			if g.pruner == n {
				m.gone[i].pruner = 0
			}
		}
	}
	m.append(record{n, how})
	if how == committed && !t.muted && m.reader.listens {
		m.reader.ring(m)
	}
}

// crash ends PostgreSQL's processes and starts them again. Of the transactions that
// were not committed nothing is on the disk beyond the last commit, so the ids after it
// are given out again. The reader learns of it when it reads next.
func (m *world) crash() {
	m.crashes++
	last := uint8(0)
	for _, t := range m.txns {
		if t.status == committed {
			last = max(last, t.xid)
		}
	}
	for n := range m.txns {
		if m.txns[n].status == running {
			m.end(uint8(n), aborted)
		}
		if m.txns[n].status == aborted && m.txns[n].xid > last {
			m.txns[n].xid = 0
		}
	}
	m.nextXID = last + 1
	m.reader.listens = false
	if m.reader.phase != idle {
		m.reader.disconnect()
	}
}

// newest is the largest stamp that a snapshot sees.
func (m *world) newest(s snap) (stamp uint8) {
	for uid := range uids {
		if v, _, _ := m.visible(uid, s); m.versions[uid][v].present {
			stamp = max(stamp, m.versions[uid][v].stamp)
		}
	}
	for _, g := range m.gone[:m.goneN] {
		if s.seen.has(g.writer) && (g.pruner == 0 || !s.seen.has(g.pruner)) {
			stamp = max(stamp, g.stamp)
		}
	}
	return stamp
}

func (m *world) append(r record) {
	if m.replicated { // nobody else asks for the order of things
		m.log[m.logN] = r
		m.logN++
	}
}

// finished tells whether all of the scripts have ended.
func (m *world) finished(scripts []script) bool {
	for i := range scripts {
		if s := m.txns[i+1].status; s != committed && s != aborted {
			return false
		}
	}
	return true
}
