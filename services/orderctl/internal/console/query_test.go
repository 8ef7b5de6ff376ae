package console

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

func TestQueryKeepsItsAddress(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const address = "key=k&offsets=5-9&partition=2&path=items%5B%5D.price&reason=invalid&rule=min&since=2h&stage=validate&status=any&text=%22a%22&until=2026-02-28"
	values, err := url.ParseQuery(address)
	require.NoError(t, err)
	q := parseQuery(values, now)
	require.Empty(t, q.Problems)
	require.Equal(t, address, q.Encoded())
	require.Equal(t, now.Add(-2*time.Hour), q.filter.Since)
	require.EqualValues(t, 9, *q.filter.MaxOffset)
	require.Equal(t, letter.Any, q.status)
	f, scanned := q.scanned()
	require.True(t, scanned)
	require.Equal(t, letter.Filter{Text: `"a"`}, f)
	require.NotContains(t, q.with("rule", ""), "rule=")
	require.Equal(t, letter.Any, parseQuery(url.Values{"q": {"uid"}}, now).status, "who looks for an order wants all of it")
	require.Equal(t, letter.Open, parseQuery(nil, now).status)
}

func TestQueryMatches(t *testing.T) {
	at := time.Unix(1000, 0)
	g := dlq.Ref{
		SourceOffset: 7, SourceKey: []byte("key1"), FailedAt: at,
		Group: &dlq.Group{
			GroupKey:   dlq.GroupKey{Format: letter.Orderhub, Reason: "invalid", Stage: "validate", SourceTopic: "orders", SourcePartition: 2},
			ErrorsJSON: []byte(`[{"rule":"min","path":"items[3].price"},{"rule":"bcp47","path":"locale"}]`),
			Causes:     []letter.Failure{{Rule: "min", Path: "items[].price"}, {Rule: "bcp47", Path: "locale"}},
		},
	}
	bare := dlq.Ref{FailedAt: at, Group: &dlq.Group{GroupKey: dlq.GroupKey{Reason: "invalid"}, Causes: []letter.Failure{{}}}}
	matches := func(ref dlq.Ref, status letter.Status, fields ...string) bool {
		ref.Status = status
		values := url.Values{}
		for i := 0; i < len(fields); i += 2 {
			values.Set(fields[i], fields[i+1])
		}
		q := parseQuery(values, at)
		require.Empty(t, q.Problems)
		return q.matcher()(&ref)
	}
	require.True(t, matches(g, letter.Open))
	require.False(t, matches(g, letter.Resolved))
	require.True(t, matches(g, letter.Resolved, "status", "any"))
	require.True(t, matches(g, letter.Open, "rule", "min", "path", "items[].price"))
	require.False(t, matches(g, letter.Open, "rule", "min", "path", "locale"), "rule and path are one failure's")
	require.False(t, matches(g, letter.Open, "rule", none))
	require.True(t, matches(bare, letter.Open, "rule", none, "path", none))
	require.False(t, matches(bare, letter.Open, "partition", "0"), "nobody knows its source")
	require.False(t, matches(bare, letter.Open, "offsets", "-9"))
	require.True(t, matches(g, letter.Open, "offsets", "7", "partition", "2", "since", "0s"))
	require.False(t, matches(g, letter.Open, "until", "0s"))
	require.True(t, matches(g, letter.Open, "key", "key1", "path", "items[3].price"))
	require.False(t, matches(g, letter.Open, "key", "key2"))
	require.False(t, matches(g, letter.Open, "path", "items[2].price"), "of another item")
}

func TestPositions(t *testing.T) {
	refs := []dlq.Ref{}
	for _, at := range []int64{9, 7, 7, 7, -5} {
		refs = append(refs, dlq.Ref{FailedAt: time.Unix(0, at), Place: letter.Place{Partition: 3, Offset: int64(20 - len(refs))}})
	}
	for i := range refs {
		require.Equal(t, i+1, startOf(refs, position(&refs[i])))
	}
	require.Equal(t, 1, startOf(refs, "8.3.9"), "a letter that has left the list")
	require.Equal(t, 2, startOf(append(refs[:2:2], refs[3:]...), position(&refs[2])), "another one")
	for _, wrong := range []string{"", "1", "1.2", "1.2.x", "x.2.3", "1.99999999999.3"} {
		require.Zero(t, startOf(refs, wrong), wrong)
	}
}

func TestWhatPeoplePasteIsSearchedFor(t *testing.T) {
	for _, pasted := range []string{"b563-1\u200b", "“b563-1”", "\u00a0b563-1\r\n", "http://localhost:8081/order/b563-1", "https://ops.example/dlq/letters?q=b563-1"} {
		q := parseQuery(url.Values{"q": {pasted}}, time.Now())
		require.Equal(t, "b563-1", q.filter.UID, "%q", pasted)
		require.Equal(t, "b563-1", q.Get("q"))
	}
	q := parseQuery(url.Values{"q": {"http://localhost:8082/letter?id=orders%2F0%2F17%2F9f3a1c2e"}}, time.Now())
	require.Equal(t, "orders/0/17/9f3a1c2e", q.Get("q"))
}
