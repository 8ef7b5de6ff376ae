// Package integration tests the worker with a real PostgreSQL and a broker that
// speaks Kafka's protocol.
package integration

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/fx"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/app"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("LOG_LEVEL", "error")
	goleak.VerifyTestMain(postgres.Shared(m))
}

const (
	ordersTopic = "orders"
	dlqTopic    = "orders.dlq"
	group       = "orderhub"
)

// deadline bounds every wait of these tests; nothing is expected to take long.
const deadline = 60 * time.Second

// bundle is a broker and a database for one test.
type bundle struct {
	t      *testing.T
	ctx    context.Context
	broker *broker.Broker
	url    string // of the tables' owner
	writer string // of the worker's role, if it has one
	db     *sql.DB
	kafka  *kgo.Client
	admin  *kadm.Client
}

// setup runs a broker whose topic of orders has so many partitions, and gives a
// fresh database with the schema. Workers connect as their own role.
func setup(t *testing.T, partitions int32) *bundle {
	t.Helper()
	b := setupOn(t, broker.StartForTest(t, broker.Options{DefaultPartitions: int(partitions)}), postgres.ForTest(t), partitions)
	b.writer = postgres.RolesForTest(t, b.url)[migrations.Writer]
	return b
}

func setupOn(t *testing.T, b *broker.Broker, url string, partitions int32) *bundle {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*deadline)
	t.Cleanup(cancel)
	require.NoError(t, b.CreateTopics(ctx, map[string]broker.Topic{ordersTopic: {Partitions: partitions}}))
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxIdleConns(0) // a connection kept over a restart of the server would be a dead one
	_, err = migrations.Up(ctx, db)
	require.NoError(t, err)
	bundle := &bundle{t: t, ctx: ctx, broker: b, url: url, db: db}
	bundle.connect()
	return bundle
}

// connect gives the bundle a new client, which knows nothing of how the topics
// were before.
func (b *bundle) connect() {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(16<<20))
	require.NoError(b.t, err)
	b.t.Cleanup(client.Close)
	b.kafka, b.admin = client, kadm.NewClient(client)
}

// worker is a running worker in this process.
type worker struct {
	app     *fx.App
	metrics *prometheus.Registry
	admin   *admin.Server
	stopped bool
	t       *testing.T
}

// startWorker starts a worker on the bundle's broker and database, with further
// settings as NAME=value.
func (b *bundle) startWorker(settings ...string) *worker {
	b.t.Helper()
	return b.start(b.settings(settings...))
}

func (b *bundle) start(settings *app.Settings) *worker {
	b.t.Helper()
	w := &worker{t: b.t}
	w.app = fx.New(app.Options(settings), fx.Populate(&w.metrics, &w.admin))
	require.NoError(b.t, w.app.Err())
	require.NoError(b.t, w.app.Start(b.ctx))
	b.t.Cleanup(w.stop)
	return w
}

func (b *bundle) settings(settings ...string) *app.Settings {
	b.t.Helper()
	all := append([]string{
		"KAFKA_BROKERS=" + b.broker.Addr(), "DATABASE_URL=" + cmp.Or(b.writer, b.url), "ADMIN_ADDR=127.0.0.1:0",
		"KAFKA_TOPIC_WATCH_INTERVAL=200ms", "INGEST_LAG_INTERVAL=200ms", "KAFKA_SESSION_TIMEOUT=6s", "LOG_FORMAT=console",
	}, settings...)
	for _, s := range all {
		name, value, _ := strings.Cut(s, "=")
		b.t.Setenv(name, value)
	}
	loaded := &app.Settings{}
	require.NoError(b.t, config.Load(loaded))
	return loaded
}

func (w *worker) stop() {
	if w.stopped {
		return
	}
	w.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	require.NoError(w.t, w.app.Stop(ctx))
}

// metric is value, of a metric that counts something.
func (w *worker) metric(name string, labels ...string) int {
	w.t.Helper()
	return int(w.value(name, labels...))
}

// value sums a metric over the series that have all of the labels (name=value). Of a
// histogram it is the sum, and with _count after the name the number of observations.
func (w *worker) value(name string, labels ...string) float64 {
	w.t.Helper()
	base, counts := strings.CutSuffix(name, "_count")
	families, err := w.metrics.Gather()
	require.NoError(w.t, err)
	var sum float64
	for _, family := range families {
		if family.GetName() != base {
			continue
		}
	series:
		for _, m := range family.GetMetric() {
			have := map[string]bool{}
			for _, l := range m.GetLabel() {
				have[l.GetName()+"="+l.GetValue()] = true
			}
			for _, l := range labels {
				if !have[l] {
					continue series
				}
			}
			if counts {
				sum += float64(m.GetHistogram().GetSampleCount())
			} else {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
			}
		}
	}
	return sum
}

// hasSeries tells whether a metric has a series with the label (name=value).
func (w *worker) hasSeries(name, label string) bool {
	w.t.Helper()
	families, err := w.metrics.Gather()
	require.NoError(w.t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName()+"="+l.GetValue() == label }) {
				return true
			}
		}
	}
	return false
}

// readiness is what /readyz answers.
func (w *worker) readiness() (ready bool, body string) {
	w.t.Helper()
	answer, err := http.Get("http://" + w.admin.Addr() + "/readyz")
	require.NoError(w.t, err)
	defer func() { _ = answer.Body.Close() }()
	var b bytes.Buffer
	_, err = b.ReadFrom(answer.Body)
	require.NoError(w.t, err)
	return answer.StatusCode == http.StatusOK, b.String()
}

// produce sends values to a partition in this order. A nil value is a tombstone.
func (b *bundle) produce(partition int32, values ...[]byte) {
	b.t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: ordersTopic, Partition: partition, Value: v}
	}
	require.NoError(b.t, b.kafka.ProduceSync(b.ctx, records...).FirstErr())
}

// drained waits until the group has committed each partition's end.
func (b *bundle) drained() {
	b.t.Helper()
	b.eventually("the group has committed the ends", func() (bool, string) {
		ends, err := b.admin.ListEndOffsets(b.ctx, ordersTopic)
		if err != nil {
			return false, err.Error()
		}
		committed, err := b.admin.FetchOffsets(b.ctx, group)
		if err != nil {
			return false, err.Error()
		}
		var behind []string
		ends.Each(func(end kadm.ListedOffset) {
			at := int64(0)
			if c, ok := committed.Lookup(end.Topic, end.Partition); ok {
				at = c.At
			}
			if at != end.Offset {
				behind = append(behind, fmt.Sprintf("partition %d: committed %d, end %d", end.Partition, at, end.Offset))
			}
		})
		return len(behind) == 0, strings.Join(behind, "; ")
	})
}

// eventually polls a condition that becomes true without a signal to wait for.
func (b *bundle) eventually(what string, holds func() (bool, string)) {
	b.t.Helper()
	until := time.Now().Add(deadline)
	var detail string
	for time.Now().Before(until) {
		var ok bool
		if ok, detail = holds(); ok {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.t.Fatalf("waited %s in vain until %s: %s", deadline, what, detail)
}

// letter is a dead letter as a consumer of the topic sees it.
type letter struct {
	ID      string
	Value   []byte
	Headers map[string]string
}

// letters reads the whole dead-letter topic, newest letter of each id.
func (b *bundle) letters() map[string]letter {
	b.t.Helper()
	ends, err := b.admin.ListEndOffsets(b.ctx, dlqTopic)
	require.NoError(b.t, err)
	from := map[string]map[int32]kgo.Offset{dlqTopic: {}}
	left := int64(0)
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			from[dlqTopic][end.Partition] = kgo.NewOffset().AtStart()
			left += end.Offset
		}
	})
	found := map[string]letter{}
	if left == 0 {
		return found
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker.Addr()), kgo.ConsumePartitions(from), kgo.FetchMaxPartitionBytes(16<<20))
	require.NoError(b.t, err)
	defer client.Close()
	for left > 0 {
		fetches := client.PollFetches(b.ctx)
		require.NoError(b.t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			l := letter{ID: string(r.Key), Value: r.Value, Headers: map[string]string{}}
			for _, h := range r.Headers {
				l.Headers[h.Key] = string(h.Value)
			}
			found[l.ID] = l
		})
	}
	return found
}

// letterOf finds the letter of a source record.
func (b *bundle) letterOf(partition, offset int) letter {
	b.t.Helper()
	prefix := fmt.Sprintf("%s/%d/%d/", ordersTopic, partition, offset)
	for id, l := range b.letters() {
		if strings.HasPrefix(id, prefix) {
			return l
		}
	}
	b.t.Fatalf("no dead letter %s…", prefix)
	return letter{}
}

// stored reads an order back as its canonical JSON; "" if it is not there.
func (b *bundle) stored(uid string) string {
	b.t.Helper()
	found, err := orderdb.Read(b.ctx, b.db, []string{uid})
	require.NoError(b.t, err)
	if _, ok := found[uid]; !ok {
		return ""
	}
	return string(model.AppendCanonical(nil, found[uid].Order))
}

func (b *bundle) count(table string) (n int) {
	b.t.Helper()
	require.NoError(b.t, b.db.QueryRowContext(b.ctx, "SELECT count(*) FROM "+pgx.Identifier{table}.Sanitize()).Scan(&n))
	return n
}

func (b *bundle) exec(query string, args ...any) {
	b.t.Helper()
	_, err := b.db.ExecContext(b.ctx, query, args...)
	require.NoError(b.t, err)
}

func sample(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/model.json")
	require.NoError(t, err)
	return data
}

// order is the sample with another uid and a mark that tells contents apart.
func order(t testing.TB, uid, mark string) []byte {
	t.Helper()
	var o map[string]any
	d := json.NewDecoder(bytes.NewReader(sample(t)))
	d.UseNumber()
	require.NoError(t, d.Decode(&o))
	o["order_uid"] = uid
	o["internal_signature"] = mark
	data, err := json.Marshal(o)
	require.NoError(t, err)
	return data
}

// canonical is what an order's record is stored as.
func canonical(t testing.TB, record []byte) string {
	t.Helper()
	decoded, err := model.New(model.Options{}).Decode(record)
	require.NoError(t, err)
	return string(model.AppendCanonical(nil, decoded.Order))
}
