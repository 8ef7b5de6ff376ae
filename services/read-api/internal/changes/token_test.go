package changes

import (
	"math/rand/v2"
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

// TestATokenIsShortHoweverManyTransactionsAreOpen has snapshots whose transactions in
// progress fit a token, and such whose do not.
func TestATokenIsShortHoweverManyTransactionsAreOpen(t *testing.T) {
	whole, cut := 0, 0
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(1, seed))
		p := Position{
			Identity: Identity{System: "18446744073709551615", Timeline: random.Uint32(), Database: random.Uint32()},
			LSN:      random.Uint64(), Schema: schema, Tables: random.Uint64(), Horizon: random.Uint64(), Relist: random.Uint64(),
			Snapshot: TxSnapshot{Xmin: 1 + random.Uint64N(1<<random.IntN(63))},
		}
		open := map[uint64]bool{}
		next := p.Snapshot.Xmin
		for range random.IntN(5001) >> random.IntN(8) {
			p.Snapshot.Xip, open[next] = append(p.Snapshot.Xip, next), true
			next += 1 + random.Uint64N(1<<random.IntN(20))
		}
		p.Snapshot.Xmax = next
		p.Newest = next - 1 - random.Uint64N(next-p.Snapshot.Xmin+1)
		saw := p.durable()

		token := p.Token()
		require.Less(t, len(token), 1024)
		require.Equal(t, token, p.Token())
		parsed, err := ParseToken(token)
		require.NoError(t, err)
		require.Equal(t, token, parsed.Token())
		require.True(t, p.Covers(parsed) && p.Reaches(parsed), "it is no later position")
		now := p
		now.Horizon++
		require.Equal(t, p.relistReason(now), parsed.relistReason(now), "the same may have been pruned")
		whole, cut = whole+1, cut+1
		if parsed.Snapshot.Xmax == saw.Xmax {
			cut--
			require.Equal(t, saw.Xip, parsed.Snapshot.Xip)
			require.True(t, parsed.Covers(p))
			continue
		}
		whole--
		require.Greater(t, len(token), 960, "it lists as many as fit")
		require.True(t, open[parsed.Snapshot.Xmax], "up to the first that it cannot list it saw the same")
		require.Equal(t, saw.Xip[:len(parsed.Snapshot.Xip)], parsed.Snapshot.Xip)
		require.Equal(t, saw.Xip[len(parsed.Snapshot.Xip)], parsed.Snapshot.Xmax)
	}
	require.Greater(t, whole, 30)
	require.Greater(t, cut, 30)
}
