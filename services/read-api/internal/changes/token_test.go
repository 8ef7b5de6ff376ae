package changes

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTokens(t *testing.T) {
	for _, p := range []Position{
		{},
		{
			Identity: Identity{System: "7312345678901234567", Timeline: 1, Database: 16384}, Standby: true, LSN: 1 << 44, Schema: 3, Tables: 1<<63 + 5, Newest: 1<<40 + 8,
			Snapshot: TxSnapshot{Xmin: 1 << 40, Xmax: 1<<40 + 9, Xip: []uint64{1 << 40, 1<<40 + 7}}, Horizon: 12, Relist: 13,
		},
	} {
		token := p.Token()
		parsed, err := ParseToken(token)
		require.NoError(t, err)
		require.Equal(t, p, parsed)
		for i := range token {
			changed, err := ParseToken(token[:i] + "_" + token[i+1:])
			require.True(t, err != nil || changed.Token() == token, "changed at %d", i)
		}
	}
	for _, bad := range []string{"", "AQ", "nonsense", "0123456789abcdef", "*"} {
		_, err := ParseToken(bad)
		require.Error(t, err)
	}
}

func TestALaterPositionCoversAnEarlierOne(t *testing.T) {
	at := func(text string) Position {
		s, err := ParseTxSnapshot(text)
		require.NoError(t, err)
		return Position{Snapshot: s, Newest: s.Xmax - 1}
	}
	// In the order in which one server gave them.
	inOrder := []Position{at("10:10:"), at("10:14:10,12"), at("10:14:10"), at("10:15:10"), at("15:15:"), at("15:17:15"), at("17:17:")}
	for i, earlier := range inOrder {
		for j, later := range inOrder {
			require.Equal(t, j >= i, later.Covers(earlier), "%v covers %v", later.Snapshot, earlier.Snapshot)
			require.Equal(t, j >= i, later.Reaches(earlier), "%v reaches %v", later.Snapshot, earlier.Snapshot)
		}
	}
	other := at("17:17:")
	other.Identity.System = "1"
	require.False(t, other.Covers(inOrder[0]))
	require.False(t, other.Reaches(inOrder[0]))

	// A younger transaction's stamp may be replaced by an older one's.
	saw, replaced := at("10:15:10"), at("15:15:")
	replaced.Newest = 10
	require.True(t, replaced.Reaches(saw), "it is later all the same")
}
