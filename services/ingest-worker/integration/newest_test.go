package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/prune"
)

var newest = orderwrite.Versions{Newest: true, Deletions: true, Kept: 3}

// newestWriters returns writers that share a pool.
func (b *bundle) newestWriters() (writer func(phase func(string)) *orderwrite.Writer) {
	b.t.Helper()
	db, err := bundb.Open(config.Database{URL: config.Secret(b.url)}, bundb.Options{MaxConns: 8})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = db.Close() })
	return func(phase func(string)) *orderwrite.Writer { return newestWriter(db, phase) }
}

func newestWriter(db *bun.DB, phase func(string)) *orderwrite.Writer {
	return orderwrite.New(db, orderwrite.Options{
		Timeout: deadline, MaxOrders: 4000, Batch: batch.Limits{Busy: 3, Count: 1000}, Versions: newest,
		Phase: func(_ context.Context, name string, _ time.Duration) { phase(name) },
	})
}

// stamped is an entry of the record at an offset; without a mark it deletes the order.
func stamped(t testing.TB, uid, mark string, offset int64) *orderwrite.Entry {
	t.Helper()
	e := &orderwrite.Entry{Deletes: uid}
	if mark != "" {
		decoded, err := model.New(model.Options{}).Decode(sample(t))
		require.NoError(t, err)
		o := *decoded.Order
		delivery, payment := *o.Delivery, *o.Payment
		o.OrderUID, o.InternalSignature, o.Delivery, o.Payment = uid, mark, &delivery, &payment
		o.Delivery.City, o.Payment.Amount = "City of "+mark, int64(len(mark))
		o.Items = slices.Repeat(o.Items, len(mark))
		e = &orderwrite.Entry{Order: &o, Hash: model.ContentHash(model.AppendCanonical(nil, &o))}
	}
	e.Stamp = &model.Stamp{Time: time.UnixMilli(1_700_000_000_000 + offset/4).UTC(), Partition: int32(offset % 4 / 2), Offset: offset}
	return e
}

// state is all that has to be the same whatever arrived first.
func (b *bundle) state(uid string) string {
	b.t.Helper()
	var text string
	require.NoError(b.t, b.db.QueryRowContext(b.ctx, `SELECT concat_ws(' ',
		(SELECT concat_ws(' ', 'order', encode(content_hash, 'hex'), record_version, record_partition, record_offset, extract(epoch FROM record_time)::numeric(20, 3)) FROM orders WHERE order_uid = $1),
		(SELECT concat_ws(' ', 'deleted', record_version, record_partition, record_offset, extract(epoch FROM record_time)::numeric(20, 3)) FROM order_tombstones WHERE order_uid = $1),
		(SELECT count(*) FROM deliveries WHERE order_uid = $1), (SELECT count(*) FROM payments WHERE order_uid = $1), (SELECT count(*) FROM items WHERE order_uid = $1))`, uid).Scan(&text))
	return text + b.stored(uid)
}

func expected(newest *orderwrite.Entry) string {
	at := fmt.Sprintf("%d %d %d.%03d", newest.Stamp.Partition, newest.Stamp.Offset, newest.Stamp.Time.Unix(), newest.Stamp.Time.UnixMilli()%1000)
	if newest.Stamp.Version != nil {
		at = fmt.Sprint(*newest.Stamp.Version, " ", at)
	}
	if newest.Order == nil {
		return "deleted " + at + " 0 0 0"
	}
	return fmt.Sprintf("order %s %s 1 1 %d%s", newest.Hash, at, len(newest.Order.Items), model.AppendCanonical(nil, newest.Order))
}

// Whatever the sequence in which records of orders arrive, in whatever batches, from two
// partitions at once, repeated, with crashes after each phase of a transaction: in the end
// the newest record of each order decides the tables, the stamps and the remembered deletions.
func TestTheNewestRecordDecidesInEveryOrderOfArrival(t *testing.T) {
	b := database(t)
	writer, cases := b.newestWriters(), 60
	if testing.Short() || raceDetector {
		cases = 20
	}
	seed := rand.Uint64()
	for n := range cases {
		random := rand.New(rand.NewPCG(seed, uint64(n)))
		b.exec(`TRUNCATE orders, deliveries, payments, items, order_versions, order_tombstones`)
		var records []*orderwrite.Entry
		wins := map[string]*orderwrite.Entry{}
		var story []string
		for offset := range int64(2 + random.IntN(9)) {
			uid, mark := fmt.Sprint("u", random.IntN(3)), []string{"", "a", "bb", "ccc"}[random.IntN(4)]
			r := stamped(t, uid, mark, offset)
			if random.IntN(3) == 0 {
				r.Stamp.Version = new(random.Int64N(3))
			}
			records = append(records, r)
			if before := wins[uid]; before == nil || r.Stamp.NewerThan(before.Stamp) {
				wins[uid] = r
			}
			story = append(story, fmt.Sprintf("%s %q %v", uid, mark, r.Stamp))
		}
		arrivals := slices.Concat(records, records[:random.IntN(len(records))])
		random.Shuffle(len(arrivals), func(i, j int) { arrivals[i], arrivals[j] = arrivals[j], arrivals[i] })
		half := random.IntN(len(arrivals))
		var running sync.WaitGroup
		for i, part := range [][]*orderwrite.Entry{arrivals[:half], arrivals[half:]} {
			random := rand.New(rand.NewPCG(seed, uint64(1000+2*n+i)))
			running.Go(func() { b.deliver(writer, random, part) })
		}
		running.Wait()
		for uid, e := range wins {
			require.Equal(t, expected(e), b.state(uid), "seed %d, case %d, %s of:\n%s", seed, n, uid, strings.Join(story, "\n"))
		}
	}
}

// deliver writes records in batches. A crash after some phase has the batch written again.
func (b *bundle) deliver(writer func(func(string)) *orderwrite.Writer, random *rand.Rand, records []*orderwrite.Entry) {
	for len(records) > 0 {
		n := 1 + random.IntN(len(records))
		crash := []string{"", "", orderwrite.PhaseLookUp, orderwrite.PhaseCopy, orderwrite.PhaseCommit}[random.IntN(5)]
		ctx, cancel := context.WithCancel(b.ctx)
		w := writer(func(phase string) {
			if phase == crash {
				cancel()
			}
		})
		var entries []*orderwrite.Entry
		for _, r := range records[:n] {
			entries = append(entries, &orderwrite.Entry{Order: r.Order, Deletes: r.Deletes, Hash: r.Hash, Stamp: r.Stamp})
		}
		err := w.Write(ctx, entries)
		cancel()
		if err == nil && crash == "" {
			records = records[n:]
		} else if crash == "" {
			b.t.Errorf("write: %v", err)
			return
		}
	}
}

func (b *bundle) decide(w *orderwrite.Writer, entries ...*orderwrite.Entry) (outcomes []orderwrite.Outcome) {
	b.t.Helper()
	require.NoError(b.t, w.Write(b.ctx, entries))
	for _, e := range entries {
		outcomes = append(outcomes, e.Outcome)
	}
	return outcomes
}

func TestANewerRecordReplacesAnOrder(t *testing.T) {
	b := database(t)
	w := b.newestWriters()(func(string) {})
	const stored, duplicate, replaced, stale = orderwrite.Stored, orderwrite.Duplicate, orderwrite.Replaced, orderwrite.Stale
	outcomes := func(all ...orderwrite.Outcome) []orderwrite.Outcome { return all }
	require.Equal(t, outcomes(stored, stored), b.decide(w, stamped(t, "x", "bb", 10), stamped(t, "other", "a", 11)))
	before, _, _ := b.stamps()

	// The same content, newer: only the stamp moves, and readers are told nothing.
	require.Equal(t, outcomes(duplicate), b.decide(w, stamped(t, "x", "bb", 20)))
	require.Equal(t, expected(stamped(t, "x", "bb", 20)), b.state("x"))
	after, deleted, _ := b.stamps()
	require.Equal(t, before, after)
	require.Empty(t, deleted)
	require.Equal(t, outcomes(stale), b.decide(w, stamped(t, "x", "ccc", 19)))
	require.Equal(t, outcomes(duplicate), b.decide(w, stamped(t, "x", "bb", 5)))
	require.Equal(t, expected(stamped(t, "x", "bb", 20)), b.state("x"))

	// More items, and fewer, several versions in one batch, among orders that are new.
	payment := `SELECT xmin::text FROM payments WHERE order_uid = 'other'`
	var xmin, xminAfter string
	require.NoError(t, b.db.QueryRowContext(b.ctx, payment).Scan(&xmin))
	require.Equal(t, outcomes(replaced, stored, replaced, stale, replaced, stored),
		b.decide(w, stamped(t, "x", "ccc", 30), stamped(t, "new", "a", 31), stamped(t, "x", "a", 32), stamped(t, "x", "bb", 22), stamped(t, "x", "dddd", 33), stamped(t, "new2", "a", 34)))
	require.Equal(t, expected(stamped(t, "x", "dddd", 33)), b.state("x"))
	after, deleted, _ = b.stamps()
	require.NotEqual(t, before["x"], after["x"], "readers are told of the change")
	require.Empty(t, deleted)
	part := stamped(t, "other", "a", 39) // only an item differs
	part.Order.Items[0].Price = 7
	part.Hash = model.ContentHash(model.AppendCanonical(nil, part.Order))
	require.Equal(t, outcomes(replaced), b.decide(w, part))
	require.Equal(t, expected(part), b.state("other"))
	inPart, _, _ := b.stamps()
	require.NotEqual(t, after["other"], inPart["other"], "readers are told of a part's change")
	same := stamped(t, "other", "a", 40) // the order's row differs, and the item
	same.Order.Locale = "ru"
	same.Hash = model.ContentHash(model.AppendCanonical(nil, same.Order))
	require.Equal(t, outcomes(replaced), b.decide(w, same))
	require.Equal(t, expected(same), b.state("other"))
	require.NoError(t, b.db.QueryRowContext(b.ctx, payment).Scan(&xminAfter))
	require.Equal(t, xmin, xminAfter, "a part that is the same is not written")

	// What it was is kept, the newest three.
	require.Equal(t, []string{"1: bb 20", "2: ccc 30", "3: a 32"}, b.versions("x"))
	require.Equal(t, outcomes(replaced), b.decide(w, stamped(t, "x", "a", 41)))
	require.Equal(t, []string{"2: ccc 30", "3: a 32", "4: dddd 33"}, b.versions("x"))
	var times string
	require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT string_agg(concat_ws(' ', version, ok), ', ' ORDER BY version)
		FROM (SELECT version, since = lag(replaced_at) OVER (ORDER BY version) AS ok FROM order_versions WHERE order_uid = 'x') AS v`).Scan(&times))
	require.Equal(t, "2, 3 t, 4 t", times, "each is since when the one before was replaced")
	require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT string_agg(concat_ws(' ', order_uid, stored_at IS NOT NULL, updated_at >= stored_at), ', ' ORDER BY order_uid) FROM orders`).Scan(&times))
	require.Equal(t, "new t, new2 t, other t t, x t t", times)

	// A row that somebody changed, or that has lost a part, is replaced as a whole.
	b.exec(`DELETE FROM deliveries WHERE order_uid = 'x'`)
	b.exec(`UPDATE orders SET record_version = NULL, record_time = NULL, record_partition = NULL, record_offset = NULL WHERE order_uid = 'x'`)
	require.Equal(t, outcomes(replaced), b.decide(w, stamped(t, "x", "bb", 1)), "without a stamp it is older than any record")
	require.Equal(t, expected(stamped(t, "x", "bb", 1)), b.state("x"))
	b.exec(`DELETE FROM items WHERE order_uid = 'x' AND position = 0`)
	require.Equal(t, outcomes(replaced), b.decide(w, stamped(t, "x", "a", 2)), "as many items as are left")
	require.Equal(t, expected(stamped(t, "x", "a", 2)), b.state("x"))
}

// versions are the earlier versions of an order: their marks and the offsets of their records.
func (b *bundle) versions(uid string) (versions []string) {
	b.t.Helper()
	rows, err := b.db.QueryContext(b.ctx, `SELECT version, record_offset, content FROM order_versions WHERE order_uid = $1 ORDER BY version`, uid)
	require.NoError(b.t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var version, offset int64
		var content []byte
		require.NoError(b.t, rows.Scan(&version, &offset, &content))
		canonical, err := (&orderdb.Version{Content: content}).Canonical()
		require.NoError(b.t, err)
		decoded, err := model.New(model.Options{}).Decode(canonical)
		require.NoError(b.t, err)
		versions = append(versions, fmt.Sprintf("%d: %s %d", version, decoded.Order.InternalSignature, offset))
	}
	require.NoError(b.t, rows.Err())
	return versions
}

func TestARecordDeletesAnOrder(t *testing.T) {
	b := database(t)
	w := b.newestWriters()(func(string) {})
	const stored, duplicate, stale, gone = orderwrite.Stored, orderwrite.Duplicate, orderwrite.Stale, orderwrite.Deleted
	outcomes := func(all ...orderwrite.Outcome) []orderwrite.Outcome { return all }
	require.Equal(t, outcomes(stored, stale, gone, duplicate, stale), b.decide(w, stamped(t, "x", "a", 10), stamped(t, "x", "", 9), stamped(t, "x", "", 20),
		stamped(t, "x", "", 20), stamped(t, "x", "bb", 15)))
	require.Equal(t, expected(stamped(t, "x", "", 20)), b.state("x"))
	_, deleted, _ := b.stamps()
	require.Equal(t, []string{"x"}, deleted, "readers are told")
	require.Equal(t, []string{"1: a 10"}, b.versions("x"))

	require.Equal(t, outcomes(duplicate, stored), b.decide(w, stamped(t, "x", "", 18), stamped(t, "x", "a", 21)))
	require.Equal(t, expected(stamped(t, "x", "a", 21)), b.state("x"))
	require.Equal(t, outcomes(gone), b.decide(w, stamped(t, "never", "", 30)), "it is remembered before the order comes")
	require.Equal(t, outcomes(stale), b.decide(w, stamped(t, "never", "a", 29)))

	// What somebody deletes is not remembered; what somebody makes again is as new as its deletion.
	b.exec(`DELETE FROM orders WHERE order_uid = 'x'`)
	require.Equal(t, outcomes(stored), b.decide(w, stamped(t, "x", "a", 10)))
	b.exec(insertOrder, []string{"never"})
	require.Equal(t, outcomes(stale), b.decide(w, stamped(t, "never", "a", 29)))
	require.Equal(t, outcomes(orderwrite.Replaced), b.decide(w, stamped(t, "never", "a", 31)))
	require.Equal(t, expected(stamped(t, "never", "a", 31)), b.state("never"))
}

// What people accept replaces the order, however new it is. The worker, which has the default
// settings, recognizes it and what was before, and no more.
func TestAnAcceptedOrder(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	value := func(mark string) []byte { return model.AppendCanonical(nil, stamped(t, "x", mark, 0).Order) }
	b.produce(0, value("a"), value("bb"))
	b.drained()
	b.letterOf(0, 1)
	writer := b.newestWriters()(func(string) {})
	accepted := func(uid, mark string) *orderwrite.Entry {
		e := stamped(t, uid, mark, 1) // of 2023: older than what was produced now
		e.Accepted = true
		return e
	}
	stamp := func() (text string) {
		require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT concat_ws(' ', record_time, record_offset) FROM orders`).Scan(&text))
		return text
	}
	before := stamp()
	require.Equal(t, []orderwrite.Outcome{orderwrite.Replaced, orderwrite.Absent}, b.decide(writer, accepted("x", "bb"), accepted("y", "a")))
	require.Equal(t, string(value("bb")), b.stored("x"))
	require.Equal(t, before, stamp(), "no record in between changes it again")
	require.Equal(t, []string{"1: a 0"}, b.versions("x"))
	require.Equal(t, []orderwrite.Outcome{orderwrite.Stale}, b.decide(writer, stamped(t, "x", "ccc", 1)))

	b.produce(0, value("a"), value("bb"), value("ccc"), value("a"))
	b.drained()
	require.Equal(t, 3, w.metric("orderhub_ingest_records_total", "outcome=duplicate"))
	require.Equal(t, 2, w.metric("orderhub_dead_letters_total", "reason=conflict"))
	b.letterOf(0, 4)
	require.Equal(t, string(value("bb")), b.stored("x"))

	// It replaces only what it is meant for, and nothing that was deleted.
	again := accepted("x", "dddd")
	again.Instead = stamped(t, "x", "a", 0).Order
	require.Equal(t, []orderwrite.Outcome{orderwrite.Stale}, b.decide(writer, again))
	deletion := stamped(t, "x", "", 2)
	deletion.Stamp.Time = time.Now().Add(time.Hour)
	require.Equal(t, []orderwrite.Outcome{orderwrite.Deleted, orderwrite.Absent}, b.decide(writer, deletion, accepted("x", "a")))
}

// A deletion, and an older record of an order that is not stored yet, change no common row.
func TestADeletionWaitsForAnOlderRecord(t *testing.T) {
	b := database(t)
	b.exec(`CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN NULL; END'`)
	b.exec(`CREATE TRIGGER wait AFTER INSERT ON orders EXECUTE FUNCTION wait()`)
	holder, err := b.db.Conn(b.ctx)
	require.NoError(t, err)
	defer func() { _ = holder.Close() }()
	_, err = holder.ExecContext(b.ctx, `SELECT pg_advisory_lock(77)`)
	require.NoError(t, err)
	waiting := func(n int, what string) {
		b.eventually(what, func() (bool, string) {
			var got int
			err := b.db.QueryRowContext(b.ctx, `SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&got)
			return err == nil && got == n, fmt.Sprint(got, err)
		})
	}
	writer := b.newestWriters()
	record, deletion := stamped(t, "x", "a", 1), stamped(t, "x", "", 2)
	var running sync.WaitGroup
	running.Go(func() { _ = writer(func(string) {}).Write(b.ctx, []*orderwrite.Entry{record}) })
	waiting(1, "the order is inserted")
	running.Go(func() { _ = writer(func(string) {}).Write(b.ctx, []*orderwrite.Entry{deletion}) })
	waiting(2, "the deletion waits")
	_, err = holder.ExecContext(b.ctx, `SELECT pg_advisory_unlock(77)`)
	require.NoError(t, err)
	running.Wait()
	require.Equal(t, []orderwrite.Outcome{orderwrite.Stored, orderwrite.Deleted}, []orderwrite.Outcome{record.Outcome, deletion.Outcome})
	require.Equal(t, expected(deletion), b.state("x"))
}

// A replacement that the database refuses leaves the order as it is.
func TestTheDatabaseRefusesAReplacement(t *testing.T) {
	b := database(t)
	w := b.newestWriters()(func(string) {})
	b.decide(w, stamped(t, "x", "a", 1), stamped(t, "y", "a", 2))
	b.exec(`ALTER TABLE payments ADD CONSTRAINT no_such_amount CHECK (amount <> 3)`)
	require.Equal(t, []orderwrite.Outcome{orderwrite.Refused, orderwrite.Replaced}, b.decide(w, stamped(t, "x", "ccc", 3), stamped(t, "y", "bb", 4)))
	require.Equal(t, expected(stamped(t, "x", "a", 1)), b.state("x"))
	require.Empty(t, b.versions("x"))
	require.Equal(t, expected(stamped(t, "y", "bb", 4)), b.state("y"))
}

// What a restored database still keeps of erased orders is removed with them.
func TestWhatIsKeptOfErasedOrdersIsRemoved(t *testing.T) {
	b := database(t)
	w := b.newestWriters()(func(string) {})
	b.decide(w, stamped(t, "gone", "a", 1), stamped(t, "gone", "", 2), stamped(t, "stays", "a", 3), stamped(t, "stays", "", 4))
	h := key().Of("gone")
	db := bun.NewDB(b.db, pgdialect.New())
	require.NoError(t, erased.Add(b.ctx, db, []orderdb.Erasure{{HMAC: h[:], KeyID: key().ID()}}))
	known, err := erased.Load(b.ctx, db, key())
	require.NoError(t, err)
	_, err = erased.Sweep(b.ctx, db, known, deadline)
	require.NoError(t, err)
	require.Equal(t, "0 0 0", b.state("gone"))
	require.Empty(t, b.versions("gone"))
	require.Equal(t, expected(stamped(t, "stays", "", 4)), b.state("stays"))
	require.Len(t, b.versions("stays"), 1)
}

// Earlier versions and remembered deletions are kept for a time.
func TestOldVersionsAreDeleted(t *testing.T) {
	b := database(t)
	w := b.newestWriters()(func(string) {})
	b.decide(w, stamped(t, "x", "a", 1), stamped(t, "x", "", 2), stamped(t, "y", "a", 3), stamped(t, "y", "", 4), stamped(t, "z", "a", 5), stamped(t, "z", "bb", 6))
	b.exec(`UPDATE order_versions SET replaced_at = now() - interval '2 hours' WHERE order_uid = 'x'`)
	b.exec(`UPDATE order_tombstones SET deleted_at = now() - interval '4 hours' WHERE order_uid = 'x'`)
	pruner := prune.New(bun.NewDB(b.db, pgdialect.New()), prune.Config{Versions: time.Hour, Tombstones: 3 * time.Hour, Orders: time.Hour}, nil, zap.NewNop())
	require.NoError(t, pruner.PruneVersions(b.ctx))
	require.Empty(t, b.versions("x"))
	require.Equal(t, "0 0 0", b.state("x"))
	require.Len(t, b.versions("y"), 1)
	require.Equal(t, expected(stamped(t, "y", "", 4)), b.state("y"))
	require.NoError(t, pruner.PruneOrders(b.ctx))
	require.Empty(t, b.versions("z"), "an order's versions go with it")
}

// The worker, with all settings: outcomes, letters, redriven copies.
func TestTheWorkerKeepsTheNewestVersion(t *testing.T) {
	b := setup(t, 2)
	w := b.startWorker("INGEST_ON_CONFLICT=newest", "INGEST_ON_TOMBSTONE=delete", "INGEST_VERSION_FIELD=meta.version")
	record := func(partition int32, uid, mark string, version int) *kgo.Record {
		value := append([]byte(fmt.Sprintf(`{"meta":{"version":%d},`, version)), order(t, uid, mark)[1:]...)
		return &kgo.Record{Topic: ordersTopic, Partition: partition, Key: []byte(uid), Value: value}
	}
	deletion := func(key, version string) *kgo.Record {
		r := &kgo.Record{Topic: ordersTopic, Partition: 1, Key: []byte(key)}
		if version != "" {
			r.Headers = []kgo.RecordHeader{{Key: "meta.version", Value: []byte(version)}}
		}
		return r
	}
	send := func(records ...*kgo.Record) {
		require.NoError(t, b.kafka.ProduceSync(b.ctx, records...).FirstErr())
		b.drained()
	}
	send(record(0, "a", "1", 1), record(0, "b", "1", 1))
	send(record(1, "a", "3", 3))
	send(record(0, "a", "2", 2), record(0, "a", "3", 4))
	require.Equal(t, canonical(t, order(t, "a", "3")), b.stored("a"))
	send(deletion("b", "2"), deletion("c", "2"), deletion("not an order_uid", "2"), deletion("a", ""))
	send(record(0, "b", "1", 1), record(0, "c", "1", 1), &kgo.Record{Topic: ordersTopic, Value: order(t, "d", "1")})
	require.Empty(t, b.stored("b")+b.stored("c")+b.stored("d"))

	// A copy of an old record is as old as that; of two with one version, time decides.
	copied := record(1, "a", "4", 4)
	copied.Headers = []kgo.RecordHeader{{Key: "dlq-origin-partition", Value: []byte("0")}, {Key: "dlq-origin-offset", Value: []byte("7")}, {Key: "dlq-origin-timestamp", Value: []byte("2020-01-01T00:00:00Z")}}
	send(copied)
	require.Equal(t, canonical(t, order(t, "a", "3")), b.stored("a"))

	counts := map[string]int{}
	for _, outcome := range []string{"stored", "duplicate", "dead_letter", "replaced", "stale", "deleted"} {
		counts[outcome] = w.metric("orderhub_ingest_records_total", "outcome="+outcome)
	}
	require.Equal(t, map[string]int{"stored": 2, "replaced": 1, "stale": 4, "duplicate": 1, "deleted": 2, "dead_letter": 3}, counts)
	var reasons []string
	for _, l := range b.letters() {
		reasons = append(reasons, l.Headers["dlq-reason"])
	}
	require.ElementsMatch(t, []string{"tombstone", "invalid", "invalid"}, reasons)
	require.Contains(t, b.letterOf(0, 6).Headers["dlq-errors"], `"path":"meta.version"`)
}
