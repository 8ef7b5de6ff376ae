package changes

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// TxSnapshot is the value of pg_current_snapshot(): it says which transactions' changes
// were visible at a moment.
type TxSnapshot struct {
	Xmin uint64   // all transactions below it had ended; committed ones were visible
	Xmax uint64   // this transaction and those above it had not ended, and were not visible
	Xip  []uint64 // transactions between the two that were in progress; empty on a standby
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

// since is the SQL condition that selects rows whose change_xid this snapshot did not
// see. The index on change_xid serves each of its terms. A standby's snapshot does not
// list transactions in progress, so everything from Xmin on is read again.
//
// The condition excludes a change_xid that is not below the reading transaction's own
// Xmax. No transaction of this cluster wrote it: it came with a dump, and every round
// would select it again.
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

// Identity identifies the database that a position belongs to. Positions of different
// databases cannot be compared.
type Identity struct {
	System   string // pg_control_system's identifier, "" where the role may not ask
	Timeline uint32 // changes when a standby takes over
	Database uint32 // the database's oid
}

// schema is the version of the migrations that readers of release 0.1.0 find in
// goose_db_version, which no later step changes.
const schema = 3

// Position is how far a reader has read: the state of one of its transactions.
type Position struct {
	Identity Identity
	Snapshot TxSnapshot
	Newest   uint64 // the largest change_xid that was read; 0: none
	Standby  bool   // read from a server in recovery
	// LSN is a position in the write-ahead log. Everything that Snapshot saw lies before
	// it and is on the disk.
	LSN     uint64
	Schema  int64  // is schema; only readers of release 0.1.0 compare it
	Tables  uint64 // hash over the tables' oids, their triggers and the epoch of their history
	Horizon uint64 // deletions with a smaller change_xid may have been pruned
	Relist  uint64 // the last transaction whose changes have no change_xid, such as TRUNCATE
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

// RelistError means that the changes since a position are no longer known: the reader
// needs a new snapshot of all orders.
type RelistError struct{ Reason string }

func (e *RelistError) Error() string { return "all orders have to be read anew: " + e.Reason }

// relistReason says why the changes from p to now are not known, "" if they are.
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
	case p.Tables != now.Tables:
		return "the tables were made anew or went back to an earlier state, as by restoring a dump or a backup, or their triggers were switched off or on: what changed meanwhile may bear no stamp"
	case !now.Standby && now.LSN < p.LSN:
		return "the write-ahead log went back: the database was restored to an earlier state"
	case now.Snapshot.Xmax < saw.Xmax:
		return "transaction ids went back: the server lost transactions that had been seen"
	case p.Relist != now.Relist:
		return "a table was truncated"
	// p has seen all deletions that were pruned up to its own horizon, even where an old
	// transaction keeps p's Xmin below that. Each pruning moves the horizon.
	case p.Horizon != now.Horizon && saw.Xmin < now.Horizon:
		return "deletions that had not been read yet were pruned"
	}
	return ""
}

// BehindError means that a standby has not replayed yet what was read before, from
// another server or before a restart. Try again later.
type BehindError struct{ Read, Replayed uint64 }

func (e *BehindError) Error() string {
	// Without the numbers, so that the log does not repeat it at each attempt.
	return "this standby is behind what was read before, from another server or before it was restarted: waiting until it catches up"
}

// aheadOf tells whether now may be older than p, so that orders would go backwards. now
// is the state of a standby that had replayed the log up to replayed before.
func (p Position) aheadOf(now Position, replayed uint64) bool {
	return now.Standby && p.Identity == now.Identity && p.LSN > replayed
}
