package orders

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// TestPagesAreKeptWhileNothingChanges goes through what may happen between two
// questions.
func TestPagesAreKeptWhileNothingChanges(t *testing.T) {
	current := true
	r := &recent{current: func() bool { return current }}
	r.Relisted(changes.Position{}, false)
	q, page := newQuestion(Filter{CustomerID: "a"}, nil, 10), Page{Orders: [][]byte{[]byte("{}")}}
	kept := func(q question) bool {
		_, kept, _ := r.get(q)
		return kept
	}

	_, there, at := r.get(q)
	require.False(t, there)
	r.put(q, page, at)
	require.True(t, kept(q))
	for _, other := range []question{
		newQuestion(Filter{CustomerID: "b"}, nil, 10), newQuestion(Filter{TrackNumber: "a"}, nil, 10),
		newQuestion(Filter{CustomerID: "a"}, nil, 11), newQuestion(Filter{CustomerID: "a"}, &Key{UID: "x"}, 10),
	} {
		require.False(t, kept(other))
	}

	current = false
	require.False(t, kept(q), "nobody knows whether it still holds")
	current = true
	require.True(t, kept(q))

	_, _, at = r.get(q)
	r.Put(nil, nil, false)
	require.False(t, kept(q), "the order is as it was, but may have been another in between")
	r.put(q, page, at)
	require.False(t, kept(q), "it was read before the change came")
	_, _, at = r.get(q)
	r.put(q, page, at)
	require.True(t, kept(q))
	r.put(newQuestion(Filter{}, nil, 1), page, at-1)
	require.True(t, kept(q), "a late one drives out nothing")
	require.False(t, kept(newQuestion(Filter{}, nil, 1)))
	r.Delete("uid", false)
	require.False(t, kept(q))
	_, _, at = r.get(q)
	r.put(q, page, at)
	require.True(t, kept(q))
	r.Relisted(changes.Position{}, false)
	require.False(t, kept(q))
}

// TestKeptPagesAreBounded asks for more than is kept.
func TestKeptPagesAreBounded(t *testing.T) {
	r := &recent{current: func() bool { return true }}
	r.Relisted(changes.Position{}, false)
	large := Page{Orders: [][]byte{make([]byte, maxRecentBytes/4)}}
	for limit := range 20 {
		r.put(newQuestion(Filter{}, nil, limit), large, 1)
		require.LessOrEqual(t, r.bytes, maxRecentBytes)
		require.LessOrEqual(t, len(r.pages), 4)
	}
	r.put(newQuestion(Filter{}, nil, 100), Page{Orders: [][]byte{make([]byte, maxRecentBytes+1)}}, 1)
	require.LessOrEqual(t, r.bytes, maxRecentBytes)
}

func TestFingerprintsDiffer(t *testing.T) {
	one, other := int64(1), int64(2)
	seen := map[string]int{}
	for i, f := range []Filter{
		{}, {CustomerID: "a"}, {TrackNumber: "a"}, {DeliveryService: "a"}, {Locale: "a"}, {Currency: "a"}, {CustomerID: "aa"},
		{CustomerID: "a", TrackNumber: "a"}, {AmountMin: &one}, {AmountMax: &one}, {AmountMin: &other}, {AmountMin: &one, AmountMax: &one},
	} {
		mark := f.Fingerprint()
		before, there := seen[mark]
		require.False(t, there, "%d and %d", before, i)
		seen[mark] = i
	}
}
