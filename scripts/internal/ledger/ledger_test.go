package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Shared(m)) }

// world is one in which a load was sent, and nothing was done.
type world struct {
	World
	t        *testing.T
	ctx      context.Context
	client   *kgo.Client
	db       *sql.DB
	conn     *pgx.Conn
	expected *Expected
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	b := broker.StartForTest(t, broker.Options{Topics: map[string]broker.Topic{"orders": {Partitions: 3}, "orders.dlq": {Partitions: 2}}})
	w := &world{World: World{Brokers: []string{b.Addr()}, Topic: "orders", DLQ: "orders.dlq", Group: "g", Database: postgres.ForTest(t)}, t: t, ctx: ctx}
	var err error
	w.client, err = Client(w.Brokers)
	require.NoError(t, err)
	t.Cleanup(w.client.Close)
	w.db, err = sql.Open("pgx", w.Database)
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.db.Close() })
	w.conn, err = pgx.Connect(ctx, w.Database)
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.conn.Close(context.Background()) })
	_, err = migrations.Up(ctx, w.db)
	require.NoError(t, err)
	load := NewLoad(w.client, rand.New(rand.NewPCG(1, 1)), w.Topic, 3, "u-")
	require.NoError(t, load.Send(ctx, 300))
	require.Equal(t, 300, load.Sent())
	w.expected, err = Expect(ctx, w.Brokers, w.Topic)
	require.NoError(t, err)
	return w
}

func (w *world) found() *Findings {
	w.t.Helper()
	f, err := Account(w.ctx, w.World, w.expected)
	require.NoError(w.t, err)
	return f
}

// Of a load each kind is there, and each record is expected to end in one way.
func TestExpect(t *testing.T) {
	e := newWorld(t).expected
	require.Equal(t, 300, e.Records)
	require.Equal(t, 300, len(e.Orders)+e.Duplicates+e.Conflicts+e.Broken)
	require.Len(t, e.Letters, e.Conflicts+e.Broken)
	for _, n := range []int{len(e.Orders), e.Duplicates, e.Conflicts, e.Broken} {
		require.Positive(t, n)
	}
}

func TestWhatIsNotDoneIsLost(t *testing.T) {
	w := newWorld(t)
	f := w.found()
	require.Equal(t, len(w.expected.Orders)+len(w.expected.Letters), f.Lost)
	require.Zero(t, f.Extra+f.Wrong+f.Stale)
	require.False(t, f.OffsetsAtEnds)
	require.False(t, f.Exact())
	require.Len(t, f.First, maxFindings)
	require.Contains(t, f.String(), "is not stored")
}

func TestLettersAreCompared(t *testing.T) {
	w := newWorld(t)
	lost := len(w.expected.Letters)
	var ids []string
	for id := range w.expected.Letters {
		ids = append(ids, id)
	}
	values := map[string][]byte{} // by id
	readAll(w.ctx, w.Brokers, w.Topic, func(r *kgo.Record) {
		w.expected.mu.Lock()
		defer w.expected.mu.Unlock()
		values[idOf(r)] = r.Value
	})
	letter := func(id, reason string, value []byte) {
		require.NoError(t, w.client.ProduceSync(w.ctx, &kgo.Record{
			Topic: w.DLQ, Key: []byte(id), Value: append([]byte{}, value...),
			Headers: []kgo.RecordHeader{{Key: deadletter.HeaderReason, Value: []byte(reason)}},
		}).FirstErr())
	}
	right := func(id string) string { return w.expected.Letters[id].Reason }
	letter(ids[0], right(ids[0]), values[ids[0]])
	letter(ids[0], right(ids[0]), values[ids[0]])
	letter(ids[1], "another", values[ids[1]])
	letter(ids[2], right(ids[2]), []byte("other bytes"))
	letter("orders/0/9999/00000000", "invalid", nil)
	f := w.found()
	require.Equal(t, []int{len(w.expected.Orders) + lost - 3, 1, 2, 1}, []int{f.Lost, f.Extra, f.Wrong, f.Repeats}, "%s", f)

	// Another program's letters have other keys and headers; their values are the records'.
	w.Foreign = true
	kept := map[[sha256.Size]byte]bool{sha256.Sum256(values[ids[0]]): true, sha256.Sum256(values[ids[1]]): true, sha256.Sum256(nil): true}
	missing := 0
	for _, l := range w.expected.Letters {
		if !kept[l.Value] {
			missing++
		}
	}
	f = w.found()
	require.Equal(t, []int{len(w.expected.Orders) + missing, 0, 0}, []int{f.Lost, f.Extra, f.Wrong}, "%s", f)
	said := 0
	for _, n := range f.LostLetters {
		said += n
	}
	require.Equal(t, missing, said)
}

func TestTablesReadersAndOffsetsAreCompared(t *testing.T) {
	w := newWorld(t)
	w.expected.Letters = map[string]Letter{}
	served := map[string]string{}
	for uid, order := range w.expected.Orders {
		w.insert(uid, 0, order.Hash)
		served["/order/"+uid] = Content(uid, 0)
	}
	w.insert("hand-1", 0, model.Hash{})
	served["/order/hand-1"] = Content("hand-1", 0)
	w.Elsewhere = []string{"hand-"}
	reader := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		body, there := served[request.URL.Path]
		switch {
		case request.URL.Path == "/api/v1/stats":
			_, _ = fmt.Fprintf(answer, `{"orders":%d,"synced":true,"complete":true}`, len(served))
		case !there:
			answer.WriteHeader(http.StatusNotFound)
		default:
			_, _ = answer.Write([]byte(body))
		}
	}))
	defer reader.Close()
	w.Readers = []string{strings.TrimPrefix(reader.URL, "http://")}
	w.commit()
	f := w.found()
	require.True(t, f.Exact(), "%s", f)
	w.exec(`UPDATE orders SET content_hash = NULL WHERE order_uid = 'u-1'`)
	require.Equal(t, 1, w.found().Wrong)
	w.Foreign = true // it knows no content_hash
	require.True(t, w.found().Exact())
	w.Foreign = false

	// One order of each fault.
	w.exec(`DELETE FROM orders WHERE order_uid = 'u-0'`)
	w.exec(`UPDATE deliveries SET city = 'Elsewhere' WHERE order_uid = 'u-1'`)
	w.insert("nobody-sent-it", 0, model.Hash{})
	served["/order/u-2"] = "stale"
	w.insert("hand-2", 0, model.Hash{})
	w.exec(`DELETE FROM orders WHERE order_uid = 'hand-2'`)
	served["/order/hand-2"] = "deleted"
	f = w.found()
	// Stale are u-0, u-1, u-2, the order that nobody sent, and hand-2.
	require.Equal(t, []int{1, 1, 1, 5}, []int{f.Lost, f.Extra, f.Wrong, f.Stale}, "%s", f)
}

// Where the newest record decides, rows, stamps and deletions are those of the newest, and
// nothing comes of what is older than a record before it.
func TestChangedOrdersAreCompared(t *testing.T) {
	w := newWorld(t)
	load := NewLoad(w.client, rand.New(rand.NewPCG(1, 1)), w.Topic, 3, "c-")
	load.Changing = true
	require.NoError(t, load.Send(w.ctx, 300))
	start, records := time.UnixMilli(1_700_000_000_000), []*kgo.Record{}
	send := func(partition int32, uid string, variant, second int) *kgo.Record {
		r := &kgo.Record{Topic: w.Topic, Partition: partition, Key: []byte(uid), Timestamp: start.Add(time.Duration(second) * time.Second)}
		if variant >= 0 {
			r.Value = []byte(Content(uid, variant))
		}
		records = append(records, r)
		return r
	}
	send(0, "newer", 0, 1)
	send(0, "newer", 1, 3)
	send(1, "newer", 2, 2) // older, but it may have come before
	stale := send(0, "newer", 2, 2)
	send(0, "gone", 0, 5)
	send(1, "gone", -1, 6)
	send(0, "gone", 1, 4)
	send(2, "again", -1, 7)
	send(0, "again", 1, 8)
	send(0, "copied", 1, 2)
	send(0, "copied", 2, 9).Headers = []kgo.RecordHeader{
		{Key: deadletter.HeaderOriginPartition, Value: []byte("2")}, {Key: deadletter.HeaderOriginOffset, Value: []byte("77")},
		{Key: deadletter.HeaderOriginTimestamp, Value: []byte(start.Format(time.RFC3339Nano))},
	}
	require.NoError(t, w.client.ProduceSync(w.ctx, records...).FirstErr())
	e, err := ExpectNewest(w.ctx, w.Brokers, w.Topic, "c-0", "c-1")
	require.NoError(t, err)
	for _, n := range []int{len(e.Orders), len(e.Deleted), e.Versions, e.Deletions, e.Recreated, e.Stale, e.Broken, e.Duplicates, e.OfErased} {
		require.Positive(t, n, "%s", e)
	}
	for uid, variant := range map[string]int{"newer": 1, "again": 1, "copied": 1} {
		require.Equal(t, model.ContentHash([]byte(Content(uid, variant))), e.Orders[uid].Hash, uid)
	}
	require.Equal(t, start.Add(6*time.Second).UTC(), e.Deleted["gone"].Stamp.Time.UTC())
	require.NotContains(t, e.Orders, "gone")

	w.expected, e.Letters = e, map[string]Letter{}
	w.commit()
	const set = `record_time = $2, record_partition = $3, record_offset = $4`
	for uid, order := range e.Orders {
		variant := slices.IndexFunc([]int{0, 1, 2, 3}, func(n int) bool { return model.ContentHash([]byte(Content(uid, n))) == order.Hash })
		w.insert(uid, variant, order.Hash)
		w.exec(`UPDATE orders SET `+set+` WHERE order_uid = $1`, uid, order.Stamp.Time, order.Stamp.Partition, order.Stamp.Offset)
	}
	const remember = `INSERT INTO order_tombstones (order_uid, record_time, record_partition, record_offset) VALUES ($1, $2, $3, $4)`
	for uid, order := range e.Deleted {
		w.exec(remember, uid, order.Stamp.Time, order.Stamp.Partition, order.Stamp.Offset)
	}
	version := func(uid string, variant int, r *kgo.Record) {
		content, err := orderdb.CompressVersion([]byte(Content(uid, variant)))
		require.NoError(t, err)
		w.exec(`INSERT INTO order_versions (order_uid, version, record_time, record_partition, record_offset, content)
			SELECT $1, 1 + count(*), $2, $3, $4, $5 FROM order_versions`, uid, r.Timestamp, r.Partition, r.Offset, content)
	}
	version("newer", 0, records[0])
	version("newer", 2, records[2])
	f := w.found()
	require.True(t, f.Exact(), "%s", f)

	// One of each fault.
	version("newer", 2, stale)
	version("newer", 1, records[0])
	version("c-0", 0, records[0])
	w.exec(remember, "c-1", start, 0, 0)
	w.exec(remember, "again", start, 0, 0)
	w.insert("gone", 0, e.Deleted["gone"].Hash)
	w.exec(`UPDATE orders SET `+set+` WHERE order_uid = $1`, "newer", stale.Timestamp, stale.Partition, stale.Offset)
	w.exec(`UPDATE order_tombstones SET record_offset = record_offset + 1 WHERE order_uid = 'gone'`)
	f = w.found()
	require.Equal(t, []int{1, 6, 1}, []int{f.Lost, f.Extra, f.Wrong}, "%s", f)
}

// Of an erased order nothing may be left: no row, no letter; its records count as erased.
func TestOfErasedOrdersNothingIsLeft(t *testing.T) {
	w := newWorld(t)
	conflict := kgo.Record{}
	readAll(w.ctx, w.Brokers, w.Topic, func(r *kgo.Record) {
		w.expected.mu.Lock()
		defer w.expected.mu.Unlock()
		if l, is := w.expected.Letters[idOf(r)]; is && l.Reason == deadletter.ReasonConflict {
			conflict = *r
		}
	})
	all, uid := w.expected, string(conflict.Key)
	letter := func(value []byte) {
		require.NoError(t, w.client.ProduceSync(w.ctx, &kgo.Record{Topic: w.DLQ, Key: []byte(idOf(&conflict)), Value: value,
			Headers: []kgo.RecordHeader{{Key: deadletter.HeaderReason, Value: []byte(deadletter.ReasonConflict)}}}).FirstErr())
	}
	letter(conflict.Value)
	w.insert(uid, 0, all.Orders[uid].Hash)
	require.Equal(t, len(all.Orders)+len(all.Letters)-2, w.found().Lost)

	var err error
	w.expected, err = Expect(w.ctx, w.Brokers, w.Topic, uid)
	require.NoError(t, err)
	e := w.expected
	require.NotContains(t, e.Orders, uid)
	require.Equal(t, 300, len(e.Orders)+e.Duplicates+e.Conflicts+e.Broken+e.OfErased)
	require.Greater(t, e.OfErased, 1)
	f := w.found()
	require.Equal(t, 2, f.Extra, "%s", f)
	require.Contains(t, f.String(), "order "+uid+" is stored, and was erased")
	letter(nil)
	w.exec(`DELETE FROM orders WHERE order_uid = $1`, uid)
	f = w.found()
	require.Equal(t, []int{len(e.Orders) + len(e.Letters), 0}, []int{f.Lost, f.Extra}, "%s", f)

	// A letter of another order that is removed is lost.
	w.expected = all
	require.Equal(t, len(all.Orders)+len(all.Letters), w.found().Lost)
}

func idOf(r *kgo.Record) string {
	return deadletter.ID(deadletter.Source{Topic: r.Topic, Partition: int(r.Partition), Offset: r.Offset, Timestamp: r.Timestamp, Value: r.Value})
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	_, err := w.db.ExecContext(w.ctx, query, args...)
	require.NoError(w.t, err)
}

// insert stores an order as [Content] has it.
func (w *world) insert(uid string, variant int, hash model.Hash) {
	w.t.Helper()
	require.NoError(w.t, pgx.BeginFunc(w.ctx, w.conn, func(tx pgx.Tx) error { return Insert(w.ctx, tx, NewOrder(uid, variant)) }))
	w.exec(`UPDATE orders SET content_hash = $2 WHERE order_uid = $1`, uid, hash[:])
}

// commit moves the group to the ends.
func (w *world) commit() {
	w.t.Helper()
	progress, err := NewProgress(w.Brokers, w.Topic, w.Group)
	require.NoError(w.t, err)
	defer progress.Close()
	ends, err := progress.Ends(w.ctx)
	require.NoError(w.t, err)
	var at kadm.Offsets
	for partition, end := range ends {
		at.AddOffset(w.Topic, partition, end, -1)
	}
	require.NoError(w.t, progress.Admin().CommitAllOffsets(w.ctx, w.Group, at))
	require.NoError(w.t, progress.Drain(w.ctx))
	stuck, cancel := context.WithTimeout(w.ctx, 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(w.t, progress.Await(stuck, ends.Plus(1)), "is stuck at")
}
