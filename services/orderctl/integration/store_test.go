package integration

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
)

func TestListAndFind(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(4)
	items, _, err := w.store.List(t.Context(), letter.Filter{Partitions: []int32{1}}, letter.Open, 2)
	require.NoError(t, err)
	require.Len(t, items, 2)
	require.Equal(t, ids[10], items[0].ID, "the newest first")
	require.Equal(t, "value 3 of 1", string(items[0].Value))

	short := ids[4][:strings.LastIndexByte(ids[4], '/')]
	found, _, err := w.store.Find(t.Context(), short, ids[4], ids[0])
	require.NoError(t, err)
	require.Equal(t, []string{ids[4], ids[0]}, idsOf(found))
	_, _, err = w.store.Find(t.Context(), "orders/0/99")
	require.ErrorIs(t, err, dlq.ErrNotFound)

	// The topic made anew: another record in the same place.
	w.fail(&kgo.Record{Topic: orders, Partition: 1, Offset: 1, Value: []byte("other")}, "invalid")
	_, _, err = w.store.Find(t.Context(), short)
	require.ErrorIs(t, err, dlq.ErrAmbiguous)
}

func idsOf(items []dlq.Item) (ids []string) {
	for _, i := range items {
		ids = append(ids, i.ID)
	}
	return ids
}

func TestRedrive(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(4)
	outcomes, err := w.redrive(t.Context(), dlq.Redrive{})
	require.NoError(t, err)
	require.Len(t, outcomes, len(ids))
	for partition, records := range w.read(orders) {
		require.Len(t, records, 8)
		for i, r := range records[4:] {
			require.Equal(t, records[i].Value, r.Value, "partition %d: in the source's order", partition)
			require.Equal(t, records[i].Key, r.Key)
			require.Regexp(t, "^trace=t dlq-redrive-count=1 dlq-origin=orders/", headersOf(r))
		}
	}
	require.Empty(t, w.refs(letter.Open))
	items, err := w.store.Load(t.Context(), w.refs(letter.Resolved))
	require.NoError(t, err)
	for _, item := range items {
		r := item.Resolution
		require.Equal(t, []any{letter.Redriven, "ann", "mended"}, []any{r.Kind, r.By, r.Why})
		i := slices.IndexFunc(outcomes, func(o dlq.Outcome) bool { return o.Item.ID == item.ID })
		require.Equal(t, outcomes[i].Copy.String(), r.Became)
	}
}

func headersOf(r *kgo.Record) string {
	var b strings.Builder
	for _, h := range r.Headers {
		if !strings.HasPrefix(h.Key, "dlq-origin-") { // they have a test of their own
			b.WriteString(h.Key + "=" + string(h.Value) + " ")
		}
	}
	return b.String()
}

func TestFollowingASnapshot(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(1)
	snap, err := w.store.Scan(t.Context(), letter.Filter{Keys: []string{"uid-1-0"}})
	require.NoError(t, err)
	require.NoError(t, w.store.Discard(t.Context(), snap, snap.Select(letter.Open, 0), dlq.By{}, nobody))
	enough := errors.New("enough")
	var got []string
	w.fail(&kgo.Record{Topic: orders, Partition: 1, Offset: 0, Timestamp: failed, Key: []byte("uid-1-0"), Value: []byte("value 0 of 1")}, "invalid")
	w.fail(&kgo.Record{Topic: orders, Partition: 1, Offset: 3, Key: []byte("uid-1-0")}, "invalid")
	err = snap.Follow(t.Context(), func(l *letter.Letter, status letter.Status) error {
		got = append(got, l.ID[:len("orders/1/0")]+" "+string(status))
		if len(got) == 2 {
			return enough
		}
		return nil
	})
	require.ErrorIs(t, err, enough)
	require.Equal(t, []string{"orders/1/0 resolved", "orders/1/3 open"}, got)
	require.Len(t, ids, 3)
}

// A value of 10 MB goes through all of it.
func TestALargeLetter(t *testing.T) {
	b := broker.StartForTest(t, broker.Options{DefaultPartitions: 1, Configs: map[string]string{"message.max.bytes": "20000000"}, Topics: map[string]broker.Topic{
		orders: {Configs: map[string]string{"max.message.bytes": "20000000"}}, dlqTopic: {Configs: map[string]string{"max.message.bytes": "20000000"}},
	}})
	client := newClient(t, b)
	w := &world{t: t, broker: b, client: client, store: dlq.New(client, dlq.Options{Topic: dlqTopic})}
	value := []byte(`{"a": "` + strings.Repeat("x", 10<<20) + `"}`)
	id := w.fail(&kgo.Record{Topic: orders, Value: value}, "too_large")
	shown := w.orderctl("dlq", "show", id)
	require.Equal(t, 0, shown.code, shown.stderr)
	outcomes, err := w.redrive(t.Context(), dlq.Redrive{})
	require.NoError(t, err)
	require.NoError(t, outcomes[0].Err)
	require.Equal(t, value, w.read(orders)[0][0].Value)
}

func TestALetterThatItsTopicDoesNotTake(t *testing.T) {
	b := broker.StartForTest(t, broker.Options{DefaultPartitions: 1, Topics: map[string]broker.Topic{
		orders: {Configs: map[string]string{"max.message.bytes": "1000"}}, dlqTopic: {},
	}})
	client := newClient(t, b)
	w := &world{t: t, broker: b, client: client, store: dlq.New(client, dlq.Options{Topic: dlqTopic})}
	value := make([]byte, 5000)
	for i := range value {
		value[i] = byte(rand.Uint32()) // does not shrink
	}
	w.fail(&kgo.Record{Topic: orders, Value: value}, "invalid")
	outcomes, err := w.redrive(t.Context(), dlq.Redrive{})
	require.NoError(t, err)
	require.ErrorIs(t, outcomes[0].Err, dlq.ErrTooLarge)
	require.Len(t, w.refs(letter.Open), 1)
}

func TestWhatCannotBeRedriven(t *testing.T) {
	w := newWorld(t)
	w.fail(&kgo.Record{Topic: orders, Partition: 9, Offset: 1}, "invalid")
	w.fail(&kgo.Record{Topic: orders, Offset: 2, Headers: []kgo.RecordHeader{{Key: "dlq-redrive-count", Value: []byte("3")}}}, "invalid")
	w.produce(&kgo.Record{Topic: dlqTopic, Value: []byte("plain"), Key: []byte("k")},
		&kgo.Record{Topic: dlqTopic, Key: []byte("orders/0/7/00000000"), Value: []byte("cu"), Headers: []kgo.RecordHeader{
			{Key: "dlq-reason", Value: []byte("x")}, {Key: "dlq-source-topic", Value: []byte(orders)}, {Key: "dlq-truncated", Value: []byte(`{"size":3}`)},
		}})
	outcomes, err := w.redrive(t.Context(), dlq.Redrive{})
	require.NoError(t, err)
	var said []string
	for _, o := range outcomes {
		said = append(said, o.Err.Error())
	}
	require.ElementsMatch(t, []string{
		dlq.ErrGone.Error(), dlq.ErrNoSource.Error(), dlq.ErrTruncated.Error(), "was redriven too often (3 times; the limit is 3)",
	}, said)
	require.Len(t, w.refs(letter.Open), 4)
}

// A letter whose value is null goes back as null.
func TestRedriveOfATombstone(t *testing.T) {
	w := newWorld(t)
	w.fail(&kgo.Record{Topic: orders, Offset: 0, Key: []byte("k")}, "tombstone")
	_, err := w.redrive(t.Context(), dlq.Redrive{})
	require.NoError(t, err)
	require.Nil(t, w.read(orders)[0][0].Value)
}

// Letters of a topic that is gone stay, and hold up no others. Named as the target, such a
// topic stops the redrive.
func TestRedriveIntoAMissingTopic(t *testing.T) {
	w := newWorld(t)
	gone := w.fail(&kgo.Record{Topic: "absent", Value: []byte("v")}, "invalid")
	w.letters(1)
	outcomes, err := w.redrive(t.Context(), dlq.Redrive{})
	require.NoError(t, err)
	require.Len(t, outcomes, 4)
	require.Equal(t, gone, outcomes[0].Item.ID)
	require.ErrorContains(t, outcomes[0].Err, "topic absent does not exist any more")
	require.Len(t, w.refs(letter.Open), 1)
	_, err = w.redrive(t.Context(), dlq.Redrive{Target: dlq.Target{Topic: "absent"}})
	require.ErrorIs(t, err, dlq.ErrTarget)
}

// Killed between the copy and the resolution, it leaves the letters open; run
// again it sends them once more.
func TestRedriveInterrupted(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(2)
	allow := w.refuseWrites(dlqTopic)
	outcomes, err := w.redrive(t.Context(), dlq.Redrive{})
	require.ErrorContains(t, err, "write down what was done")
	require.Empty(t, outcomes)
	require.Len(t, w.refs(letter.Open), len(ids))
	allow()
	outcomes, err = w.redrive(t.Context(), dlq.Redrive{})
	require.NoError(t, err)
	require.Len(t, outcomes, len(ids))
	require.Empty(t, w.refs(letter.Open))
	require.Len(t, w.read(orders)[0], 6)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.letters(1)
	snap := w.scan()
	require.ErrorIs(t, w.store.Redrive(ctx, snap, snap.Select(letter.Open, 0), dlq.Redrive{MaxRedrives: 1}), context.Canceled)
	require.Len(t, w.refs(letter.Open), 3)
}

// refuseWrites lets the broker refuse records of a topic until allow is called.
func (w *world) refuseWrites(name string) (allow func()) {
	id := w.topicID(name)
	stop := make(chan struct{})
	w.broker.Cluster().ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		select {
		case <-stop:
			return nil, nil, false
		default:
			w.broker.Cluster().KeepControl()
		}
		asked := request.(*kmsg.ProduceRequest)
		if asked.Topics[0].Topic != name && asked.Topics[0].TopicID != id {
			return nil, nil, false
		}
		answer := asked.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range asked.Topics {
			of := kmsg.NewProduceResponseTopic()
			of.Topic, of.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				part := kmsg.NewProduceResponseTopicPartition()
				part.Partition, part.ErrorCode = p.Partition, 29 // TOPIC_AUTHORIZATION_FAILED
				of.Partitions = append(of.Partitions, part)
			}
			answer.Topics = append(answer.Topics, of)
		}
		return answer, nil, true
	})
	return func() { close(stop) }
}

func (w *world) topicID(name string) [16]byte { return w.broker.Cluster().TopicInfo(name).TopicID }

func TestRate(t *testing.T) {
	w := newWorld(t)
	w.letters(1)
	began := time.Now()
	_, err := w.redrive(t.Context(), dlq.Redrive{Rate: 50})
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), 40*time.Millisecond, "the second and third wait 20 ms each")
}

func TestDiscardUndoAndPurge(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(2)
	w.discard(4)
	require.Len(t, w.refs(letter.Open), 2)
	snap := w.scan()
	require.NoError(t, w.store.Undo(t.Context(), snap, snap.Select(letter.Resolved, 1), nil, nobody))
	require.Len(t, w.refs(letter.Open), 3)

	purge := func(before time.Time, dryRun bool) (purged []string) {
		o := dlq.PurgeOptions{Before: before, Source: orders}
		var err error
		if dryRun {
			purged, err = w.store.Purgeable(t.Context(), o)
		} else {
			err = w.store.Purge(t.Context(), o, func(id string) { purged = append(purged, id) })
		}
		require.NoError(t, err)
		return purged
	}
	require.Empty(t, purge(time.Now().Add(-time.Hour), false), "too young")
	require.Len(t, purge(time.Now().Add(time.Hour), true), 3)
	require.Len(t, w.refs(letter.Resolved), 3)
	// Of one that was purged halfway, and one whose letter is of another topic.
	w.produce(letter.Resolution{ID: "orders/0/77/00000000", Kind: letter.Discarded, When: failed}.Record(dlqTopic, 0),
		letter.Resolution{ID: "their.DLT/0/7/00000000", Kind: letter.Discarded, When: failed}.Record(dlqTopic, 0))
	require.Len(t, purge(time.Now().Add(time.Hour), false), 4)
	require.Empty(t, w.refs(letter.Resolved))
	require.Len(t, w.refs(letter.Open), 3)
	require.Len(t, w.scan().Orphans(), 1)
	require.NotEmpty(t, ids)
	w.broker.Cluster().Compact()
	require.Len(t, w.refs(letter.Open), 3, "after compaction")
}

func TestLettersOfAnotherTopic(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.broker.CreateTopics(t.Context(), map[string]broker.Topic{"connect.dlq": {Partitions: 2}}))
	w.letters(1)
	record := &kgo.Record{Topic: "connect.dlq", Partition: 1, Key: []byte("k"), Value: []byte("v")}
	for key, value := range map[string]string{"topic": orders, "partition": "2", "offset": "40", "exception.class.name": "a.DataException"} {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: "__connect.errors." + key, Value: []byte(value)})
	}
	w.produce(record)
	foreign := &world{t: t, broker: w.broker, client: w.client, store: dlq.New(w.client, dlq.Options{Topic: dlqTopic, Foreign: []string{"connect.dlq"}})}
	outcomes, err := foreign.redrive(t.Context(), dlq.Redrive{})
	require.NoError(t, err)
	require.Len(t, outcomes, 1)
	require.Equal(t, letter.Place{Topic: orders, Partition: 2, Offset: 1}, outcomes[0].Copy)
	require.Equal(t, "dlq-redrive-count=1 dlq-origin="+outcomes[0].Item.ID+" ", headersOf(w.read(orders)[2][1]))
	require.Len(t, foreign.refs(letter.Resolved), 1)
	require.Len(t, w.refs(letter.Open), 3, "ours are as they were")
	snap := foreign.scan()
	require.NoError(t, foreign.store.Undo(t.Context(), snap, snap.Select(letter.Resolved, 0), nil, nobody))
	require.Len(t, foreign.refs(letter.Open), 1)
}

// Letters of several topics, ours among them, are listed and dealt with together.
// TestAnUndoThatIsAbortedIsDoneAgain has the broker abort a transaction that is to be committed,
// and say that all is well, as franz-go itself does at times.
func TestAnUndoThatIsAbortedIsDoneAgain(t *testing.T) {
	w := newWorld(t)
	id := w.letters(1)[0]
	require.Zero(t, w.orderctl("dlq", "discard", id, "--why", "tried", "--yes").code)
	aborted := false
	w.broker.Cluster().ControlKey(int16(kmsg.EndTxn), func(request kmsg.Request) (kmsg.Response, error, bool) {
		w.broker.Cluster().KeepControl()
		end, _ := request.(*kmsg.EndTxnRequest)
		if !aborted {
			aborted, end.Commit = true, false
		}
		return nil, nil, false
	})
	got := w.orderctl("dlq", "undo", id)
	require.Zero(t, got.code, got.stderr)
	require.True(t, aborted)
	require.Len(t, w.refs(letter.Open), 3)
}

func TestSeveralTopicsOfLetters(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.broker.CreateTopics(t.Context(), map[string]broker.Topic{"connect.dlq": {Partitions: 2}, "orders.DLT": {Partitions: 1}}))
	ours := w.letters(1)
	at := func(topic, prefix, key string) *kgo.Record {
		return &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(`{"a":1}`), Headers: []kgo.RecordHeader{
			{Key: prefix + "topic", Value: []byte(orders)}, {Key: prefix + "partition", Value: []byte("1")}, {Key: prefix + "offset", Value: []byte("40")},
		}}
	}
	// The same record, at the same place of each topic.
	w.produce(at("connect.dlq", "__connect.errors.", "k"), at("orders.DLT", "kafka_dlt-original-", "k"))
	both := []string{"--foreign", "connect.dlq,orders.DLT", "--foreign", dlqTopic}
	dlqOf := func(args ...string) result { return w.orderctl(append(append([]string{"dlq"}, args...), both...)...) }

	listed := dlqOf("list")
	require.Equal(t, 0, listed.code, listed.stderr)
	require.Regexp(t, `^ID +TOPIC +FAILED AT`, listed.stdout)
	require.Regexp(t, `connect.dlq/0/0/\w{8} +connect.dlq `, listed.stdout)
	require.Regexp(t, `orders.DLT/0/0/\w{8} +orders.DLT `, listed.stdout)
	require.Equal(t, 1+5, strings.Count(listed.stdout, "\n"))
	require.Contains(t, dlqOf("list", "--output", "json").stdout, `"topic":"connect.dlq"`)
	require.Contains(t, dlqOf("stats").stdout, "5 open, 0 resolved")

	got := dlqOf("redrive", "--all", "--yes")
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, dlqOf("stats").stdout, "0 open, 5 resolved")
	require.Empty(t, w.refs(letter.Open), "ours are resolved in their own partitions")
	require.Contains(t, dlqOf("show", "connect.dlq/0/0").stdout, "resolved: redriven by")
	require.Equal(t, 0, dlqOf("undo", "orders.DLT/0/0").code)
	require.Contains(t, dlqOf("stats").stdout, "1 open, 4 resolved")
	require.Contains(t, dlqOf("redrive", "orders.DLT/0/0", "--to-topic", "connect.dlq").stderr, "is a topic of dead letters")
	require.NotContains(t, w.orderctl("dlq", "list", "--status", "any").stdout, "TOPIC")

	c := consoleOn(t, &world{t: t, broker: w.broker, client: w.client, store: dlq.New(w.client, dlq.Options{Topic: dlqTopic, Orders: orders, Foreign: []string{dlqTopic, "connect.dlq", "orders.DLT"}})}, nil)
	body := c.person().page("/letters?status=any", "5 letters")
	p := c.signedIn()
	require.Contains(t, body, `<span class="badge">connect.dlq</span>`)
	require.Contains(t, shown(body), "Letters of orders.dlq, connect.dlq, orders.DLT")
	for _, id := range append(ours, "connect.dlq/0/0", "orders.DLT/0/0") {
		_, body = p.get(letterPath(id))
		require.Contains(t, body, id)
	}
}
