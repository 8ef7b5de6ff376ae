package index

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
)

func TestParse(t *testing.T) {
	_, err := ParseStatus("closed")
	require.ErrorContains(t, err, `not "closed"`)
	for _, text := range []string{"-1d", "1e9d", "NaNd", "d", "-2h", "soon"} {
		_, err := ParseAge(text)
		require.Error(t, err, text)
	}
	age, err := ParseAge("1.5d")
	require.NoError(t, err)
	require.Equal(t, 36*time.Hour, age)
	for _, text := range []string{"a", "5-a", "-", "--1", "9223372036854775808"} {
		low, high, err := ParseOffsets(text)
		if text == "-" {
			require.NoError(t, err)
			require.Nil(t, low)
			require.Nil(t, high)
			continue
		}
		require.Error(t, err, text)
	}
}

func TestFiltersOfCauses(t *testing.T) {
	price := letter.Parse(letterRecord(1, "invalid", model.FieldError{Path: "items[3].price", Rule: "min"}, model.FieldError{Path: "locale", Rule: "bcp47"}))
	bare := letter.Parse(letterRecord(2, "not_json"))
	for _, c := range []struct {
		filter      Filter
		price, bare bool
	}{
		{Filter{Failure: &Failure{"min", "items[].price"}}, true, false},
		{Filter{Failure: &Failure{"bcp47", "items[].price"}}, false, false},
		{Filter{NoFailures: true}, false, true},
	} {
		require.Equal(t, c.price, c.filter.Matches(&price))
		require.Equal(t, c.bare, c.filter.Matches(&bare))
	}
}

// Heads are kept while there are few of them.
func TestHeads(t *testing.T) {
	x := New(dlq, dlq, Filter{Reasons: []string{"a"}})
	x.KeepHeads(2)
	add := func(offset int64, r *kgo.Record) {
		placed := *r
		placed.Offset = offset
		x.Add(&placed)
	}
	one := letterRecord(1, "a")
	add(0, one)
	add(1, letterRecord(4, "b"))
	add(2, one) // read again
	add(3, letterRecord(3, "a"))
	refs := x.Select(Any, 0)
	require.Len(t, refs, 2)
	head, kept := x.Head(refs[1])
	require.True(t, kept)
	require.Equal(t, []any{string(one.Key), "a", int64(len(one.Value)), "key1"}, []any{head.ID, head.Reason, head.Size(), string(head.SourceKey)})
	require.Nil(t, head.Value)
	add(4, letterRecord(5, "a"))
	_, kept = x.Head(refs[1])
	require.False(t, kept, "there are too many")
}

// A record that is added again, or late, changes nothing.
func TestARecordIsTakenOnce(t *testing.T) {
	l := letterRecord(1, "a")
	x := indexed(Filter{}, l, resolved(l), undone(l))
	late := resolved(l)
	late.Offset = 1
	x.Take(late)
	require.Len(t, x.Select(Open, 0), 1)
	require.Panics(t, func() { x.Current(Ref{}) })
	now, there := x.Current(x.Select(Open, 0)[0])
	require.True(t, there)
	require.Equal(t, Open, now.Status)
}
