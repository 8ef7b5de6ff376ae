package integration

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

func TestDLQRedrive(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(2)
	got := w.orderctl("dlq", "redrive", "--all")
	require.Equal(t, 2, got.code)
	require.Contains(t, got.stderr, "this would redrive 6 letters; add --yes to do it")
	require.Len(t, w.refs(letter.Open), 6)

	got = w.orderctl("dlq", "redrive", ids[0], "--why", "mended", "--actor", "ann")
	require.Equal(t, result{0, ids[0] + " -> orders/0/2\n", "1 of 1 letter redriven\n"}, got)
	got = w.orderctl("dlq", "redrive", ids[0])
	require.Equal(t, result{3, "", ids[0] + " is resolved\nno open letter matches\n"}, got)
	require.Contains(t, w.orderctl("dlq", "show", ids[0]).stdout, "resolved: redriven by ann on ")

	w.fail(&kgo.Record{Topic: orders, Partition: 1, Offset: 9, Headers: []kgo.RecordHeader{{Key: "dlq-redrive-count", Value: []byte("3")}}}, "invalid")
	got = w.orderctl("dlq", "redrive", "--partition", "1", "--yes", "--output", "json")
	require.Equal(t, 1, got.code)
	require.Equal(t, 3, strings.Count(got.stdout, "\n"))
	require.Contains(t, got.stdout, `"became":"orders/1/2"`)
	require.Contains(t, got.stdout, `"error":"was redriven too often (3 times; the limit is 3)"`)
	require.Equal(t, "2 of 3 letters redriven\n", got.stderr)
	require.Equal(t, 0, w.orderctl("dlq", "redrive", "orders/1/9", "--max-redrives", "4").code)

	w.fail(&kgo.Record{Topic: "absent", Value: []byte("v")}, "invalid")
	got = w.orderctl("dlq", "redrive", "absent/0/0")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "topic absent does not exist any more: send it elsewhere with --to-topic")
	require.Contains(t, got.stderr, "0 of 1 letter redriven")

	allow := w.refuseWrites(orders)
	got = w.orderctl("dlq", "redrive", "--partition", "2", "--yes")
	allow()
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "stopped: 0 of 2 letters redriven")
	require.Contains(t, got.stderr, "lacks the right")
}

func TestDLQDiscardUndoPurge(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(1)
	got := w.orderctl("dlq", "discard", ids[0], ids[1], "--why", "tests")
	require.Equal(t, 0, got.code, got.stderr)
	require.Equal(t, "2 of 2 letters discarded\n", got.stderr)
	require.Len(t, w.refs(letter.Open), 1)
	got = w.orderctl("dlq", "undo", ids[1], "--output", "json")
	require.Equal(t, result{0, `{"id":"` + ids[1] + `","done":"opened"}` + "\n", "1 of 1 letter opened\n"}, got)
	require.Equal(t, 3, w.orderctl("dlq", "undo", ids[1]).code)
	require.Equal(t, 2, w.orderctl("dlq", "discard", "--all", "--why", "x").code, "nobody was asked")

	require.Equal(t, 3, w.orderctl("dlq", "purge", "--resolved", "--older-than", "1h").code)
	require.Equal(t, result{0, ids[0] + "\n", "1 letter would be removed\n"}, w.orderctl("dlq", "purge", "--resolved", "--older-than", "0s", "--dry-run"))
	require.Equal(t, 2, w.orderctl("dlq", "purge", "--resolved", "--older-than", "0s").code)
	require.Equal(t, result{0, ids[0] + "\n", "1 of 1 letter removed\n"}, w.orderctl("dlq", "purge", "--resolved", "--older-than", "0s", "--yes"))
	require.Equal(t, 3, w.orderctl("dlq", "show", ids[0]).code)
	require.Len(t, w.refs(letter.Open), 2)
}

// withDatabase gives the commands a database in which the sample order is stored.
func withDatabase(t *testing.T) (sample []byte) {
	t.Helper()
	url := postgres.ForTest(t)
	t.Setenv("DATABASE_URL", url)
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = migrations.Up(t.Context(), db)
	require.NoError(t, err)
	for _, statement := range []string{
		`INSERT INTO orders (order_uid, track_number, entry, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard)
			VALUES ('b563feb7b2b84b6test', 'WBILMTESTTRACK', 'WBIL', 'en', '', 'test', 'meest', '9', 99, '2021-11-26T06:22:19Z', '1')`,
		`INSERT INTO deliveries (order_uid, name, phone, zip, city, address, region, email)
			VALUES ('b563feb7b2b84b6test', 'Test Testov', '+9720000000', '2639809', 'Kiryat Mozkin', 'Ploshad Mira 15', 'Kraiot', 'test@gmail.com')`,
		`INSERT INTO payments (order_uid, transaction, request_id, currency, provider, amount, payment_dt, bank, delivery_cost, goods_total, custom_fee)
			VALUES ('b563feb7b2b84b6test', 'b563feb7b2b84b6test', '', 'USD', 'wbpay', 1817, 1637907727, 'alpha', 1500, 317, 0)`,
		`INSERT INTO items (order_uid, position, chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status)
			VALUES ('b563feb7b2b84b6test', 0, 9934930, 'WBILMTESTTRACK', 453, 'ab4219087a764ae0btest', 'Mascaras', 30, '0', 317, 2389212, 'Vivienne Sabo', 202)`,
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	sample, err = os.ReadFile("../testdata/model.json")
	require.NoError(t, err)
	return sample
}

func TestDryRunConflictAndFind(t *testing.T) {
	w := newWorld(t)
	sample := withDatabase(t)
	with := func(old, replacement string) []byte {
		return bytes.ReplaceAll(sample, []byte(old), []byte(replacement))
	}
	fail := func(offset int64, reason string, value []byte) string {
		return w.fail(&kgo.Record{Topic: orders, Offset: offset, Key: []byte("b563feb7b2b84b6test"), Value: value}, reason)
	}
	other := with(`"b563feb7b2b84b6test"`, `"another"`)
	conflict := fail(0, "conflict", with("+9720000000", "+9720000001"))
	want := []string{conflict, "fail", fail(1, "invalid", sample), "duplicate",
		fail(2, "invalid", other), "stored", fail(3, "invalid", other), "duplicate",
		fail(4, "invalid", bytes.ReplaceAll(other, []byte("1817"), []byte("1818"))), "fail",
		fail(5, "not_json", []byte("{")), "fail"}
	w.produce(&kgo.Record{Topic: dlqTopic, Key: []byte("k"), Value: []byte("plain")})
	got := w.orderctl("dlq", "redrive", "--all", "--dry-run", "--output", "json")
	require.Equal(t, 1, got.code)
	would := map[string]string{}
	for line := range strings.Lines(got.stdout) {
		var v struct{ ID, Would string }
		require.NoError(t, json.Unmarshal([]byte(line), &v))
		would[v.ID] = v.Would
	}
	require.Len(t, would, 7)
	for i := 0; i < len(want); i += 2 {
		require.Equal(t, want[i+1], would[want[i]], want[i])
	}
	require.Equal(t, "of 7 letters: 1 would be stored, 2 duplicates, 0 pass, 3 fail, 1 stay, 0 unknown\n", got.stderr)
	require.Contains(t, got.stdout, `{"path":"delivery.phone","rule":"conflict"`)
	require.Empty(t, w.read(orders)[0], "nothing was sent")

	shown := w.orderctl("dlq", "show", conflict)
	require.Contains(t, shown.stdout, "Against the stored order\n  delivery.phone\n    - stored  \"***\"\n    + letter  \"***\"\n")
	t.Setenv("ORDERHUB_AUDIT_FILE", t.TempDir()+"/audit.jsonl")
	require.Contains(t, w.orderctl("dlq", "show", conflict, "--reveal").stdout, `+ letter  "+9720000001"`)

	found := w.orderctl("find", "b563feb7b2b84b6test")
	require.Equal(t, 0, found.code, found.stderr)
	require.Contains(t, found.stdout, "b563feb7b2b84b6test: stored (date_created 2021-11-26T06:22:19Z), 6 dead letters\n  stored "+time.Now().UTC().Format("2006-"))
	require.Contains(t, w.orderctl("find", "another", "--output", "json").stdout, `{"order_uid":"another","stored":false,"letters":[{"id":"orders/0/2/`)
	require.Equal(t, result{3, "nobody: not stored, 0 dead letters\n", ""}, w.orderctl("find", "nobody"))
	conn, err := pgx.Connect(t.Context(), os.Getenv("DATABASE_URL"))
	require.NoError(t, err)
	_, err = conn.PgConn().Exec(t.Context(), `UPDATE orders SET stored_at = '2024-05-01 10:00:00+00' WHERE order_uid = 'b563feb7b2b84b6test';
		INSERT INTO order_versions (order_uid, version, content) VALUES ('gone', 1, ''), ('gone', 2, '');
		INSERT INTO order_tombstones (order_uid, deleted_at) VALUES ('gone', '2024-05-01 10:00:00+00')`).ReadAll()
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	require.Contains(t, w.orderctl("find", "b563feb7b2b84b6test").stdout, "  last changed 20")
	require.Contains(t, w.orderctl("find", "b563feb7b2b84b6test", "--output", "json").stdout, `"stored_at":"2024-05-01T10:00:00Z","updated_at":"20`)
	require.Equal(t, result{0, "gone: not stored, 0 dead letters\n  deleted by a record 2024-05-01 10:00:00\n  2 earlier versions\n", ""}, w.orderctl("find", "gone"))
	require.Contains(t, w.orderctl("find", "gone", "--output", "json").stdout, `"stored":false,"deleted_at":"2024-05-01T10:00:00Z","versions":2,"letters":[]`)

	t.Setenv("DATABASE_URL", "")
	got = w.orderctl("dlq", "redrive", "orders/0/1", "--dry-run")
	require.Equal(t, 0, got.code)
	require.Contains(t, got.stdout, "  pass\n")
	require.Contains(t, got.stderr, "DATABASE_URL is not set")
}

// A message that the bridge could not produce has no Kafka topic of its own: it goes
// to the topic of the orders, into its key's partition.
func TestALetterOfANATSMessageIsRedrivenToTheOrders(t *testing.T) {
	w := newWorld(t)
	l := deadletter.New(deadletter.Source{Topic: deadletter.NATSTopic("ORDERS"), Offset: 17, Key: []byte("large"), Value: []byte(`{"order_uid":"large"}`)},
		deadletter.Cause{Reason: "too_large", Stage: deadletter.StageDecode}, "orderhub", time.Now())
	record := &kgo.Record{Topic: dlqTopic, Key: []byte(l.ID), Value: l.Value}
	for _, h := range l.Headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	w.produce(record)
	got := w.orderctl("dlq", "redrive", l.ID)
	require.Zero(t, got.code, got.stderr)
	byKey := kgo.StickyKeyPartitioner(nil).ForTopic(orders).Partition(&kgo.Record{Key: []byte("large")}, partitions)
	read := w.read(orders)[int32(byKey)]
	require.Len(t, read, 1)
	require.Equal(t, `{"order_uid":"large"}`, string(read[0].Value))
	require.Equal(t, "large", string(read[0].Key))
}
