package changes

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSnapshotReadsAndWrites(t *testing.T) {
	for _, text := range []string{"10:10:", "10:20:12,15", "18446744073709551614:18446744073709551615:18446744073709551614"} {
		s, err := ParseTxSnapshot(text)
		require.NoError(t, err)
		require.Equal(t, text, s.String())
	}
	for _, text := range []string{"", "1:2", "a:2:", "1:b:", "1:2:c", "1:2:3,", "1:2:3:4"} {
		_, err := ParseTxSnapshot(text)
		require.Error(t, err, text)
	}
}

func TestSinceAsksForWhatTheSnapshotDidNotSee(t *testing.T) {
	const own = " AND change_xid < pg_snapshot_xmax(pg_current_snapshot())"
	quiet, busy := TxSnapshot{Xmin: 20, Xmax: 20}, TxSnapshot{Xmin: 10, Xmax: 20, Xip: []uint64{10, 15}}
	require.Equal(t, "change_xid >= '20'"+own, quiet.since(false))
	require.Equal(t, "(change_xid >= '20' OR change_xid = ANY('{10,15}'))"+own, busy.since(false))
	require.Equal(t, "change_xid >= '10'"+own, TxSnapshot{Xmin: 10, Xmax: 20}.since(true))
}

func TestRelistOnAnyDoubt(t *testing.T) {
	at := Position{
		Identity: Identity{System: "7", Timeline: 1, Database: 5}, Snapshot: TxSnapshot{Xmin: 100, Xmax: 110, Xip: []uint64{100}},
		Newest: 109, Schema: 2, Horizon: 50, Relist: 40,
	}
	require.Empty(t, at.relistReason(at))
	later := at
	later.Snapshot, later.Newest = TxSnapshot{Xmin: 130, Xmax: 130}, 120
	require.Empty(t, at.relistReason(later))

	doubts := map[string]func(*Position){
		"another cluster":     func(p *Position) { p.Identity.System = "8" },
		"a failover":          func(p *Position) { p.Identity.Timeline = 2 },
		"another database":    func(p *Position) { p.Identity.Database = 6 },
		"a promotion":         func(p *Position) { p.Standby = true },
		"other tables":        func(p *Position) { p.Tables = 9 },
		"xids that went back": func(p *Position) { p.Snapshot.Xmax = 109 },
		"a truncation":        func(p *Position) { p.Relist = 105 },
		"pruned too far":      func(p *Position) { p.Horizon = 101 },
	}
	for name, change := range doubts {
		now := later
		change(&now)
		require.NotEmpty(t, at.relistReason(now), name)
	}
	migrated := later
	migrated.Schema = 3
	require.Empty(t, at.relistReason(migrated), "a migration changes no order")
	pruned := later
	pruned.Horizon = 100
	require.Empty(t, at.relistReason(pruned), "the last snapshot had seen all that was pruned")

	// An old transaction keeps xmin back for hours: no reason to relist each time.
	held := at
	held.Horizon = 105
	next := held
	next.Snapshot = TxSnapshot{Xmin: 100, Xmax: 120, Xip: []uint64{100}}
	require.Empty(t, held.relistReason(next), "the horizon was there already when the last snapshot was taken")
}

// TestACrashTakesBackIdsAboveTheNewestStamp has ids that nothing was written under.
func TestACrashTakesBackIdsAboveTheNewestStamp(t *testing.T) {
	for _, c := range []struct {
		snapshot string
		newest   uint64
		want     string
	}{
		{"727:727:", 724, "725:725:"},
		{"727:727:", 726, "727:727:"},
		{"720:727:720,726", 724, "720:725:720"},
		{"726:730:726", 724, "725:725:"},
		{"727:727:", 0, "1:1:"},
	} {
		s, err := ParseTxSnapshot(c.snapshot)
		require.NoError(t, err)
		p := Position{Snapshot: s, Newest: c.newest}
		require.Equal(t, c.want, p.durable().String(), c.snapshot)
		require.Equal(t, c.snapshot, p.Snapshot.String(), "the position stays as it is")
		parsed, err := ParseToken(p.Token())
		require.NoError(t, err)
		require.Equal(t, c.want, parsed.durable().String(), "a token has what is durable")
		p.Standby = true
		require.Equal(t, c.snapshot, p.durable().String(), "what a standby has replayed is on its primary's disk")
	}

	before := Position{Snapshot: TxSnapshot{Xmin: 727, Xmax: 727}, Newest: 724}
	after := Position{Snapshot: TxSnapshot{Xmin: 726, Xmax: 726}, Newest: 725}
	require.Empty(t, before.relistReason(after), "only ids that were given out again are missing")
	require.False(t, before.Covers(after), "id 725 is another transaction's now")
	require.True(t, after.Reaches(before))
	pruned := after
	pruned.Horizon = 726
	require.NotEmpty(t, before.relistReason(pruned), "the new 725 may have deleted an order")
	lost := after
	lost.Snapshot = TxSnapshot{Xmin: 724, Xmax: 724}
	require.NotEmpty(t, before.relistReason(lost), "724 had been seen")
}

func TestTextArraysAreQuoted(t *testing.T) {
	array, err := textArray([]string{"a", `b"c`, `d\e`, "", "{f,g}", "NULL"})
	require.NoError(t, err)
	require.Equal(t, `{a,"b\"c","d\\e","","{f,g}","NULL"}`, string(array))
	array, err = textArray([]string{})
	require.NoError(t, err)
	require.Equal(t, `{}`, string(array))
}

func TestAStandbyThatIsBehindIsToldFromOneThatIsNot(t *testing.T) {
	read := Position{Identity: Identity{System: "7", Timeline: 1}, LSN: 0x1_00000010}
	standby := Position{Identity: read.Identity, Standby: true, LSN: 0x2_00000000}
	require.True(t, read.aheadOf(standby, 0x1_0000000F))
	require.False(t, read.aheadOf(standby, 0x1_00000010))
	require.False(t, read.aheadOf(Position{Identity: read.Identity}, 0), "a primary has all that its log has")
	other := standby
	other.Identity.Timeline = 2
	require.False(t, read.aheadOf(other, 0), "places in other logs don't compare")
}
