package changes

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// TxSnapshot is what pg_current_snapshot() shows: which transactions' changes
// were visible at a moment.
type TxSnapshot struct {
	Xmin uint64   // all smaller ones were visible, if they committed
	Xmax uint64   // this one and all larger ones were not
	Xip  []uint64 // in progress between the two, and not visible; empty on a standby
}

// ParseTxSnapshot reads xmin:xmax:xip,xip,…
func ParseTxSnapshot(text string) (TxSnapshot, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return TxSnapshot{}, fmt.Errorf("%q is no snapshot", text)
	}
	var s TxSnapshot
	var err error
	if s.Xmin, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return TxSnapshot{}, fmt.Errorf("%q is no snapshot: %w", text, err)
	}
	if s.Xmax, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return TxSnapshot{}, fmt.Errorf("%q is no snapshot: %w", text, err)
	}
	if parts[2] == "" {
		return s, nil
	}
	for one := range strings.SplitSeq(parts[2], ",") {
		xid, err := strconv.ParseUint(one, 10, 64)
		if err != nil {
			return TxSnapshot{}, fmt.Errorf("%q is no snapshot: %w", text, err)
		}
		s.Xip = append(s.Xip, xid)
	}
	return s, nil
}

// String is the form that ParseTxSnapshot reads.
func (s TxSnapshot) String() string {
	xip := make([]string, len(s.Xip))
	for i, xid := range s.Xip {
		xip[i] = strconv.FormatUint(xid, 10)
	}
	return fmt.Sprintf("%d:%d:%s", s.Xmin, s.Xmax, strings.Join(xip, ","))
}

// since is the SQL condition for a stamp that this snapshot did not see. An
// index on change_xid serves each of its terms. On a standby a snapshot doesn't
// list what is in progress, so everything from the oldest of it on is read
// again.
//
// Stamps from beyond the reading transaction's own snapshot are left out: no
// transaction of this cluster wrote them, so they came with a dump, and they
// would be new in every round.
func (s TxSnapshot) since(standby bool) string {
	condition := fmt.Sprintf("change_xid >= '%d'", s.Xmax)
	switch {
	case standby:
		condition = fmt.Sprintf("change_xid >= '%d'", s.Xmin)
	case len(s.Xip) > 0:
		xip := strings.Split(s.String(), ":")[2]
		condition = fmt.Sprintf("(%s OR change_xid = ANY('{%s}'))", condition, xip)
	}
	return condition + " AND change_xid < pg_snapshot_xmax(pg_current_snapshot())"
}

// Identity says which database it is that positions belong to. Positions of
// different ones don't compare.
type Identity struct {
	System   string // pg_control_system's identifier, "" where the role may not ask
	Timeline uint32 // changes when a standby takes over
	Database uint32 // its oid
}

// Position is how far a reader has come. It is as of one transaction.
type Position struct {
	Identity Identity
	Snapshot TxSnapshot
	Newest   uint64 // the largest change_xid that was read; 0: none
	Standby  bool   // read from a server in recovery
	// LSN is a place in the server's log. Whatever Snapshot saw is before it, and
	// on the disk.
	LSN     uint64
	Schema  int64  // version of the migrations
	Tables  uint64 // stands for the tables and their triggers: other ones give another number
	Horizon uint64 // deletions below it may have been pruned
	Relist  uint64 // the last transaction whose changes no stamp shows
}

// durable is what a crash of PostgreSQL cannot take back of Snapshot. After a crash,
// ids of transactions that left nothing on the disk are given out again, so Snapshot's
// Xmax vouches for no id above Newest. Newest itself was committed, and a commit is on
// the disk before others see it. The rows to read stay the same, since none that could
// be seen had a larger id. A standby replays only what is on its primary's disk.
func (p Position) durable() TxSnapshot {
	s := p.Snapshot
	if p.Standby || s.Xmax <= p.Newest {
		return s
	}
	s.Xmax = p.Newest + 1
	s.Xmin = min(s.Xmin, s.Xmax)
	s.Xip = slices.DeleteFunc(slices.Clone(s.Xip), func(xid uint64) bool { return xid >= s.Xmax })
	return s
}

// RelistError says that the changes since a position can't be told any more: a
// new snapshot of all orders is needed.
type RelistError struct{ Reason string }

func (e *RelistError) Error() string { return "all orders have to be read anew: " + e.Reason }

// relistReason tells why the changes from p to now can't be told; "" if they can.
func (p Position) relistReason(now Position) string {
	switch was, is := p.Identity, now.Identity; {
	case was.System != is.System:
		return fmt.Sprintf("this is another cluster: its system identifier was %q and is %q now", was.System, is.System)
	case was.Database != is.Database:
		return fmt.Sprintf("this is another database: its oid was %d and is %d now", was.Database, is.Database)
	case was.Timeline != is.Timeline:
		return fmt.Sprintf("a standby took over, or a backup was restored: the timeline was %d and is %d now", was.Timeline, is.Timeline)
	}
	saw := p.durable()
	switch {
	case p.Standby != now.Standby:
		return "the server is a standby no more, or has become one"
	case p.Schema != now.Schema:
		return fmt.Sprintf("the schema changed from version %d to %d", p.Schema, now.Schema)
	case p.Tables != now.Tables:
		return "the tables were made anew, as by restoring a dump, or their triggers were switched off or on: what changed meanwhile may bear no stamp"
	case now.Snapshot.Xmax < saw.Xmax:
		return "transaction ids went back: the server lost transactions that had been seen"
	case p.Relist != now.Relist:
		return "a table was truncated"
	// A horizon that p saw already is behind it, even where an old transaction
	// keeps p's xmin below it: what was pruned, p had seen. Each pruning moves it.
	case p.Horizon != now.Horizon && saw.Xmin < now.Horizon:
		return "deletions that had not been read yet were pruned"
	}
	return ""
}

// BehindError says that a standby has not replayed yet what was read before, from
// another server or before a restart. It will.
type BehindError struct{ Read, Replayed uint64 }

func (e *BehindError) Error() string {
	// Without the numbers: the same words each time make one line of the log.
	return "this standby is behind what was read before, from another server or before it was restarted: waiting until it catches up"
}

// aheadOf tells whether now, on a standby that had replayed its log up to
// replayed before, may be from before p: then orders would go backwards.
func (p Position) aheadOf(now Position, replayed uint64) bool {
	return now.Standby && p.Identity == now.Identity && p.LSN > replayed
}
