package scale

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/binaries"
)

func TestMain(m *testing.M) {
	rig.Play()
	m.Run()
}

// TestHashPartitions has the real worker and the real reader work on tables that
// partition.sql made partitioned ones: what is stored, found as stored already,
// refused, changed by hand and deleted is what it would be without.
func TestHashPartitions(t *testing.T) {
	p := newPartitioned(t)
	const stored, sent = 300, 200
	p.fill(stored)
	before := p.schema()
	require.NoError(t, postgres.Execute(t.Context(), p.database, partitionSQL))
	require.Equal(t, before, p.schema(), "keys, indexes and triggers are as they were")
	require.Equal(t, stored, p.number("SELECT count(*) FROM items"))
	require.Equal(t, 8, p.number("SELECT count(DISTINCT tableoid) FROM orders"), "orders are in each partition")
	p.startWorker()
	p.reader = p.startReader(p.database)
	p.waitMetric(p.reader.Service, rig.MetricCached, stored)

	uids := p.send(sent, false)
	p.send(sent, false)
	p.send(10, true)
	p.waitMetric(p.worker, rig.MetricStored, sent)
	p.waitMetric(p.worker, rig.MetricDuplicate, sent)
	p.waitMetric(p.worker, rig.MetricDeadLetter, 10)
	p.waitMetric(p.reader.Service, rig.MetricCached, stored+sent)
	body := p.wait(uids[0], http.StatusOK, `"order_uid":"`+uids[0]+`"`)
	_, err := model.New(model.Options{}).Decode([]byte(body))
	require.NoError(t, err, "nothing is missing")

	p.execute("UPDATE payments SET amount = 4711 WHERE order_uid = $1", uids[0])
	p.wait(uids[0], http.StatusOK, `"amount":4711`)
	p.execute("DELETE FROM items WHERE order_uid = $1", uids[0])
	p.wait(uids[0], http.StatusOK, `"items":null`)
	// Other uids are in other partitions, most of them: rows move.
	for i, uid := range uids[1:9] {
		p.execute("UPDATE orders SET order_uid = $2 WHERE order_uid = $1", uid, fmt.Sprint("moved-", i))
		p.wait(uid, http.StatusNotFound, "")
		p.wait(fmt.Sprint("moved-", i), http.StatusOK, `"city":`)
	}
	p.execute("DELETE FROM orders WHERE order_uid = $1", uids[10])
	p.wait(uids[10], http.StatusNotFound, "")
	require.Equal(t, 0, p.number("SELECT count(*) FROM deliveries WHERE order_uid = $1", uids[10]))
	p.execute("TRUNCATE orders CASCADE")
	p.waitMetric(p.reader.Service, rig.MetricCached, 0)

	// Each look-up is in one partition.
	plan := p.text("EXPLAIN (FORMAT JSON) SELECT * FROM orders WHERE order_uid = 'x'")
	require.Regexp(t, `"Relation Name": "orders_\d"`, plan)
	require.NotContains(t, plan, "Append")
}

// partitioned is a database with whatever works on it.
type partitioned struct {
	*testing.T
	binaries string
	site     *rig.Site
	database string
	orders   *rig.Orders
	conn     *pgx.Conn
	worker   *rig.Service
	reader   *rig.Reader
}

func newPartitioned(t *testing.T) *partitioned {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a database, a broker and readers")
	}
	p := &partitioned{T: t, binaries: t.TempDir()}
	require.NoError(t, binaries.Build(p.binaries))
	p.site = rig.OpenSite(t.Context(), &rig.Flags{Binaries: p.binaries}, map[string]string{"fsync": "off", "shared_buffers": "64MB", "min_wal_size": "64MB"})
	t.Cleanup(p.site.Close)
	p.database, _ = p.site.Server.Fresh(t.Context())
	var err error
	p.conn, err = pgx.Connect(t.Context(), p.database)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.conn.Close(context.Background()) })
	return p
}

func (p *partitioned) fill(orders int) {
	p.Helper()
	p.orders = p.site.MakeOrders(p.Context(), rig.OrdersOptions{
		Topic: "stored", Partitions: 1, Count: orders, Items: 1, Seed: 1, BatchSize: 100,
	})
	p.orders.Copy(p.Context(), p.database, rig.CopyOptions{Conns: 1})
}

func (p *partitioned) startWorker() {
	p.Helper()
	p.site.Broker.CreateTopic(p.Context(), "sent", 8, "delete")
	p.worker = p.site.StartWorker(p.Context(), "sent", p.database)
	p.Cleanup(p.worker.Stop)
}

func (p *partitioned) startReader(database string) *rig.Reader {
	p.Helper()
	reader := p.site.StartReader(p.Context(), database)
	p.Cleanup(reader.Stop)
	return reader
}

// send sends the same orders each time, or others under their uids.
func (p *partitioned) send(count int, others bool) (uids []string) {
	p.Helper()
	orders := *p.orders
	if others {
		orders.Sample, orders.Values = orders.Sample[1:], orders.Values[1:]
	}
	stamper, producer := rig.NewStamper(&orders, 1), p.site.Broker.NewProducer("sent", 0)
	defer producer.Close()
	for range count {
		uid, value := stamper.Next()
		require.NoError(p, producer.ProduceSync(p.Context(), &kgo.Record{Key: []byte(uid), Value: value}).FirstErr())
		uids = append(uids, uid)
	}
	return uids
}

// schema is the names of what the tables have besides rows.
func (p *partitioned) schema() string {
	p.Helper()
	const four = "('orders', 'deliveries', 'payments', 'items')"
	return p.text(`SELECT string_agg(line, E'\n' ORDER BY line) FROM (
		SELECT tgrelid::regclass || ' trigger ' || tgname AS line FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text IN ` + four + `
		UNION ALL SELECT conrelid::regclass || ' constraint ' || conname || ' ' || pg_get_constraintdef(oid)
			FROM pg_constraint WHERE conrelid::regclass::text IN ` + four + ` AND conparentid = 0
		UNION ALL SELECT tablename || ' index ' || indexname FROM pg_indexes WHERE tablename IN ` + four + `) AS lines`)
}

func (p *partitioned) text(query string, arguments ...any) (text string) {
	p.Helper()
	require.NoError(p, p.conn.QueryRow(p.Context(), query, arguments...).Scan(&text))
	return text
}

func (p *partitioned) number(query string, arguments ...any) (n int) {
	p.Helper()
	require.NoError(p, p.conn.QueryRow(p.Context(), query, arguments...).Scan(&n))
	return n
}

func (p *partitioned) execute(statement string, arguments ...any) {
	p.Helper()
	_, err := p.conn.Exec(p.Context(), statement, arguments...)
	require.NoError(p, err)
}

const patience = time.Minute // a machine may be busy

func (p *partitioned) waitMetric(s *rig.Service, name string, want int) {
	p.Helper()
	require.EventuallyWithT(p, func(c *assert.CollectT) {
		require.Equal(c, want, int(s.Metrics(p.Context())[name]), name)
	}, patience, 20*time.Millisecond)
}

// wait asks for an order until the answer is as wanted.
func (p *partitioned) wait(uid string, status int, words string) (body string) {
	p.Helper()
	require.EventuallyWithT(p, func(c *assert.CollectT) {
		var got int
		got, body = get(c, p.reader, "/order/"+uid)
		require.Equal(c, status, got)
		require.Contains(c, body, words)
	}, patience, 10*time.Millisecond)
	return body
}

func get(t require.TestingT, from *rig.Reader, path string) (status int, body string) {
	response, err := http.Get("http://" + from.Addr + path)
	require.NoError(t, err)
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode, string(content)
}
