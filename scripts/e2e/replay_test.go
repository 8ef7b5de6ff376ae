package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
)

// replayed are records of every shape that a letter depends on, with a limit of 2 KiB.
func replayed(t *testing.T) []*kgo.Record {
	t.Helper()
	long, header := []byte(strings.Repeat("x", 3000)), func(key string, size int) kgo.RecordHeader {
		return kgo.RecordHeader{Key: key, Value: []byte(strings.Repeat("h", size))}
	}
	valid := []byte(sample(t, "order1001test.json"))
	conflict := []byte(strings.Replace(string(valid), `"WBIL"`, `"X"`, 1))
	all := []*kgo.Record{
		{Value: valid, Key: []byte("order1001test")},
		{Value: valid},
		{Value: conflict, Headers: []kgo.RecordHeader{header("trace", 5)}},
		{Value: nil, Key: []byte("tombstone")},
		{Value: []byte{}, Key: []byte{}},
		{Value: []byte("{"), Headers: []kgo.RecordHeader{{Key: "null"}, {Key: "empty", Value: []byte{}}, {Key: deadletter.HeaderRedriveCount, Value: []byte("2")}}},
		{Value: long, Key: []byte("large")},
		{Value: valid, Key: long},
		{Value: nil, Key: long},
		{Value: valid, Headers: []kgo.RecordHeader{header("a", 800), header("b", 800), header("c", 800), header("d", 1)}},
		{Value: []byte{0xff, 0}, Timestamp: time.UnixMilli(1)},
	}
	for i, r := range all {
		r.Topic, r.Partition = "orders", int32(max(0, i-2)%4) // the three of one order in their sequence
	}
	return all
}

// A replay makes the letters that the worker made: in the same partition, with the same
// key, value and headers but for the time. So a letter that is written by both is one.
func TestReplayedRecordsHaveTheWorkersLetters(t *testing.T) {
	p := newPipeline(t)
	p.env = append(p.env, "INGEST_MAX_RECORD_BYTES=2048")
	p.worker()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.brokers), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	records := replayed(t)
	require.NoError(t, client.ProduceSync(p.ctx, records...).FirstErr())
	letters := func(topic string) map[string]*kgo.Record {
		reader, err := kgo.NewClient(kgo.SeedBrokers(p.brokers), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		require.NoError(t, err)
		defer reader.Close()
		found := map[string]*kgo.Record{}
		for len(found) < len(records)-2 { // all but the order and its duplicate
			fetches := reader.PollFetches(p.ctx)
			require.NoError(t, fetches.Err(), "%d letters in %s", len(found), topic)
			fetches.EachRecord(func(r *kgo.Record) {
				require.NotContains(t, found, string(r.Key))
				found[string(r.Key)] = r
			})
		}
		return found
	}
	byWorker := letters("orders.dlq")

	const elsewhere = "elsewhere.dlq"
	p.env = append(p.env, "KAFKA_DLQ_TOPIC="+elsewhere)
	p.orderctl("", "topics")
	var report struct{ Outcomes map[string]int }
	require.NoError(t, json.Unmarshal([]byte(p.orderctl("", "replay", "--from", "earliest", "--to", "latest", "--output", "json")), &report))
	require.Equal(t, map[string]int{"stored": 0, "duplicate": 2, "dead_letter": len(records) - 2}, report.Outcomes)
	byReplay := letters(elsewhere)
	for id, want := range byWorker {
		got := byReplay[id]
		require.NotNil(t, got, id)
		require.Equal(t, want.Partition, got.Partition, id)
		require.Equal(t, want.Value, got.Value, id)
		require.Len(t, got.Headers, len(want.Headers), id)
		for i, h := range want.Headers {
			if h.Key == deadletter.HeaderFailedAt {
				h.Value = got.Headers[i].Value
			}
			require.Equal(t, h, got.Headers[i], id)
		}
	}
}
