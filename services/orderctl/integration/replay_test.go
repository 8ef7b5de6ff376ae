package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// replayReport is the JSON that a replay ends with.
type replayReport struct {
	Partitions []struct {
		Partition      int32
		From, To, Next int64
	}
	Read       int
	Outcomes   map[string]int
	Reasons    map[string]int
	NewLetters int `json:"new_letters"`
	Removed    int64
	Continue   string
}

// replayWorld has a database, to which commands connect as the operator's role.
func replayWorld(t *testing.T) (*world, *sql.DB) {
	t.Helper()
	w := newWorld(t)
	dsn := postgres.ForTest(t)
	db := openURL(t, dsn)
	_, err := migrations.Up(t.Context(), db)
	require.NoError(t, err)
	t.Setenv("DATABASE_URL", postgres.RolesForTest(t, dsn)[migrations.Operator])
	return w, db
}

// rows is what a query returns, as text.
func rows(t *testing.T, db *sql.DB, query string) (text string) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT coalesce(string_agg(row::text, ' '), '') FROM (`+query+`) AS row`).Scan(&text))
	return text
}

// replay runs the command and requires its exit code.
func (w *world) replay(code int, args ...string) (report replayReport, stderr string) {
	w.t.Helper()
	got := w.orderctl(append([]string{"replay", "--output", "json"}, args...)...)
	require.Equal(w.t, code, got.code, got.stderr)
	if got.stdout != "" {
		require.NoError(w.t, json.Unmarshal([]byte(got.stdout), &report))
	}
	return report, got.stderr
}

// order is a valid record of an order.
func (w *world) order(partition int32, uid string) *kgo.Record {
	value := strings.ReplaceAll(sample(w.t, "model.json"), "b563feb7b2b84b6test", uid)
	return &kgo.Record{Topic: orders, Partition: partition, Value: []byte(value), Timestamp: failed.Add(time.Minute)}
}

func TestReplay(t *testing.T) {
	w, db := replayWorld(t)
	early := w.order(0, "early")
	early.Timestamp = failed
	broken := &kgo.Record{Topic: orders, Partition: 1, Value: []byte("{"), Timestamp: failed.Add(time.Minute)}
	conflict := w.order(1, "first")
	conflict.Value = []byte(strings.Replace(string(conflict.Value), "Kiryat Mozkin", "Elsewhere", 1))
	w.produce(early, w.order(0, "first"), w.order(0, "second"), w.order(0, "first"))
	w.produce(w.order(1, "third"), broken, conflict, &kgo.Record{Topic: orders, Partition: 1, Timestamp: failed.Add(time.Minute)})
	client, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr()))
	require.NoError(t, err)
	defer client.Close()
	admin := kadm.NewClient(client)
	require.Zero(t, w.orderctl("worker", "seek", "--to", "4", "--partition", "0", "--why", "a position to leave alone").code)
	audit := t.TempDir() + "/audit.jsonl"
	t.Setenv("ORDERHUB_AUDIT_FILE", audit)
	untouched := func() string {
		offsets, err := admin.FetchOffsets(t.Context(), "orderhub")
		require.NoError(t, err)
		at, _ := offsets.Lookup(orders, 0)
		return fmt.Sprint(at.At, len(offsets.Sorted()), rows(t, db, `SELECT * FROM ingest_positions`))
	}
	before := untouched()

	// By offsets of one partition.
	got, stderr := w.replay(0, "--from", "1", "--to", "3", "--partition", "0", "--dry-run")
	require.Equal(t, map[string]int{"stored": 2, "duplicate": 0, "dead_letter": 0}, got.Outcomes, stderr)
	require.Empty(t, rows(t, db, `SELECT order_uid FROM orders`))
	require.NoFileExists(t, audit, "a dry run only looks")
	got, stderr = w.replay(0, "--from", "1", "--to", "3", "--partition", "0", "--why", "a test")
	require.Equal(t, map[string]int{"stored": 2, "duplicate": 0, "dead_letter": 0}, got.Outcomes, stderr)
	require.Equal(t, "(first) (second)", rows(t, db, `SELECT order_uid FROM orders ORDER BY 1`))

	// By times, of all partitions; what is there is a duplicate.
	minute := failed.Add(time.Second).Format(time.RFC3339)
	dry, _ := w.replay(0, "--from", minute, "--to", "latest", "--dry-run")
	require.Empty(t, w.read(dlqTopic)[0])
	got, stderr = w.replay(0, "--from", minute, "--to", "latest")
	require.Equal(t, map[string]int{"stored": 1, "duplicate": 3, "dead_letter": 3}, got.Outcomes, stderr)
	require.Equal(t, map[string]int{"pretty_printed": 1, "conflict": 1, "tombstone": 1}, got.Reasons)
	require.Equal(t, dry.Outcomes, got.Outcomes)
	require.Equal(t, 3, got.NewLetters)
	require.Equal(t, dry.NewLetters, got.NewLetters)
	require.Len(t, got.Partitions, 2, "partition 2 is empty")
	require.Equal(t, "(first) (second) (third)", rows(t, db, `SELECT order_uid FROM orders ORDER BY 1`))
	require.Equal(t, before, untouched())

	// Letters that are there stay as they are, open or resolved.
	open := w.refs(letter.Open)
	require.Len(t, open, 3)
	w.discard(1)
	letters := w.read(dlqTopic)
	got, _ = w.replay(0, "--from", "earliest", "--to", "latest")
	require.Equal(t, map[string]int{"stored": 1, "duplicate": 4, "dead_letter": 3}, got.Outcomes)
	require.Zero(t, got.NewLetters)
	require.Equal(t, letters, w.read(dlqTopic))
	require.Len(t, w.refs(letter.Open), 2)

	lines, err := os.ReadFile(audit)
	require.NoError(t, err)
	require.Contains(t, string(lines), `"action":"replay from 1 to 3","targets":["orders/0/1-2"],"why":"a test"`)
	require.Equal(t, 3, strings.Count(string(lines), `"action":"replay`))
	text := w.orderctl("replay", "--from", "1:0", "--to", "1:4")
	require.Zero(t, text.code, text.stderr)
	require.Regexp(t, `^4 records in \S+ \(\d+/s\): 3 dead_letter \(conflict 1, pretty_printed 1, tombstone 1\), 0 new letters, 1 duplicate, 0 stored\n$`, text.stdout)

	for _, wrong := range [][]string{
		{}, {"--from", "0"}, {"--from", "soon", "--to", "1"}, {"--from", "5", "--to", "latest"}, {"--from", "0:1,x", "--to", "0:2"},
		{"--from", "3", "--to", "1", "--partition", "0"}, {"--from", "0", "--to", "1", "--rate", "-1"}, {"--from", "0", "--to", "1", "more"},
	} {
		w.replay(2, wrong...)
	}
	_, stderr = w.replay(2, "--from", "0:1,9:5", "--to", "latest")
	require.Contains(t, stderr, "--from: topic orders has no partition 9")
	w.replay(3, "--from", "2", "--to", "2", "--partition", "0")
	w.replay(3, "--from", "earliest", "--to", "latest", "--partition", "9")
	require.Equal(t, before, untouched())
}

// An interrupted replay finishes its page, letters included, and says how to go on. So
// each record is counted once in both reports.
func TestAnInterruptedReplayGoesOn(t *testing.T) {
	w, db := replayWorld(t)
	w.produce(&kgo.Record{Topic: orders, Partition: 0, Value: []byte("{")})
	for n := range 20 {
		w.produce(w.order(0, fmt.Sprint("order", n)))
	}
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(t.Context(), `LOCK TABLE orders IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	ctx, interrupt := context.WithCancel(t.Context())
	t.Setenv("KAFKA_BROKERS", w.broker.Addr())
	done := make(chan result, 1)
	go func() {
		done <- orderctlRun(ctx, "replay", "--from", "earliest", "--to", "latest", "--rate", "10", "--output", "json")
	}()
	require.Eventually(t, func() bool {
		return rows(t, db, `SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND NOT granted`) != "(0)"
	}, time.Minute, time.Millisecond)
	interrupt()
	require.NoError(t, tx.Rollback())
	got := <-done
	require.Equal(t, 130, got.code, got.stderr)
	var first replayReport
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &first))
	require.Equal(t, map[string]int{"stored": 9, "duplicate": 0, "dead_letter": 1}, first.Outcomes)
	require.EqualValues(t, 10, first.Partitions[0].Next)
	require.Equal(t, "--from 0:10 --to 0:21", first.Continue)
	require.Len(t, w.refs(letter.Open), 1)
	w.produce(w.order(0, "afterwards"))

	second, stderr := w.replay(0, strings.Fields(first.Continue)...)
	require.Equal(t, map[string]int{"stored": 11, "duplicate": 0, "dead_letter": 0}, second.Outcomes, stderr)
	require.Empty(t, second.Continue)
	require.Equal(t, "(20)", rows(t, db, `SELECT count(*) FROM orders`))
}

// A replay that cannot go on reports like an interrupted one.
func TestAReplayThatStops(t *testing.T) {
	w, db := replayWorld(t)
	w.produce(w.order(0, "one"), &kgo.Record{Topic: orders, Partition: 0, Value: []byte("{")})
	allow := w.refuseWrites(dlqTopic)
	got := w.orderctl("replay", "--from", "0:0", "--to", "0:2")
	allow()
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "topic orders.dlq: ")
	require.Contains(t, got.stderr, "lacks the right")
	require.Regexp(t, `^stopped: 0 records in .*\nfor the rest: orderctl replay --from 0:0 --to 0:2\n$`, got.stdout)
	require.Equal(t, "(1)", rows(t, db, `SELECT count(*) FROM orders`))
	report, stderr := w.replay(0, "--from", "0:0", "--to", "0:2")
	require.Equal(t, map[string]int{"stored": 0, "duplicate": 1, "dead_letter": 1}, report.Outcomes, stderr)

	// Records that the broker removes meanwhile are counted, and the rest is replayed.
	admin, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr()))
	require.NoError(t, err)
	defer admin.Close()
	id, gone := w.topicID(orders), kadm.Offsets{}
	gone.AddOffset(orders, 0, 1, -1)
	w.broker.Cluster().ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		if asked := request.(*kmsg.FetchRequest); asked.Topics[0].TopicID != id {
			w.broker.Cluster().KeepControl()
			return nil, nil, false
		}
		w.broker.Cluster().SleepControl(func() { _, err = kadm.NewClient(admin).DeleteRecords(context.Background(), gone) })
		return nil, nil, false
	})
	report, stderr = w.replay(1, "--from", "0:0", "--to", "0:2")
	require.NoError(t, err)
	require.EqualValues(t, 1, report.Removed, stderr)
	require.Equal(t, map[string]int{"stored": 0, "duplicate": 0, "dead_letter": 1}, report.Outcomes)
	_, stderr = w.replay(2, "--from", "0:0", "--to", "0:2")
	require.Contains(t, stderr, "--from: partition 0 has the offsets 1 to 2")

	t.Setenv("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
	_, stderr = w.replay(1, "--from", "0:1", "--to", "0:2")
	require.Contains(t, stderr, "cannot reach PostgreSQL")
}

func TestUnknownFieldsAreCounted(t *testing.T) {
	w, _ := replayWorld(t)
	with := func(record *kgo.Record, members string, after time.Duration) *kgo.Record {
		record.Value, record.Timestamp = []byte("{"+members+strings.TrimPrefix(string(record.Value), "{")), failed.Add(after)
		return record
	}
	w.produce(with(w.order(0, "a"), `"colour":"red",`, time.Hour), with(w.order(0, "b"), `"colour":1,"x@y.example":1,`, 0), w.order(0, "c"))
	w.produce(with(w.order(1, "d"), `"colour":null,"sm_id":1,`, 2*time.Hour), &kgo.Record{Topic: orders, Partition: 1, Value: []byte("{")})
	t.Setenv("DATABASE_URL", "") // it needs none
	got := w.orderctl("fields", "--output", "json")
	require.Zero(t, got.code, got.stderr)
	at := func(after time.Duration) string { return failed.Add(after).UTC().Format(time.RFC3339) }
	require.JSONEq(t, fmt.Sprintf(`{"read":5,"fields":[{"field":"colour","records":3,"first":%q,"last":%q},{"field":"?","records":1,"first":%q,"last":%q}]}`,
		at(0), at(2*time.Hour), at(0), at(0)), got.stdout)
	require.Contains(t, w.orderctl("fields", "--partition", "0", "--most", "2").stdout, "2 records read, 2 fields that orders do not have\n       1  "+at(0)+" to "+at(0)+"  ?\n")
	require.Equal(t, 3, w.orderctl("fields", "--from", "latest").code)
}
