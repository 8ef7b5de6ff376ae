package integration

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/fx"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/app"
)

// slot is a broker and a database that one case after another has to itself.
type slot struct {
	broker *broker.Broker
	url    string
	db     *sql.DB
}

func newSlot(t *testing.T) *slot {
	t.Helper()
	s := &slot{url: postgres.ForTest(t)}
	s.broker = broker.StartForTest(t, broker.Options{
		DefaultPartitions: 1, Configs: map[string]string{"group.min.session.timeout.ms": "100"},
	})
	db, err := sql.Open("pgx", s.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	s.db = db
	_, err = migrations.Up(t.Context(), db)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), plannedFaults+backUpTables)
	require.NoError(t, err)
	require.NoError(t, postgres.Execute(t.Context(), postgres.AdminForTest(t, s.url), `GRANT SET ON PARAMETER session_replication_role TO orders`))
	return s
}

// propertyCase is a plan while it is carried out.
type propertyCase struct {
	t      *testing.T
	ctx    context.Context
	slot   *slot
	plan   *plan
	random *rand.Rand // for what only the faults need

	topic, dlq, group string
	kafka             *kgo.Client
	admin             *kadm.Client
	settings          app.Settings
	partitions        int

	members []*member // running ones
	stopped []*member
	dying   sync.WaitGroup
	faults  []*kfake.FaultHandle
	lock    *sql.Tx

	sent      []sent
	committed map[int32]int64 // as last seen
	backedUp  bool
	version   int64    // of the erased orders, when the tables were backed up
	erased    []string // uids
	wentBack  bool     // the tables went back to an earlier state
}

// sent is a record in the topic.
type sent struct {
	made
	record *kgo.Record // with its partition and offset
}

// member is a worker in this process, with connections of its own.
type member struct {
	app      *fx.App
	database *proxy.Proxy
	broker   *proxy.Proxy
	metrics  *prometheus.Registry
	log      *observer.ObservedLogs
}

func newPropertyCase(t *testing.T, s *slot, base app.Settings, p *plan) *propertyCase {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*deadline)
	t.Cleanup(cancel)
	name := fmt.Sprintf("orders-%d", p.seed)
	c := &propertyCase{
		t: t, ctx: ctx, slot: s, plan: p, random: rand.New(rand.NewPCG(p.seed, 5)),
		topic: name, dlq: name + ".dlq", group: name, partitions: p.partitions, committed: map[int32]int64{},
	}
	require.NoError(t, s.broker.CreateTopics(ctx, map[string]broker.Topic{c.topic: {Partitions: int32(p.partitions)}}))
	c.exec(`TRUNCATE orders, deliveries, payments, items, ingest_positions, erasures, order_tombstones, order_versions`)
	c.exec(`UPDATE planned_fault SET code = NULL, at = NULL`)
	// Triggers that always run let the workers skip the look-ups for foreign keys; others do not.
	for table, trigger := range map[string]string{"orders": "at_insert", "payments": "at_commit"} {
		c.exec(`ALTER TABLE ` + table + ` ENABLE ` + map[bool]string{true: "ALWAYS", false: ""}[p.seed%2 == 0] + ` TRIGGER ` + trigger)
	}

	base.Kafka.Topic, base.Kafka.DLQTopic, base.Group = c.topic, c.dlq, c.group
	base.Kafka.Brokers = []string{s.broker.Addr()}
	base.Erasures.Key = erasureKey
	base.AdminAddr = "127.0.0.1:0"
	base.TopicPartitions = 2
	base.SessionTimeout, base.StopTimeout, base.WriteTimeout = 2*time.Second, 4*time.Second, time.Second
	base.TopicWatch, base.LagInterval = 100*time.Millisecond, 100*time.Millisecond
	base.MaxBatch, base.DatabaseConns = p.maxBatch, p.conns
	if p.newest {
		base.Rules.OnConflict, base.Rules.OnTombstone = "newest", "delete"
	}
	base.BatchBusy = []int{2, 8}[p.seed/2%2]
	c.settings = base
	c.connect()
	t.Cleanup(c.end)
	return c
}

func (c *propertyCase) connect() {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.slot.broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(c.plan.compression), kgo.MetadataMinAge(10*time.Millisecond))
	require.NoError(c.t, err)
	c.t.Cleanup(client.Close)
	c.kafka, c.admin = client, kadm.NewClient(client)
}

func (c *propertyCase) exec(query string, args ...any) {
	c.t.Helper()
	_, err := c.slot.db.ExecContext(c.ctx, query, args...)
	require.NoError(c.t, err, query)
}

// start adds a worker.
func (c *propertyCase) start() {
	c.t.Helper()
	m := &member{}
	settings := c.settings
	databaseURL, err := url.Parse(c.slot.url)
	require.NoError(c.t, err)
	m.database, err = proxy.Start(databaseURL.Host, proxy.Postgres)
	require.NoError(c.t, err)
	m.broker, err = proxy.Start(c.slot.broker.Addr(), proxy.Kafka)
	require.NoError(c.t, err)
	databaseURL.Host = m.database.Addr()
	settings.Database.URL = config.Secret(databaseURL.String())
	core, logs := observer.New(zapcore.WarnLevel)
	m.log = logs
	// All connections to the one broker go through the proxy, whatever address
	// the broker gives itself.
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, m.broker.Addr())
	}
	var server *admin.Server
	m.app = fx.New(
		app.Options(&settings),
		fx.Decorate(
			func(*zap.Logger) *zap.Logger { return zap.New(core) },
			func(d *kafka.Dialer) *kafka.Dialer { d.DialFunc = dial; return d },
			func(t *kafka.Transport) *kafka.Transport { t.Dial = dial; return t },
		),
		fx.Populate(&m.metrics, &server),
	)
	require.NoError(c.t, m.app.Err())
	require.NoError(c.t, m.app.Start(c.ctx))
	c.members = append(c.members, m)
}

// take takes one of the running workers away.
func (c *propertyCase) take() *member {
	i := c.random.IntN(len(c.members))
	m := c.members[i]
	c.members = append(c.members[:i:i], c.members[i+1:]...)
	c.stopped = append(c.stopped, m)
	return m
}

// stop ends a worker in good order.
func (c *propertyCase) stop(m *member) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := m.app.Stop(ctx); err != nil {
		c.t.Errorf("stop a worker: %v", err)
	}
	m.database.Close()
	m.broker.Close()
}

// crash ends a worker without a word to anybody: what it does from here on
// reaches neither the database nor the broker.
func (c *propertyCase) crash(m *member) {
	for _, p := range []*proxy.Proxy{m.database, m.broker} {
		p.Refuse(true)
		p.Cut()
	}
	c.dying.Go(func() { c.stop(m) })
}

// end stops what still runs, also after a failure.
func (c *propertyCase) end() {
	for len(c.members) > 0 {
		c.crash(c.take())
	}
	c.dying.Wait()
	if c.lock != nil {
		_ = c.lock.Rollback()
	}
	for _, f := range c.faults {
		f.Remove()
	}
	cluster := c.slot.broker.Cluster()
	for _, topic := range []string{c.topic, c.dlq} {
		if cluster.TopicInfo(topic) != nil {
			if err := cluster.DeleteTopic(topic); err != nil {
				c.t.Errorf("delete topic %s: %v", topic, err)
			}
		}
	}
}

// do carries out one step.
func (c *propertyCase) do(s step) {
	c.t.Helper()
	switch s.action {
	case produce:
		c.produce(c.kafka, s)
	case abort:
		c.abort(s)
	case startWorker:
		if len(c.members) < maxWorkers {
			c.start()
		}
	case stopWorker:
		if len(c.members) > 0 {
			c.stop(c.take())
		}
	case crashWorker:
		if len(c.members) > 0 {
			c.crash(c.take())
		}
	case inject:
		s.fault.inject(c)
	case heal:
		c.heal()
	case pause:
		time.Sleep(time.Duration(s.millis) * time.Millisecond)
	case addPartition:
		c.partitions++
		_, err := c.admin.UpdatePartitions(c.ctx, c.partitions, c.topic)
		require.NoError(c.t, err)
		c.connect()
	case backUp:
		c.backUp()
	case goBack:
		if c.backedUp {
			c.goBack()
		}
	case erase:
		c.erase(s.uid)
	}
	c.progress()
}

func (c *propertyCase) produce(client *kgo.Client, s step) {
	c.t.Helper()
	c.sent = append(c.sent, c.records(s)...)
	n := len(s.records)
	var records []*kgo.Record
	for _, r := range c.sent[len(c.sent)-n:] {
		records = append(records, r.record)
	}
	require.NoError(c.t, client.ProduceSync(c.ctx, records...).FirstErr())
}

func (c *propertyCase) records(s step) (all []sent) {
	for i, r := range s.records {
		record := &kgo.Record{
			Topic: c.topic, Partition: s.partition, Value: r.value,
			Timestamp: time.UnixMilli(1_700_000_000_000 + int64(len(c.sent)+i)),
		}
		if c.plan.newest { // in no order, and some have the same
			record.Timestamp = time.UnixMilli(1_700_000_000_000 + int64((len(c.sent)+i)*37%101))
		}
		if i%2 == 0 || r.kind == deletion {
			record.Key = []byte(r.uid)
			record.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte{0, byte(i)}}, {Key: "dlq-reason", Value: []byte("of old")}}
		}
		all = append(all, sent{made: r, record: record})
	}
	return all
}

// abort produces in a transaction that is aborted, so none of it counts.
func (c *propertyCase) abort(s step) {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.slot.broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.TransactionalID(c.topic), kgo.ProducerBatchCompression(c.plan.compression))
	require.NoError(c.t, err)
	defer client.Close()
	require.NoError(c.t, client.BeginTransaction())
	var records []*kgo.Record
	for _, r := range c.records(s) {
		records = append(records, r.record)
	}
	require.NoError(c.t, client.ProduceSync(c.ctx, records...).FirstErr())
	require.NoError(c.t, client.EndTransaction(c.ctx, kgo.TryAbort))
}
