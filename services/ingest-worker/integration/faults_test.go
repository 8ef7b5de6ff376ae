package integration

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/fx"

	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// blocked waits until the worker says that it waits for something, in the metric
// and in readiness.
func (b *bundle) blocked(w *worker, cause string) {
	b.t.Helper()
	b.eventually("the worker waits for "+cause, func() (bool, string) {
		ready, body := w.readiness()
		return !ready && w.metric("orderhub_ingest_blocked", "cause="+cause) > 0, body
	})
}

func TestTheDatabaseIsAwayAtStartAndLater(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	b := setupOn(t, broker.StartForTest(t, broker.Options{}), server.URL(), 2)
	require.NoError(t, server.Kill())

	w := b.startWorker()
	b.produce(0, order(t, "a", "1"))
	b.eventually("readiness names the database", func() (bool, string) {
		ready, body := w.readiness()
		return !ready && strings.Contains(body, `"database","ready":false`), body
	})
	require.NoError(t, server.Restart(b.ctx))
	b.drained()
	require.NotEmpty(t, b.stored("a"))

	require.NoError(t, server.Kill())
	b.produce(0, order(t, "b", "1"), []byte("no order"))
	b.produce(1, order(t, "c", "1"))
	b.blocked(w, "database")
	b.eventually("the time is counted while it waits", func() (bool, string) {
		return w.value("orderhub_ingest_blocked_seconds_total", "cause=database") > 0, ""
	})
	require.NoError(t, server.Restart(b.ctx))
	b.drained()
	require.NotEmpty(t, b.stored("b"))
	require.NotEmpty(t, b.stored("c"))
	require.Len(t, b.letters(), 1, "only what is no order")
	b.eventually("the worker is ready again", w.readiness)
}

// A frozen server answers nothing and refuses nothing.
func TestTheDatabaseIsFrozen(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	b := setupOn(t, broker.StartForTest(t, broker.Options{}), server.URL(), 1)
	w := b.startWorker("DATABASE_WRITE_TIMEOUT=1s")
	b.produce(0, order(t, "a", "1"))
	b.drained()
	require.NoError(t, server.Pause())
	b.produce(0, order(t, "b", "1"))
	b.blocked(w, "database")
	require.NoError(t, server.Resume())
	b.drained()
	require.NotEmpty(t, b.stored("b"))
	require.Empty(t, b.letters())
}

func TestTheDatabaseIsReadOnly(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	b.produce(0, order(t, "a", "1"))
	b.drained()
	b.exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`)
	// The setting is for new sessions.
	b.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ingest-worker'`)
	b.produce(0, order(t, "b", "1"))
	b.blocked(w, "database_read_only")
	b.exec(`BEGIN; SET TRANSACTION READ WRITE;
		DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database()); END $$; COMMIT`)
	b.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ingest-worker'`)
	b.drained()
	require.NotEmpty(t, b.stored("b"))
	require.Empty(t, b.letters())
}

// What is our fault stops the worker with a clear word: here the tables are gone.
func TestAMissingTableStopsTheWorker(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	b.produce(0, order(t, "a", "1"))
	b.drained()
	b.exec(`ALTER TABLE items RENAME TO gone`)
	b.produce(0, order(t, "b", "1"))
	require.Equal(t, 1, b.ended(w).ExitCode)
	w.stop()
	require.Empty(t, b.letters())
	b.exec(`ALTER TABLE gone RENAME TO items`)
	b.startWorker()
	b.drained()
	require.NotEmpty(t, b.stored("b"))
}

func TestASchemaThatIsTooOldStopsTheWorker(t *testing.T) {
	b := setup(t, 1)
	_, err := migrations.DownTo(b.ctx, b.db, 1)
	require.NoError(t, err)
	w := b.startWorker()
	require.Equal(t, 1, b.ended(w).ExitCode)
	_, body := w.readiness()
	require.Contains(t, body, "orderctl migrate")
}

func (b *bundle) ended(w *worker) fx.ShutdownSignal {
	b.t.Helper()
	select {
	case signal := <-w.app.Wait():
		return signal
	case <-time.After(deadline):
		b.t.Fatal("the worker goes on")
		return fx.ShutdownSignal{}
	}
}

func TestTheBrokerIsAwayAtStartAndLater(t *testing.T) {
	port, err := ports.Free()
	require.NoError(t, err)
	options := broker.Options{DataDir: t.TempDir(), Port: port, DefaultPartitions: 2}
	first, err := broker.Start(context.Background(), options)
	require.NoError(t, err)
	b := setupOn(t, first, postgres.ForTest(t), 2)
	b.produce(0, order(t, "a", "1"))
	require.NoError(t, first.Stop())

	w := b.startWorker()
	b.eventually("readiness names the topics", func() (bool, string) {
		ready, body := w.readiness()
		return !ready && strings.Contains(body, "topics: "), body
	})
	second, err := broker.Start(context.Background(), options)
	require.NoError(t, err)
	b.drained()
	require.NotEmpty(t, b.stored("a"))

	require.NoError(t, second.Stop())
	b.blocked(w, "broker")
	third, err := broker.Start(context.Background(), options)
	require.NoError(t, err)
	t.Cleanup(func() { _ = third.Stop() })
	b.produce(1, order(t, "b", "1"), []byte("no order"))
	b.drained()
	require.NotEmpty(t, b.stored("b"))
	require.Len(t, b.letters(), 1)
	w.stop()
}

// While the dead-letter topic takes nothing, the partition waits and nothing is
// committed past it; other partitions go on.
func TestTheDeadLetterTopicIsAway(t *testing.T) {
	b := setup(t, 2)
	w := b.startWorker()
	b.produce(0, order(t, "a", "1"))
	b.produce(1, order(t, "b", "1"))
	b.drained()
	var away atomic.Bool
	away.Store(true)
	b.broker.Cluster().ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.broker.Cluster().KeepControl()
		produce := request.(*kmsg.ProduceRequest)
		if produce.Topics[0].Topic != dlqTopic || !away.Load() {
			return nil, nil, false
		}
		return refuseProduce(produce, kerr.NotEnoughReplicas), nil, true
	})
	b.produce(0, []byte("no order"), order(t, "behind", "1"))
	b.produce(1, order(t, "other", "1"))
	b.blocked(w, "dead_letter_topic")
	b.eventually("the other partition goes on", func() (bool, string) { return b.stored("other") != "", "not stored" })
	committed, err := b.admin.FetchOffsets(b.ctx, group)
	require.NoError(t, err)
	at, _ := committed.Lookup(ordersTopic, 0)
	require.Equal(t, int64(1), at.At, "nothing is committed past the letter")

	away.Store(false)
	b.drained()
	require.Len(t, b.letters(), 1)
	require.NotEmpty(t, b.stored("behind"))
}

// A letter larger than the topic takes is cut, marked and hashed.
func TestALetterThatTheTopicDoesNotTakeIsCut(t *testing.T) {
	b := setup(t, 1)
	b.broker.Cluster().ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.broker.Cluster().KeepControl()
		produce := request.(*kmsg.ProduceRequest)
		if produce.Topics[0].Topic == dlqTopic && len(produce.Topics[0].Partitions[0].Records) > 300_000 {
			return refuseProduce(produce, kerr.MessageTooLarge), nil, true
		}
		return nil, nil, false
	})
	b.startWorker()
	value := bytes.Repeat([]byte("z"), 500_000)
	b.produce(0, []byte("small"), value, []byte("small too"))
	b.drained()
	l := b.letterOf(0, 1)
	require.Equal(t, value[:200_000], l.Value)
	require.Contains(t, l.Headers["dlq-truncated"], `"size":500000`)
	require.Equal(t, "not_json", l.Headers["dlq-reason"])
	require.Equal(t, []byte("small"), b.letterOf(0, 0).Value)
	require.Equal(t, []byte("small too"), b.letterOf(0, 2).Value)
}

// The topic is gone while the worker runs, and a person makes it anew: nothing is
// committed meanwhile, and the letter gets there.
func TestTheDeadLetterTopicIsDeleted(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	b.produce(0, []byte("no order"))
	b.drained()
	require.Len(t, b.letters(), 1)
	_, err := b.admin.DeleteTopics(b.ctx, dlqTopic)
	require.NoError(t, err)

	b.produce(0, []byte("no order either"), order(t, "behind", "1"))
	b.blocked(w, "dead_letter_topic")
	committed, err := b.admin.FetchOffsets(b.ctx, group)
	require.NoError(t, err)
	at, _ := committed.Lookup(ordersTopic, 0)
	require.Equal(t, int64(1), at.At, "nothing is committed past the letter")
	_, body := w.readiness()
	require.Contains(t, body, dlqTopic)

	require.NoError(t, b.broker.CreateTopics(b.ctx, map[string]broker.Topic{dlqTopic: {Partitions: 3}}))
	b.connect()
	b.drained()
	require.NotEmpty(t, b.stored("behind"))
	require.Equal(t, "no order either", string(b.letterOf(0, 1).Value))
	b.eventually("the worker is ready again", w.readiness)
}

// Without the right to write into the topic the partition waits likewise.
func TestTheDeadLetterTopicIsReadOnly(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	b.produce(0, order(t, "a", "1"))
	b.drained()
	var forbidden atomic.Bool
	forbidden.Store(true)
	b.broker.Cluster().ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.broker.Cluster().KeepControl()
		produce := request.(*kmsg.ProduceRequest)
		if produce.Topics[0].Topic != dlqTopic || !forbidden.Load() {
			return nil, nil, false
		}
		return refuseProduce(produce, kerr.TopicAuthorizationFailed), nil, true
	})
	b.produce(0, []byte("no order"))
	b.blocked(w, "dead_letter_topic")
	forbidden.Store(false)
	b.drained()
	require.Len(t, b.letters(), 1)
}

func refuseProduce(request *kmsg.ProduceRequest, why *kerr.Error) *kmsg.ProduceResponse {
	response := request.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range request.Topics {
		t := kmsg.NewProduceResponseTopic()
		t.Topic = topic.Topic
		for _, partition := range topic.Partitions {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition, p.ErrorCode = partition.Partition, why.Code
			t.Partitions = append(t.Partitions, p)
		}
		response.Topics = append(response.Topics, t)
	}
	return response
}

// Records that retention removed before they were read are counted, and the
// worker goes on with what is there.
func TestOffsetsThatAreGoneAreCounted(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	b.produce(0, order(t, "a", "1"), order(t, "b", "1"))
	b.drained()
	w.stop()
	for i := range 5 {
		b.produce(0, order(t, fmt.Sprintf("lost%d", i), "1"))
	}
	b.produce(0, order(t, "c", "1"))
	_, err := b.admin.DeleteRecords(b.ctx, kadm.Offsets{ordersTopic: {0: {Topic: ordersTopic, Partition: 0, At: 7}}})
	require.NoError(t, err)
	w = b.startWorker()
	b.drained()
	require.Equal(t, 5, w.metric("orderhub_ingest_offset_gap_records_total", "partition=0"))
	require.NotEmpty(t, b.stored("c"))
	require.Equal(t, 3, b.count("orders"))
}

// A topic made anew ends before the committed offset; its records are read all
// the same.
func TestATopicMadeAnewIsReadFromItsFirstRecord(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	for i := range 5 {
		b.produce(0, order(t, fmt.Sprintf("old%d", i), "1"))
	}
	b.drained()
	w.stop()
	_, err := b.admin.DeleteTopics(b.ctx, ordersTopic)
	require.NoError(t, err)
	require.NoError(t, b.broker.CreateTopics(b.ctx, map[string]broker.Topic{ordersTopic: {Partitions: 1}}))
	b.connect()
	// kfake forgets a deleted topic's offsets; Kafka may still have them.
	require.NoError(t, b.admin.CommitAllOffsets(b.ctx, group, kadm.Offsets{ordersTopic: {0: {Topic: ordersTopic, Partition: 0, At: 5, LeaderEpoch: -1}}}))
	b.produce(0, order(t, "old0", "1"), order(t, "new", "1"))
	w = b.startWorker()
	b.drained()
	require.NotEmpty(t, b.stored("new"))
	require.Equal(t, 6, b.count("orders"))
	require.Equal(t, 1, w.metric("orderhub_ingest_recreated_partitions_total", "partition=0"))
}

// Two writers with the same orders at once: each is stored once, and the other
// writer knows it for a duplicate or a conflict.
func TestWritersRace(t *testing.T) {
	b := setup(t, 1)
	db, err := bundb.Open(config.Database{URL: config.Secret(b.url)}, bundb.Options{MaxConns: 4, ApplicationName: "race"})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	const writers, orders = 4, 200
	all := make([][]*orderwrite.Entry, writers)
	var wg sync.WaitGroup
	for w := range writers {
		for i := range orders {
			n := (i*7 + w*50) % orders // each in an order of its own
			mark := "a"
			if n%2 == 1 {
				mark = fmt.Sprint(w)
			}
			all[w] = append(all[w], entries(t, order(t, fmt.Sprintf("r%03d", n), mark))...)
		}
	}
	for w := range writers {
		s := newWriter(db, 1000) // of a worker of its own: one worker's writers share transactions
		wg.Go(func() {
			for from := 0; from < orders; from += 50 {
				if err := s.Write(b.ctx, all[w][from:from+50]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	outcomes := map[string]map[orderwrite.Outcome]int{}
	for _, entries := range all {
		for _, e := range entries {
			if outcomes[e.Order.OrderUID] == nil {
				outcomes[e.Order.OrderUID] = map[orderwrite.Outcome]int{}
			}
			outcomes[e.Order.OrderUID][e.Outcome]++
		}
	}
	require.Len(t, outcomes, orders)
	for uid, o := range outcomes {
		require.Equal(t, 1, o[orderwrite.Stored], uid)
		require.Equal(t, writers-1, o[orderwrite.Duplicate]+o[orderwrite.Conflict], uid)
	}
	require.Equal(t, orders, b.count("orders"))
}

// A worker that is stopped in the middle of a backlog leaves the rest to the
// next, which stores nothing twice.
func TestStoppingInTheMiddleLosesNothing(t *testing.T) {
	b := setup(t, 2)
	const orders = 3000
	records := make([]*kgo.Record, orders)
	for i := range records {
		records[i] = &kgo.Record{Topic: ordersTopic, Partition: int32(i % 2), Value: order(t, fmt.Sprintf("o%05d", i), "a")}
	}
	require.NoError(t, b.kafka.ProduceSync(b.ctx, records...).FirstErr())
	stored := 0
	for range 3 {
		w := b.startWorker("INGEST_MAX_BATCH_RECORDS=50")
		b.eventually("some are stored", func() (bool, string) {
			return w.metric("orderhub_ingest_records_total", "outcome=stored") > 0, ""
		})
		w.stop()
		stored += w.metric("orderhub_ingest_records_total", "outcome=stored")
		require.Equal(t, 0, w.metric("orderhub_ingest_records_total", "outcome=duplicate"), "what was done was committed")
	}
	w := b.startWorker()
	b.drained()
	require.Equal(t, orders, stored+w.metric("orderhub_ingest_records_total", "outcome=stored"))
	require.Equal(t, orders, b.count("orders"))
	require.Empty(t, b.letters())
}
