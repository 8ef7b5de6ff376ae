package letter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestARecordAndBack(t *testing.T) {
	want := Resolution{ID: "orders/0/17/9f3a1c2e", Kind: Redriven, By: "ann", When: time.Unix(1_700_000_000, 0).UTC(), Why: "mended", Became: "orders/0/99"}
	record := want.Record("orders.dlq", 3)
	require.Equal(t, "orders/0/17/9f3a1c2e/resolution", string(record.Key))
	require.JSONEq(t, `{"by":"ann","when":"2023-11-14T22:13:20Z","why":"mended","became":"orders/0/99"}`, string(record.Value))
	id, is := ResolutionOf(record)
	require.True(t, is)
	require.Equal(t, want.ID, id)
	got, err := ParseResolution(record)
	require.NoError(t, err)
	require.Equal(t, want, got)

	undo := UndoRecord("orders.dlq", 3, want.ID)
	require.Equal(t, record.Key, undo.Key)
	require.Nil(t, undo.Value)
	id, is = ResolutionOf(undo)
	require.True(t, is)
	require.Equal(t, want.ID, id)
}

func TestWhatIsNoResolution(t *testing.T) {
	for _, r := range []*kgo.Record{
		{Key: []byte("orders/0/17/9f3a1c2e"), Value: []byte("{")},
		{Key: []byte("/resolution")},
		{Key: []byte("x/resolution"), Value: []byte("a letter of that key")},
		{},
	} {
		_, is := ResolutionOf(r)
		require.False(t, is, "%s", r.Key)
	}
}

func TestABrokenResolutionKeepsItsKind(t *testing.T) {
	r := Resolution{ID: "a", Kind: Discarded}.Record("t", 0)
	r.Value = []byte("nonsense")
	got, err := ParseResolution(r)
	require.Error(t, err)
	require.Equal(t, Resolution{ID: "a", Kind: Discarded}, got)
}
