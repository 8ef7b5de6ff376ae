package dlq

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
)

// However often a record is redriven, its copy is as new as the record.
func TestACopyCountsAsTheFirstRecord(t *testing.T) {
	at := time.Date(2026, 11, 30, 10, 0, 0, 123e6, time.UTC)
	source := deadletter.Source{Topic: "orders", Partition: 2, Offset: 7, Timestamp: at, Key: []byte("k"), Value: []byte("{")}
	first := &model.Stamp{Time: at, Partition: 2, Offset: 7}
	require.Equal(t, first, source.Stamp(nil))
	for n := range int64(3) {
		l := deadletter.New(source, deadletter.Cause{Reason: "not_json"}, "g", time.Now())
		if n == 2 {
			l.DropSourceHeaders()
		}
		r := &kgo.Record{Topic: "orders.dlq", Key: []byte(l.ID), Value: l.Value}
		for _, h := range l.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader(h))
		}
		parsed := letter.Parse(r)
		copied := Copy(&parsed)
		source = deadletter.Source{Topic: "orders", Partition: 0, Offset: 100 + n, Timestamp: at.Add(time.Hour), Value: copied.Value}
		for _, h := range copied.Headers {
			source.Headers = append(source.Headers, deadletter.Header(h))
		}
		require.Equal(t, first, source.Stamp(nil), "copy %d", n)
	}
	source.Headers = []deadletter.Header{{Key: deadletter.HeaderOriginTimestamp, Value: []byte("yesterday")}}
	require.EqualValues(t, 102, source.Stamp(nil).Offset, "headers that are not ours count for nothing")
}
