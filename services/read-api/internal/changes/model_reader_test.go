package changes

import "fmt"

// leftOut is a step of the protocol that a reader leaves out, for the model to
// find what it is good for.
type leftOut uint8

const (
	nothing               leftOut = iota
	leftRingAtListen              // a new listener doesn't look at what it has missed
	leftRingWhileBusy             // a notification during a round is dropped
	leftXip                       // what is new is told by xmax alone
	leftSnapshotForMax            // what is new is told by the largest change_xid that was read
	leftOneTransaction            // deletions are read in a transaction before the orders'
	leftDeletionFilter            // deletions of orders that exist again are applied
	leftHorizon                   // no relist where deletions were pruned
	leftHorizonWhereItIs          // pruning doesn't move a horizon that is far enough already
	leftRelist                    // no relist after TRUNCATE
	leftLocks                     // TRUNCATE isn't kept out of the reader's transactions
	leftOldPosition               // a round that fails counts as done
	leftCompare                   // a relist empties the store before it fills it
	leftSweep                     // what a relist's snapshot lacks stays
	leftStandbyQuery              // a standby is asked as a primary is
	leftPursuit                   // a notification of the primary's makes one round on the standby
	leftWaitForTheStandby         // a standby that is behind is read all the same
	leftDurable                   // ids beyond the newest stamp are believed to be used up
)

// primary is the server that isn't one of the standbys.
const primary = maxStandbys

type phase uint8

const (
	wantsSnapshot phase = iota
	snapshotLocked
	snapshotTaken
	snapshotHalf // one of the two orders is read
	wantsRound
	roundLocked
	roundTaken
	roundDeleted // the deletions are applied
	roundHalf    // and one of the two orders
	idle
)

var (
	phaseNames = [...]string{
		wantsSnapshot: "the snapshot begins, and locks the tables", snapshotLocked: "the snapshot is taken",
		snapshotTaken: "the snapshot reads order A", snapshotHalf: "the snapshot reads order B",
		wantsRound: "a round begins, and locks the tables", roundLocked: "the round's snapshot is taken",
		roundTaken: "the round reads the deletions", roundDeleted: "the round reads order A", roundHalf: "the round reads order B",
	}
	serverNames = [...]string{"the reader connects to the standby", "the reader connects to the other standby", primary: "the reader connects"}
)

// absentForNow is what a store that is being filled has of an order that wasn't
// read yet, and broken what it has where its parts, or it, could not be seen.
const (
	absentForNow = maxVersions + iota
	broken
)

type store [uids]uint8

// at is a position with what it was read with.
type at struct {
	snap    snap
	state   shared
	newest  uint8
	lsn     uint8
	standby bool
}

// kept is what a reader remembers of it. (Fewer states are the same without the
// rest.)
func (a at) kept(left leftOut) at {
	if left != leftDurable {
		saw := a.position(left).durable()
		a.snap.xmin, a.snap.xmax = uint8(saw.Xmin), uint8(saw.Xmax)
		a.snap.xip &= 1<<a.snap.xmax - 1
	}
	a.newest = a.snap.xmax - 1 // as of a token
	a.snap.seen, a.state.writer = 0, 0
	return a
}

func (a at) position(left leftOut) Position {
	p := Position{
		Snapshot: TxSnapshot{Xmin: uint64(a.snap.xmin), Xmax: uint64(a.snap.xmax)}, Newest: uint64(a.newest),
		Standby: a.standby, LSN: uint64(a.lsn), Horizon: uint64(a.state.horizon), Relist: uint64(a.state.relist),
	}
	if left == leftHorizon {
		p.Horizon = 0
	}
	if left == leftRelist {
		p.Relist = 0
	}
	return p
}

// reader is a reader's part of the state.
type reader struct {
	leftOut leftOut

	listens bool
	bell    bool
	target  uint8 // up to here in the log the last notification was

	phase       phase
	connected   bool
	server      uint8
	reached     uint8 // of the server's log, when it was last asked
	read        uint8 // of the log, at most
	locks       bool
	now         at   // of the transaction
	early       snap // where deletions are read in a transaction of their own
	seen        uint8
	quiet       bool // the transaction sees the end of all writers
	from        at
	largest     uint8 // change_xid that was read; for leftSnapshotForMax
	cache       store // what is served
	published   bool
	fresh       store // what a snapshot fills; of a relist, what it lacks
	filling     bool
	cuts, fails uint8 // so far
}

func (r *reader) ring(m *world) {
	r.target = m.logN
	if r.leftOut == leftRingWhileBusy && r.phase != idle {
		return
	}
	r.bell = true
}

// steps gives use each thing that the reader could do next, and what goes wrong
// with it.
func (m *world) steps(s *scenario, use func(name string, next world, wrong string)) {
	r := &m.reader
	step := func(name string, do func(*world) string) {
		next := *m
		wrong := do(&next)
		use(name, next, wrong)
	}
	if !r.listens {
		step("the doorbell listens", func(m *world) string {
			m.reader.listens = true
			if m.reader.leftOut != leftRingAtListen {
				m.reader.ring(m)
			}
			return ""
		})
	} else if r.cuts < s.cuts {
		step("the doorbell's connection is lost", func(m *world) string {
			m.reader.listens = false
			m.reader.cuts++
			return ""
		})
	}
	if r.connected && r.fails < s.fails && r.phase != idle {
		step("the reader's connection is lost", func(m *world) string {
			m.reader.fails++
			m.reader.disconnect()
			return ""
		})
	}
	if r.phase == idle {
		if r.bell {
			step("the bell is heard", func(m *world) string {
				m.reader.bell, m.reader.phase = false, wantsRound
				return ""
			})
		}
		if s.polls {
			step("the poll is due", func(m *world) string {
				m.reader.phase = wantsRound
				return ""
			})
		}
		return
	}
	if !r.connected && m.replicated {
		for server := range uint8(maxStandbys + 1) {
			if s.servers.has(server) {
				step(serverNames[server], func(m *world) string {
					m.reader.connected, m.reader.server, m.reader.reached = true, server, m.lsn(server)
					return ""
				})
			}
		}
		return
	}
	begins := r.phase == wantsSnapshot || r.phase == wantsRound
	reads := r.phase != snapshotLocked && r.phase != roundLocked && !begins
	if m.truncating(0) && (reads || begins && r.leftOut != leftLocks) {
		return // waits for the lock
	}
	step(phaseNames[r.phase], func(m *world) string {
		r := &m.reader
		if !m.replicated {
			r.connected, r.server = true, primary
		}
		wrong := r.goOn(m, s)
		// What is locked, and what a snapshot sees, nobody changes: what follows can be
		// one step, up to the last, unless the connection may be lost in between.
		for wrong == "" && r.connected && r.leftOut != leftLocks && r.fails >= s.fails && r.reading() {
			wrong = r.goOn(m, s)
		}
		return wrong
	})
}

// reading tells whether the reader has taken its snapshot and not come to the end.
func (r *reader) reading() bool {
	return r.phase == snapshotTaken || r.phase == snapshotHalf || r.phase == roundTaken || r.phase == roundDeleted
}

// lsn is the place that a server's log has reached.
func (m *world) lsn(server uint8) uint8 {
	if server == primary {
		return m.logN
	}
	return m.replayed[server]
}

// disconnect gives up what the reader was at.
func (r *reader) disconnect() {
	if r.phase < wantsRound {
		r.phase, r.filling, r.fresh = wantsSnapshot, false, store{}
	} else {
		if r.leftOut == leftOldPosition && r.phase > roundLocked {
			r.from = r.now.kept(r.leftOut)
		}
		r.phase = wantsRound
	}
	r.connected, r.locks, r.now, r.early, r.seen = false, false, at{}, snap{}, 0
}

// goOn does the next step of a snapshot or a round.
func (r *reader) goOn(m *world, s *scenario) (wrong string) {
	switch r.phase {
	case wantsSnapshot, wantsRound:
		r.locks = r.leftOut != leftLocks
		if r.leftOut == leftOneTransaction {
			r.early = m.snapshot(int(r.server))
		}
		r.phase++
	case snapshotLocked:
		if r.take(m, s) {
			r.filling, r.fresh = !r.published, store{absentForNow, absentForNow}
			if r.leftOut == leftCompare && r.published {
				wrong = r.set(m, 0, absentForNow)
			}
			r.phase++
		}
	case snapshotTaken:
		r.locks = true
		wrong = r.readAll(m, 0)
		r.phase++
	case snapshotHalf:
		wrong = r.readAll(m, 1)
		if !r.filling {
			for uid, v := range r.fresh {
				if v != absentForNow && r.leftOut != leftSweep && wrong == "" {
					wrong = r.set(m, uid, v)
				}
			}
			r.fresh = store{}
		}
		r.from, r.locks, r.phase, r.now = r.now.kept(r.leftOut), false, wantsRound, at{}
	case roundLocked:
		if !r.take(m, s) {
			return ""
		}
		if r.from.position(r.leftOut).relistReason(r.now.position(r.leftOut)) != "" {
			r.filling, r.from, r.phase = false, at{}, wantsSnapshot
			r.disconnect()
			return ""
		}
		r.phase++
	case roundTaken:
		r.locks = true
		wrong = r.readDeletions(m)
		r.phase++
	case roundDeleted:
		wrong = r.readChanged(m, 0)
		r.phase++
	case roundHalf:
		if wrong = r.readChanged(m, 1); wrong == "" {
			wrong = r.finish(m, s)
		}
	case idle:
	}
	return wrong
}

// take takes the transaction's snapshot; false where it must not be read from.
func (r *reader) take(m *world, s *scenario) bool {
	snap := m.snapshot(int(r.server))
	now := at{snap: snap, state: m.state(snap), lsn: m.lsn(r.server), standby: r.server != primary}
	r.seen, r.reached = r.reached, now.lsn
	read := Position{LSN: uint64(r.read)}
	if r.leftOut != leftWaitForTheStandby && read.aheadOf(now.position(nothing), uint64(r.seen)) {
		r.disconnect()
		return false
	}
	now.newest = r.from.newest
	r.now, r.read = now, max(r.read, now.lsn)
	if r.phase == snapshotLocked {
		r.now.newest = m.newest(snap)
	}
	r.quiet = m.finished(s.scripts) && (r.server == primary || m.replayed[r.server] == m.logN)
	return true
}

// isNew tells whether the position didn't see a change.
func (r *reader) isNew(stamp uint8, now snap) bool {
	from := r.from.snap
	var found bool
	switch {
	case r.leftOut == leftSnapshotForMax:
		found = stamp > r.largest
	case r.leftOut == leftXip:
		found = stamp >= from.xmax
	case r.from.standby && r.leftOut != leftStandbyQuery:
		found = stamp >= from.xmin
	default:
		found = stamp >= from.xmax || from.xip.has(stamp)
	}
	return found && stamp < now.xmax
}

func (r *reader) readStamp(stamp uint8) {
	r.now.newest = max(r.now.newest, stamp)
	if r.leftOut == leftSnapshotForMax {
		r.largest = max(r.largest, stamp)
	}
}

func (r *reader) readAll(m *world, uid int) string {
	v, torn, _ := m.visible(uid, r.now.snap)
	r.readStamp(m.versions[uid][v].stamp)
	if torn {
		v = broken
	}
	if !r.filling && !torn && !m.versions[uid][v].present {
		r.fresh[uid] = v // until the whole snapshot is read, it may only be later
		return ""
	}
	return r.set(m, uid, v)
}

func (r *reader) readDeletions(m *world) string {
	snap := r.now.snap
	if r.leftOut == leftOneTransaction {
		snap = r.early
	}
	for _, g := range m.gone[:m.goneN] {
		if !snap.seen.has(g.writer) || (g.pruner != 0 && snap.seen.has(g.pruner)) || !r.isNew(g.stamp, snap) {
			continue
		}
		v, torn, partly := m.visible(int(g.uid), snap)
		r.now.newest = max(r.now.newest, g.stamp)
		switch exists := m.versions[g.uid][v].present && (!torn || partly); {
		case !exists:
		case r.leftOut == leftDeletionFilter:
			v = g.version
		default:
			continue
		}
		r.readStamp(g.stamp)
		if wrong := r.set(m, int(g.uid), v); wrong != "" {
			return wrong
		}
	}
	return ""
}

func (r *reader) readChanged(m *world, uid int) string {
	v, torn, partly := m.visible(uid, r.now.snap)
	row := m.versions[uid][v]
	if !row.present || (torn && !partly) || !r.isNew(row.stamp, r.now.snap) {
		return ""
	}
	r.readStamp(row.stamp)
	if torn {
		v = broken
	}
	return r.set(m, uid, v)
}

// finish ends a round.
func (r *reader) finish(m *world, s *scenario) (wrong string) {
	r.from = r.now.kept(r.leftOut)
	if r.filling {
		fresh := r.fresh
		r.filling, r.fresh = false, store{}
		for uid, v := range fresh {
			if wrong := r.set(m, uid, v); wrong != "" {
				return wrong
			}
		}
		r.published = true
	}
	r.locks, r.phase, r.now, r.early = false, idle, at{}, snap{}
	if !s.polls {
		r.quiet = false // which nobody asks then
	}
	if r.server != primary && r.seen < r.target && r.leftOut != leftPursuit {
		r.bell = true
	}
	return ""
}

// set gives a store a version of an order. What is served must be a state that
// was committed, and not be from before the one that is served already.
func (r *reader) set(m *world, uid int, v uint8) string {
	if r.filling {
		r.fresh[uid] = v
		return ""
	}
	was := r.cache[uid]
	r.cache[uid] = v
	switch {
	case v == absentForNow || v == broken || !m.wasCommitted(uid, v):
		return fmt.Sprintf("order %c is served in a state that was never committed", 'A'+uid)
	case r.published && was < maxVersions && v < was:
		return fmt.Sprintf("order %c went from version %d back to %d", 'A'+uid, was, v)
	}
	return ""
}

// equal tells what is wrong where nothing will happen any more that could mend
// it.
func (r *reader) equal(m *world, s *scenario) string {
	if r.phase != idle || !r.quiet && s.polls || r.bell || !m.finished(s.scripts) || !r.listens && !s.polls {
		return ""
	}
	for server := range uint8(maxStandbys) {
		if s.servers.has(server) && m.replayed[server] < m.logN {
			return ""
		}
	}
	for uid := range uids {
		is, should := r.cache[uid], m.current(uid)
		absent := is < maxVersions && !m.versions[uid][is].present && !m.versions[uid][should].present
		if is != should && !absent {
			return fmt.Sprintf("order %c stays at version %d, and is at %d", 'A'+uid, is, should)
		}
	}
	return ""
}
