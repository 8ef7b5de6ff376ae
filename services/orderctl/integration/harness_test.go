// Package integration tests orderctl and the library of dead letters with a
// broker that speaks Kafka's protocol, and a real PostgreSQL.
package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Shared(m)) }

const (
	orders   = "orders"
	dlqTopic = "orders.dlq"
)

// partitions of each topic of the tests.
const partitions = 3

var failed = time.UnixMilli(1_700_000_000_000).UTC()

// world is a broker with the topics, and a store on it.
type world struct {
	t      *testing.T
	broker *broker.Broker
	client *dlq.Client
	store  *dlq.Queue
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // of the audit log
	b := broker.StartForTest(t, broker.Options{Topics: map[string]broker.Topic{
		orders:   {Partitions: partitions},
		dlqTopic: {Partitions: partitions, Configs: map[string]string{"cleanup.policy": "compact"}},
	}})
	w := &world{t: t, broker: b, client: newClient(t, b)}
	w.store = dlq.New(w.client, dlq.Options{Topic: dlqTopic, Orders: orders})
	return w
}

func newClient(t *testing.T, b *broker.Broker) *dlq.Client {
	t.Helper()
	client, err := dlq.NewClient(kgo.SeedBrokers(b.Addr()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func (w *world) produce(records ...*kgo.Record) {
	w.t.Helper()
	for _, p := range w.client.Produce(w.t.Context(), records...) {
		require.NoError(w.t, p.Err)
	}
}

// fail writes the letter of a source record as the worker does.
func (w *world) fail(r *kgo.Record, reason string, failures ...model.FieldError) string {
	w.t.Helper()
	source := deadletter.Source{Topic: r.Topic, Partition: int(r.Partition), Offset: r.Offset, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		source.Headers = append(source.Headers, deadletter.Header{Key: h.Key, Value: h.Value})
	}
	l := deadletter.New(source, deadletter.Cause{Reason: reason, Stage: deadletter.StageValidate, Errors: failures}, "orderhub", failed.Add(time.Duration(r.Offset)*time.Second))
	record := &kgo.Record{Topic: dlqTopic, Partition: int32(r.Offset % partitions), Key: []byte(l.ID), Value: l.Value}
	for _, h := range l.Headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	w.produce(record)
	return l.ID
}

// letters writes so many source records to each of the partitions, and the
// letter of each. It gives the letters' ids.
func (w *world) letters(each int) (ids []string) {
	w.t.Helper()
	for offset := range each {
		for partition := range int32(partitions) {
			r := &kgo.Record{Topic: orders, Partition: partition, Key: fmt.Appendf(nil, "uid-%d-%d", partition, offset), Value: fmt.Appendf(nil, "value %d of %d", offset, partition), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("t")}}}
			w.produce(r)
			r.Timestamp = failed
			ids = append(ids, w.fail(r, "invalid", model.FieldError{Path: "locale", Rule: "bcp47", Message: "must be a language"}))
		}
	}
	return ids
}

// read gives all records of a topic, by partition.
func (w *world) read(name string) map[int32][]*kgo.Record {
	w.t.Helper()
	bounds, err := w.client.Bounds(w.t.Context(), name)
	require.NoError(w.t, err)
	all := map[int32][]*kgo.Record{}
	for partition, span := range bounds {
		_, err := w.client.Read(w.t.Context(), name, map[int32][]dlq.Span{partition: {span}}, func(r *kgo.Record) error {
			all[partition] = append(all[partition], r)
			return nil
		})
		require.NoError(w.t, err)
	}
	return all
}

// refs are the letters with a status.
func (w *world) refs(status letter.Status) []dlq.Ref {
	w.t.Helper()
	snap, err := w.store.Scan(w.t.Context(), letter.Filter{})
	require.NoError(w.t, err)
	return snap.Select(status, 0)
}

// scan reads the whole topic.
func (w *world) scan() *dlq.View {
	w.t.Helper()
	snap, err := w.store.Scan(w.t.Context(), letter.Filter{})
	require.NoError(w.t, err)
	return snap
}

// nobody is told of outcomes.
func nobody(dlq.Outcome) {}

// discard discards the first n open letters, newest first.
func (w *world) discard(n int) {
	w.t.Helper()
	snap := w.scan()
	require.NoError(w.t, w.store.Discard(w.t.Context(), snap, snap.Select(letter.Open, n), dlq.By{Actor: "ann", Why: "tests"}, nobody))
}

func (w *world) redrive(ctx context.Context, how dlq.Redrive) ([]dlq.Outcome, error) {
	var outcomes []dlq.Outcome
	if how.MaxRedrives == 0 {
		how.MaxRedrives = 3
	}
	how.By = dlq.By{Actor: "ann", Why: "mended"}
	how.Done = func(o dlq.Outcome) { outcomes = append(outcomes, o) }
	snap := w.scan()
	err := w.store.Redrive(ctx, snap, snap.Select(letter.Open, 0), how)
	return outcomes, err
}
