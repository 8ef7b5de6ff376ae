package changes

import (
	"fmt"
	"strconv"
	"strings"
)

// Snapshot is what pg_current_snapshot() shows: which transactions' changes
// were visible at a moment.
type Snapshot struct {
	Xmin uint64   // all smaller ones were visible, if they committed
	Xmax uint64   // this one and all larger ones were not
	Xip  []uint64 // in progress between the two, and not visible; empty on a standby
}

// ParseSnapshot reads xmin:xmax:xip,xip,…
func ParseSnapshot(text string) (Snapshot, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return Snapshot{}, fmt.Errorf("%q is no snapshot", text)
	}
	var s Snapshot
	var err error
	if s.Xmin, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return Snapshot{}, fmt.Errorf("%q is no snapshot: %w", text, err)
	}
	if s.Xmax, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return Snapshot{}, fmt.Errorf("%q is no snapshot: %w", text, err)
	}
	if parts[2] == "" {
		return s, nil
	}
	for one := range strings.SplitSeq(parts[2], ",") {
		xid, err := strconv.ParseUint(one, 10, 64)
		if err != nil {
			return Snapshot{}, fmt.Errorf("%q is no snapshot: %w", text, err)
		}
		s.Xip = append(s.Xip, xid)
	}
	return s, nil
}

// String is the form that ParseSnapshot reads.
func (s Snapshot) String() string {
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
func (s Snapshot) since(standby bool) string {
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
	Timeline string // changes when a standby takes over
	Database uint32 // its oid
}

// Position is how far a reader has come. It is as of one transaction.
type Position struct {
	Identity Identity
	Snapshot Snapshot
	Standby  bool   // read from a server in recovery
	Schema   int64  // version of the migrations
	Horizon  uint64 // deletions below it may have been pruned
	Relist   uint64 // the last transaction whose changes no stamp shows
}

// RelistError says that the changes since a position can't be told any more: a
// new snapshot of all orders is needed.
type RelistError struct{ Reason string }

func (e *RelistError) Error() string { return "all orders have to be read anew: " + e.Reason }

// relistReason tells why the changes from p to now can't be told; "" if they can.
func (p Position) relistReason(now Position) string {
	switch {
	case p.Identity != now.Identity:
		return fmt.Sprintf("this is another database, or one that was restored or took over (it was %+v, now it is %+v)", p.Identity, now.Identity)
	case p.Standby != now.Standby:
		return "the server is a standby no more, or has become one"
	case p.Schema != now.Schema:
		return fmt.Sprintf("the schema changed from version %d to %d", p.Schema, now.Schema)
	case now.Snapshot.Xmax < p.Snapshot.Xmax:
		return "transaction ids went back: the server lost transactions that had been seen"
	case p.Relist != now.Relist:
		return "a table was truncated"
	// A horizon that p saw already is behind it, even where an old transaction
	// keeps p's xmin below it: what was pruned, p had seen.
	case p.Horizon != now.Horizon && p.Snapshot.Xmin < now.Horizon:
		return "deletions that had not been read yet were pruned"
	}
	return ""
}
