package integration

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/orderctl/internal/cli"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

// otherdbFolder has the tables of other services, and mapping files where they need one.
var otherdbFolder, _ = filepath.Abs("../testdata/otherdb")

// variants are the names of all files there.
func variants(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(otherdbFolder, "*.sql"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".sql"))
	}
	return names
}

// otherDatabase is a database of another order service, with the orders that its
// schema "staging" holds in Orderhub's form.
type otherDatabase struct {
	t    *testing.T
	url  string
	name string
	db   *sql.DB
	uids []string
}

func openURL(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// newOther fills the tables of a file in testdata/otherdb.
func newOther(t *testing.T, name string, count int, seed uint64) *otherDatabase {
	t.Helper()
	o := &otherDatabase{t: t, url: postgres.ForTest(t), name: name}
	o.db = openURL(t, o.url)
	o.exec(`CREATE SCHEMA staging`)
	staging := o.staging()
	_, err := migrations.Up(t.Context(), staging)
	require.NoError(t, err)
	generator, err := synth.New(synth.Options{Count: count, MinItems: 1, MaxItems: 4, Seed: seed})
	require.NoError(t, err)
	codec := model.New(model.Options{})
	var rows []*orderdb.Order
	var deliveries []*orderdb.Delivery
	var payments []*orderdb.Payment
	var items []*orderdb.Item
	for {
		record, err := generator.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		decoded, err := codec.Decode(record.Value)
		require.NoError(t, err)
		row := orderdb.FromModel(decoded.Order, nil)
		rows, deliveries, payments, items = append(rows, row), append(deliveries, row.Delivery), append(payments, row.Payment), append(items, row.Items...)
		o.uids = append(o.uids, record.UID)
	}
	db := bun.NewDB(staging, pgdialect.New())
	for _, models := range []any{&rows, &deliveries, &payments, &items} {
		_, err := db.NewInsert().Model(models).Exec(t.Context())
		require.NoError(t, err)
	}
	for _, table := range orderdb.Tables { // which the other databases do not have
		_, err := staging.ExecContext(t.Context(), "ALTER TABLE "+table.Name+" DROP COLUMN unknown_fields")
		require.NoError(t, err)
	}
	ddl, err := os.ReadFile(filepath.Join(otherdbFolder, name+".sql"))
	require.NoError(t, err)
	o.exec(string(ddl))
	return o
}

// staging has the orders in Orderhub's own form.
func (o *otherDatabase) staging() *sql.DB {
	separator := "?"
	if strings.Contains(o.url, "?") {
		separator = "&"
	}
	return openURL(o.t, o.url+separator+"search_path=staging&default_query_exec_mode=exec")
}

func (o *otherDatabase) exec(statements string) {
	o.t.Helper()
	_, err := o.db.ExecContext(o.t.Context(), statements)
	require.NoError(o.t, err)
}

// orders are all that should arrive, in canonical JSON by uid.
func canonicalOrders(t *testing.T, db *sql.DB, uids []string) map[string]string {
	t.Helper()
	stored, err := orderdb.Read(t.Context(), db, uids)
	require.NoError(t, err)
	all := map[string]string{}
	for uid, s := range stored {
		all[uid] = string(model.AppendCanonical(nil, s.Order))
	}
	return all
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// flat are the records of all partitions.
func flat(byPartition map[int32][]*kgo.Record) (all []*kgo.Record) {
	for _, records := range byPartition {
		all = append(all, records...)
	}
	return all
}

// target is a database with Orderhub's schema, which DATABASE_URL names.
func target(t *testing.T) *sql.DB {
	t.Helper()
	url := postgres.ForTest(t)
	t.Setenv("DATABASE_URL", url)
	db := openURL(t, url)
	_, err := migrations.Up(t.Context(), db)
	require.NoError(t, err)
	return db
}

func orderctlRun(ctx context.Context, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := cli.Run(ctx, args, strings.NewReader(""), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

func requireOrders(t *testing.T, want, got map[string]string) {
	t.Helper()
	require.Len(t, got, len(want))
	for uid := range want {
		require.Equal(t, want[uid], got[uid])
	}
}

type importReport struct {
	Read, Published, Refused, Stored, Duplicates, Failed int64
	Reasons                                              map[string]int64
	Orphans                                              map[string]int64 `json:"rows_without_order"`
	After                                                string           `json:"resumed_after"`
}

// report is the last line of an import's JSON.
func report(t *testing.T, r result) (last importReport) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last), "%s%s", r.stdout, r.stderr)
	return last
}

func TestImportOfEachKindOfDatabase(t *testing.T) {
	const count = 150
	w := newWorld(t)
	t.Setenv("KAFKA_BROKERS", w.broker.Addr())
	t.Chdir(t.TempDir())
	for i, name := range variants(t) {
		t.Run(name, func(t *testing.T) {
			other := newOther(t, name, count, uint64(i))
			want := canonicalOrders(t, other.staging(), other.uids)
			require.Len(t, want, count)
			ours := target(t)
			from := []string{"import", "--from", other.url, "--output", "json"}
			against := []string{"verify", "--against", other.url, "--settle", "10ms"}
			if mapping := filepath.Join(otherdbFolder, name+".yaml"); exists(mapping) {
				got := orderctlRun(t.Context(), append(from, "--direct")...)
				require.Equal(t, 1, got.code)
				require.Contains(t, got.stderr, "mapping")
				from, against = append(from, "--mapping", mapping), append(against, "--mapping", mapping)
			}

			got := orderctlRun(t.Context(), append(from, "--dry-run")...)
			require.Equal(t, 0, got.code, got.stderr)
			require.EqualValues(t, count, report(t, got).Stored)
			require.Empty(t, canonicalOrders(t, ours, other.uids), "a dry run stores nothing")

			got = orderctlRun(t.Context(), against...)
			require.Equal(t, 1, got.code)
			require.Equal(t, count, strings.Count(got.stdout, "missing "))

			got = orderctlRun(t.Context(), append(from, "--direct")...)
			require.Equal(t, 0, got.code, got.stderr)
			require.EqualValues(t, count, report(t, got).Stored)
			requireOrders(t, want, canonicalOrders(t, ours, other.uids))
			got = orderctlRun(t.Context(), against...)
			require.Equal(t, 0, got.code, got.stdout+got.stderr)
			require.Contains(t, got.stderr, fmt.Sprintf("compared %d orders", count))

			got = orderctlRun(t.Context(), append(from, "--direct")...)
			require.Equal(t, 0, got.code, got.stderr)
			require.EqualValues(t, count, report(t, got).Duplicates, "again is no harm")

			got = orderctlRun(t.Context(), from...)
			require.Equal(t, 0, got.code, got.stderr)
			require.EqualValues(t, count, report(t, got).Published)
			sent := slices.DeleteFunc(flat(w.read(orders)), func(r *kgo.Record) bool { return want[string(r.Key)] == "" })
			require.Len(t, sent, count)
			codec := model.New(model.Options{})
			for _, record := range sent {
				decoded, err := codec.Decode(record.Value)
				require.NoError(t, err)
				require.Equal(t, want[string(record.Key)], string(model.AppendCanonical(nil, decoded.Order)))
			}
			require.NoFileExists(t, "orderctl-import.json", "nothing is left to go on with")
		})
	}
}

func TestImportSaysWhatWouldFail(t *testing.T) {
	const count = 60
	w := newWorld(t)
	t.Setenv("KAFKA_BROKERS", w.broker.Addr())
	t.Chdir(t.TempDir())
	other := newOther(t, "no_keys", count, 1)
	ours := target(t)
	got := orderctlRun(t.Context(), "import", "--from", other.url, "--direct")
	require.Equal(t, 0, got.code, got.stderr)
	uids := other.uids
	_, err := ours.Exec(`DELETE FROM orders WHERE NOT order_uid = ANY($1)`, uids[:2])
	require.NoError(t, err)
	other.exec(fmt.Sprintf(`UPDATE "Delivery" SET "Phone" = '+12025550100' WHERE "OrderUID" = '%[1]s';
		UPDATE "Delivery" SET "Email" = 'personal-address' WHERE "OrderUID" = '%[2]s';
		DELETE FROM "Delivery" WHERE "OrderUID" = '%[3]s';
		INSERT INTO "Delivery" SELECT * FROM "Delivery" WHERE "OrderUID" = '%[4]s';
		INSERT INTO "Orders" SELECT * FROM "Orders" WHERE "OrderUID" = '%[5]s';
		INSERT INTO "Delivery" ("OrderUID") VALUES ('0'), ('zzzz');
		UPDATE "Payment" SET "Amount" = NULL WHERE "Transaction" = '%[6]s';
		INSERT INTO "Orders" ("TrackNumber") VALUES ('personal-address')`, uids[0], uids[2], uids[3], uids[4], uids[5], uids[6]))
	want := importReport{Read: count + 2, Stored: count - 6, Duplicates: 2, Failed: 6,
		Reasons: map[string]int64{"conflict": 1, "invalid": 1, "wrong_type": 4}, Orphans: map[string]int64{"deliveries": 2}}
	for _, how := range []string{"--dry-run", "--direct"} {
		got = orderctlRun(t.Context(), "import", "--from", other.url, how, "--output", "json")
		require.Equal(t, 1, got.code, got.stderr)
		require.Equal(t, want, report(t, got), got.stdout)
		require.Equal(t, 7, strings.Count(got.stdout, "\n"))
		require.Contains(t, got.stdout, `"path":"delivery.phone","rule":"conflict"`)
		require.NotContains(t, got.stdout+got.stderr, "personal-address")
		require.NotContains(t, got.stdout+got.stderr, "+12025550100")
	}

	_, err = ours.Exec(`INSERT INTO orders SELECT 'only-ours', track_number, entry, locale, '', customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard FROM orders LIMIT 1`)
	require.NoError(t, err)
	got = orderctlRun(t.Context(), "verify", "--against", other.url, "--settle", "1ms")
	require.Equal(t, 1, got.code)
	for _, line := range []string{
		"different  " + uids[0] + "  delivery.phone\n", "missing  " + uids[2] + "  delivery.email [email]\n", "missing  " + uids[3] + "  delivery [wrong_type]\n",
		"missing  " + uids[4] + "  delivery [wrong_type]\n", "missing  " + uids[6] + "  payment.amount [wrong_type]\n", "missing  ***  ", "extra    only-ours\n",
	} {
		require.Contains(t, got.stdout, line)
	}
	require.Contains(t, got.stderr, "5 missing, 1 extra, 1 different")
	require.NotContains(t, got.stdout+got.stderr, "personal-address")
	got = orderctlRun(t.Context(), "verify", "--against", other.url, "--settle", "1ms", "--output", "json")
	require.Contains(t, got.stdout, `{"order_uid":"`+uids[0]+`","kind":"different","paths":["delivery.phone"]}`)
	require.Regexp(t, `"missing":5,"extra":1,"different":1,"equal":false`, got.stdout)

	// As for the worker, another form of the same content is a duplicate.
	_, err = ours.Exec(`UPDATE payments SET currency = 'eur' WHERE order_uid = $1`, uids[1])
	require.NoError(t, err)
	other.exec(fmt.Sprintf(`UPDATE "Payment" SET "Currency" = 'EUR' WHERE "Transaction" = '%s'`, uids[1]))
	for _, how := range []string{"--dry-run", "--direct"} {
		got = orderctlRun(t.Context(), "import", "--from", other.url, how, "--output", "json")
		require.Equal(t, want.Reasons, report(t, got).Reasons, got.stdout)
	}
}

func TestImportRefusesWhatItCannotDo(t *testing.T) {
	t.Chdir(t.TempDir())
	other := newOther(t, "orderhub_l0", 1, 1)
	write := func(name, text string) string {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{2, "name the other database", nil},
		{2, "not a PostgreSQL address", []string{"--from", "mysql"}},
		{1, "start it, or say where it is with --from", []string{"--from", "postgres://u@127.0.0.1:1/x"}},
		{1, `there is no schema "nowhere"`, []string{"--from", other.url, "--from-schema", "nowhere"}},
		{2, "an order has no field colour there", []string{"--from", other.url, "--mapping", write("a.yaml", "orders: {columns: {colour: red}}")}},
		{2, "only items are sorted", []string{"--from", other.url, "--mapping", write("b.yaml", "orders: {sort: x}")}},
		{2, "unknown field", []string{"--from", other.url, "--mapping", write("c.json", `{"order": {}}`)}},
		{1, `column i.nothing does not exist`, []string{"--from", other.url, "--mapping", write("d.yaml", "items: {columns: {price: i.nothing}}")}},
		{1, "say an expression", []string{"--from", other.url, "--plan", "--mapping", write("e.yaml", "payments: {columns: {amount: 'p.amount::numeric(10,2)'}}")}},
		{2, "is of another import", []string{"--from", other.url, "--state", write("state.json", `{"from":"elsewhere","to":"x","after":"a","done":1}`)}},
		{1, "run `orderctl migrate`", []string{"--from", other.url, "--direct"}},
	} {
		t.Setenv("DATABASE_URL", postgres.ForTest(t))
		got := orderctlRun(t.Context(), append([]string{"import"}, c.args...)...)
		require.Equal(t, c.code, got.code, "%s: %s", c.says, got.stderr)
		require.Contains(t, got.stdout+got.stderr, c.says)
	}

	// The plan is a mapping file that says the same.
	got := orderctlRun(t.Context(), "import", "--from", other.url, "--plan")
	require.Equal(t, 0, got.code, got.stderr)
	again := orderctlRun(t.Context(), "import", "--from", other.url, "--plan", "--mapping", write("plan.yaml", got.stdout))
	require.Equal(t, got.stdout, again.stdout)
	asJSON := orderctlRun(t.Context(), "import", "--from", other.url, "--plan", "--output", "json")
	require.Contains(t, asJSON.stdout, `"from":"deliveries d"`)

	// Its tables are not Orderhub's.
	t.Setenv("DATABASE_URL", other.url)
	for _, args := range [][]string{{"migrate"}, {"migrate", "status"}, {"import", "--from", other.url, "--direct"}} {
		got = orderctlRun(t.Context(), args...)
		require.Equal(t, 1, got.code)
		for _, advice := range []string{"tables of another program: orders (without content_hash, change_xid)", "search_path=orderhub", "another database", "orderctl import --from"} {
			require.Contains(t, got.stderr, advice)
		}
	}
}

func TestImportGoesOnWhereItWas(t *testing.T) {
	const count = 400
	w := newWorld(t)
	t.Setenv("KAFKA_BROKERS", w.broker.Addr())
	t.Chdir(t.TempDir())
	other := newOther(t, "orders_service_l0", count, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := make(chan result, 1)
	go func() {
		first <- orderctlRun(ctx, "import", "--from", other.url, "--rate", "100", "--output", "json")
	}()
	require.Eventually(t, func() bool { return exists("orderctl-import.json") }, time.Minute, 5*time.Millisecond)
	cancel()
	stopped := <-first
	require.Equal(t, 130, stopped.code, stopped.stderr)
	require.Contains(t, stopped.stderr, "run the command again: it goes on")
	before := report(t, stopped)
	require.Positive(t, before.Read)
	require.Less(t, before.Read, int64(count))

	got := orderctlRun(t.Context(), "import", "--from", other.url, "--topic", "elsewhere")
	require.Equal(t, 2, got.code)
	require.Contains(t, got.stderr, "is of another import")
	got = orderctlRun(t.Context(), "import", "--from", other.url, "--output", "json")
	require.Equal(t, 0, got.code, got.stderr)
	after := report(t, got)
	require.Equal(t, slices.Sorted(slices.Values(other.uids))[before.Read-1], after.After)
	require.EqualValues(t, count, before.Read+after.Read)
	seen := map[string]bool{}
	for _, record := range flat(w.read(orders)) {
		seen[string(record.Key)] = true
	}
	require.Len(t, seen, count, "none is left out")
	require.NoFileExists(t, "orderctl-import.json")
}
