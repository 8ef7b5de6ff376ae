package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/services/orderctl/internal/cli"
)

// denyReading lets the broker answer that the user may not read.
func (w *world) denyReading() {
	cluster := w.broker.Cluster()
	cluster.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		asked := request.(*kmsg.FetchRequest)
		answer := asked.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range asked.Topics {
			of := kmsg.NewFetchResponseTopic()
			of.Topic, of.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				part := kmsg.NewFetchResponseTopicPartition()
				part.Partition, part.ErrorCode = p.Partition, 29 // TOPIC_AUTHORIZATION_FAILED
				of.Partitions = append(of.Partitions, part)
			}
			answer.Topics = append(answer.Topics, of)
		}
		return answer, nil, true
	})
}

func TestWithoutRights(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(1)
	for _, command := range [][]string{{dlqTopic, "discard", ids[0], "--why", "x"}, {orders, "redrive", ids[0]}} {
		allow := w.refuseWrites(command[0])
		got := w.orderctl(append([]string{"dlq"}, command[1:]...)...)
		allow()
		require.Equal(t, 1, got.code, command)
		require.Contains(t, got.stderr, "stopped: 0 of 1 letter")
		require.Contains(t, got.stderr, "topic "+command[0])
		require.Contains(t, got.stderr, "lacks the right: reading needs Describe and Read", command)
	}
	crash := w.crashes()
	require.Equal(t, 0, w.orderctl("dlq", "discard", ids[0], "--why", "x").code)
	crash.after(0)
	for _, command := range [][]string{{"undo", ids[0]}, {"purge", "--resolved", "--older-than", "0s", "--yes"}} {
		got := w.orderctl(append([]string{"dlq"}, command...)...)
		require.Equal(t, 1, got.code, command)
		require.Contains(t, got.stderr, "need Write and Describe on the transactional id orderhub-dlq/orders.dlq", command)
	}
	crash.over()
	w.denyReading()
	for _, command := range [][]string{{"list"}, {"stats"}, {"show", ids[0]}, {"export"}} {
		got := w.orderctl(append([]string{"dlq"}, command...)...)
		require.Equal(t, 1, got.code, command)
		require.Contains(t, got.stderr, "topic orders.dlq, partition", command)
		require.Contains(t, got.stderr, "lacks the right: reading needs Describe and Read", command)
	}
}

// A topic that was emptied, and resolutions whose letters are gone.
func TestATopicWithGaps(t *testing.T) {
	w := newWorld(t)
	w.letters(2)
	w.produce(letter.Resolution{ID: "orders/0/77/00000000", Kind: "mended", When: failed}.Record(dlqTopic, 0),
		&kgo.Record{Topic: dlqTopic, Key: []byte("orders/0/78/00000000/resolution"), Value: []byte("no JSON"), Headers: []kgo.RecordHeader{{Key: "dlq-resolution", Value: []byte("discarded")}}})
	got := w.orderctl("dlq", "stats")
	require.Equal(t, 0, got.code)
	require.Contains(t, got.stdout, "6 open, 0 resolved")
	require.Contains(t, got.stderr, "2 resolutions without a letter in orders.dlq")

	admin, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr()))
	require.NoError(t, err)
	defer admin.Close()
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis = 5000
	of := kmsg.NewDeleteRecordsRequestTopic()
	of.Topic = dlqTopic
	for partition := range int32(partitions) {
		part := kmsg.NewDeleteRecordsRequestTopicPartition()
		part.Partition, part.Offset = partition, -1
		of.Partitions = append(of.Partitions, part)
	}
	request.Topics = append(request.Topics, of)
	snap := w.scan()
	refs := snap.Select(letter.Open, 0)
	_, err = request.RequestWith(t.Context(), admin)
	require.NoError(t, err)
	require.Equal(t, 3, w.orderctl("dlq", "list").code)
	require.Contains(t, w.orderctl("dlq", "stats").stdout, "0 open, 0 resolved")
	_, err = w.store.Load(t.Context(), refs)
	require.ErrorIs(t, err, dlq.ErrChanged)
	require.NoError(t, w.store.Redrive(t.Context(), snap, refs, dlq.Redrive{MaxRedrives: 1, Done: func(dlq.Outcome) { t.Error("there is nothing to send") }}))
}

// Letters with what no version of the worker writes.
func TestUnknownHeaders(t *testing.T) {
	w := newWorld(t)
	w.produce(&kgo.Record{Topic: dlqTopic, Key: []byte("orders/0/1/00000000"), Value: []byte("v"), Headers: []kgo.RecordHeader{
		{Key: "dlq-reason", Value: []byte("new_reason")}, {Key: "dlq-invented", Value: []byte("x\x1b[31m")}, {Key: "dlq-errors", Value: []byte("[{]")}, {Key: "dlq-source-topic", Value: []byte(orders)},
		{Key: "dlq-source-offset", Value: []byte("1e9")}, {Key: "dlq-failed-at", Value: nil}, {Key: "", Value: nil}, {Key: "customer-name", Value: []byte("Ann")},
	}})
	got := w.orderctl("dlq", "show", "orders/0/1")
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stdout, "customer-name: ***\n")
	t.Setenv("ORDERHUB_AUDIT_FILE", filepath.Join(t.TempDir(), "audit.jsonl"))
	got = w.orderctl("dlq", "show", "orders/0/1", "--reveal")
	require.Contains(t, got.stdout, `dlq-invented: x<U+001B>[31m`)
	require.NotContains(t, got.stdout, "\x1b")
	require.Equal(t, 1, strings.Count(w.orderctl("dlq", "list", "--output", "json", "--reason", "new_reason").stdout, "\n"))
	require.Equal(t, 0, w.orderctl("dlq", "redrive", "orders/0/1").code)
	require.Contains(t, headersOf(w.read(orders)[0][0]), "dlq-invented=")
}

// The broker that goes away in the middle.
func TestABrokerThatGoesAway(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(1)
	snap := w.scan()
	require.NoError(t, w.broker.Stop())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.Error(t, w.store.Redrive(ctx, snap, snap.Select(letter.Open, 0), dlq.Redrive{MaxRedrives: 1, Done: func(dlq.Outcome) {}}))
	got := w.orderctl("dlq", "show", ids[0])
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "cannot reach Kafka at "+w.broker.Addr())
}

// lines collects what a command writes while it runs.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	wait chan string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	for {
		line, err := l.text.ReadString('\n')
		if err != nil {
			l.text.Reset()
			l.text.WriteString(line)
			return len(p), nil
		}
		l.wait <- line
	}
}

// A watch counts what has come since.
func TestDLQStatsWatch(t *testing.T) {
	w := newWorld(t)
	w.letters(1)
	out := &lines{wait: make(chan string, 100)}
	stop := w.orderctlRunning(out, "dlq", "stats", "--watch=20ms", "--output", "json")
	require.Contains(t, <-out.wait, `{"open":3,"resolved":0,`)
	w.discard(1)
	for !strings.Contains(<-out.wait, `{"open":2,"resolved":1,`) {
	}
	require.Equal(t, 130, stop())
	require.Equal(t, 2, w.orderctl("dlq", "stats", "--watch=-1s").code)
}

// Letters are listed as they come, with the filter of the beginning.
func TestDLQListFollow(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(1)
	out := &lines{wait: make(chan string, 100)}
	stop := w.orderctlRunning(out, "dlq", "list", "--follow", "--output", "json", "--partition", "1")
	require.Contains(t, <-out.wait, ids[1])
	w.fail(&kgo.Record{Topic: orders, Partition: 0, Offset: 5, Value: []byte("{")}, "not_json")
	id := w.fail(&kgo.Record{Topic: orders, Partition: 1, Offset: 5, Value: []byte("{")}, "not_json")
	require.Contains(t, <-out.wait, id)
	require.Equal(t, 130, stop())
}

// Letters that others write, from the list to the redriven record.
func TestForeignLettersInTheTerminal(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.broker.CreateTopics(t.Context(), map[string]broker.Topic{"orders.DLT": {Partitions: 2}}))
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	w.produce(&kgo.Record{Topic: "orders.DLT", Partition: 1, Key: []byte("k"), Value: []byte(`{"name": "Ann"}`), Headers: []kgo.RecordHeader{
		{Key: "trace", Value: []byte("1")}, {Key: "retry_topic-attempts", Value: []byte{0, 0, 0, 3}},
		{Key: "kafka_dlt-original-topic", Value: []byte(orders)}, {Key: "kafka_dlt-original-partition", Value: []byte{0, 0, 0, 2}}, {Key: "kafka_dlt-original-offset", Value: number(41)},
		{Key: "kafka_dlt-original-timestamp", Value: number(1_700_000_000_000)}, {Key: "kafka_dlt-original-timestamp-type", Value: []byte("CreateTime")},
		{Key: "kafka_dlt-exception-fqcn", Value: []byte("org.springframework.kafka.listener.ListenerExecutionFailedException")}, {Key: "kafka_dlt-exception-cause-fqcn", Value: []byte("java.lang.IllegalStateException")},
		{Key: "kafka_dlt-exception-message", Value: []byte(`no room for "Ann" and ann@example.org`)},
	}})
	listed := w.orderctl("dlq", "list", "--foreign", "orders.DLT", "--output", "json")
	require.Equal(t, 0, listed.code, listed.stderr)
	require.Contains(t, listed.stdout, `"reason":"IllegalStateException"`)
	id := listed.stdout[len(`{"id":"`):strings.Index(listed.stdout, `","status"`)]
	shown := w.orderctl("dlq", "show", id, "--foreign", "orders.DLT")
	require.Equal(t, 0, shown.code, shown.stderr)
	require.Contains(t, shown.stdout, "orders, partition 2, offset 41, written 2023-11-14 22:13:20")
	require.NotContains(t, shown.stdout, "Ann")
	require.NotContains(t, shown.stdout, "ann@")
	require.Equal(t, 0, w.orderctl("dlq", "redrive", id, "--foreign", "orders.DLT", "--actor", "ann").code)
	require.Equal(t, "trace=1 dlq-redrive-count=1 dlq-origin="+id+" ", headersOf(w.read(orders)[2][0]))
	require.Equal(t, 3, w.orderctl("dlq", "list", "--foreign", "orders.DLT").code)
	require.Contains(t, w.orderctl("dlq", "show", id, "--foreign", "orders.DLT").stdout, "resolved: redriven by ann")
	require.Equal(t, 0, w.orderctl("dlq", "undo", id, "--foreign", "orders.DLT").code)
	require.Contains(t, w.orderctl("dlq", "stats", "--foreign", "orders.DLT").stdout, "1 open, 0 resolved")
	t.Setenv("ORDERHUB_AUDIT_FILE", t.TempDir()+"/audit.jsonl")
	exported := w.orderctl("dlq", "export", "--foreign", "orders.DLT", "--reveal")
	require.Equal(t, 0, exported.code)
	got := w.orderctlTyping(exported.stdout, "dlq", "import", "-")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "another system wrote this letter")
	require.Equal(t, 3, w.orderctl("dlq", "purge", "--resolved", "--older-than", "0s").code, "of theirs nothing is removed")
}

// orderctlRunning starts a command; stop ends it as Ctrl-C does and gives its exit
// code.
func (w *world) orderctlRunning(stdout *lines, args ...string) (stop func() int) {
	w.t.Helper()
	w.t.Setenv("KAFKA_BROKERS", w.broker.Addr())
	ctx, cancel := context.WithCancel(w.t.Context())
	code := make(chan int, 1)
	go func() {
		code <- cli.Run(ctx, args, strings.NewReader(""), stdout, new(bytes.Buffer))
	}()
	stop = sync.OnceValue(func() int {
		cancel()
		for {
			select {
			case c := <-code:
				return c
			case <-stdout.wait: // what it still writes
			}
		}
	})
	w.t.Cleanup(func() { stop() })
	return stop
}
