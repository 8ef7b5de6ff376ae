package integration

import (
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/platform/service"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/certificates"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/orderctl/internal/doctor"
)

// installation is one without faults: three brokers, a group with a member, a
// database with roles, and what stands for the programs.
type installation struct {
	t      *testing.T
	broker *broker.Broker
	member *kgo.Client
	admin  *kadm.Client
	server *postgres.Server
	db     *sql.DB // as the superuser
	url    string  // of the operator's role
	writer string  // of the worker's role
	api    *playedService
	worker *playedService
}

// playedService stands for the API, or for an admin port.
type playedService struct {
	*httptest.Server
	mu       sync.Mutex
	override map[string]func(http.ResponseWriter, *http.Request)
	normal   http.Handler
}

func playService(t *testing.T, normal http.Handler) *playedService {
	t.Helper()
	p := &playedService{normal: normal}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		answer := p.override[r.URL.Path]
		p.mu.Unlock()
		if answer == nil {
			answer = p.normal.ServeHTTP
		}
		answer(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// answers has a path answered differently until the end of the test.
func (p *playedService) answers(t *testing.T, path string, with func(http.ResponseWriter, *http.Request)) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.override = map[string]func(http.ResponseWriter, *http.Request){path: with}
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.override = nil
	})
}

const (
	doctorToken = "a-token-that-may-read"
	statsPath   = "/api/v1/stats"
	fresh       = `{"orders":20,"synced":true,"staleness_seconds":0.1}`
)

func newInstallation(t *testing.T) *installation {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "KAFKA_") || strings.HasPrefix(name, "ORDERHUB_") && name != "ORDERHUB_TEST_STRICT" {
			t.Setenv(name, "")
		}
	}
	i := &installation{t: t, server: postgres.ServerForTest(t, postgres.Options{Unsafe: true, Settings: map[string]string{"max_connections": "60"}})}
	i.db = openURL(t, i.server.AdminURL()+"&default_query_exec_mode=exec")
	i.db.SetMaxIdleConns(1)
	_, err := migrations.Up(t.Context(), openURL(t, i.server.URL()))
	require.NoError(t, err)
	urls, err := postgres.MakeRoles(t.Context(), i.server.AdminURL(), "orderhub")
	require.NoError(t, err)
	i.url, i.writer = urls[migrations.Operator], urls[migrations.Writer]

	i.broker = broker.StartForTest(t, broker.Options{
		Configs: map[string]string{"default.replication.factor": "3", "min.insync.replicas": "2"},
		Extra:   []kfake.Opt{kfake.Ports(0, 0, 0)},
	})
	t.Setenv("KAFKA_BROKERS", i.broker.Addr())
	require.Zero(t, orderctlRun(t.Context(), "topics").code)
	assigned := make(chan struct{})
	i.member, err = kgo.NewClient(kgo.SeedBrokers(i.broker.Addr()), kgo.ConsumerGroup("orderhub"), kgo.ConsumeTopics(orders), kgo.DisableAutoCommit(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { close(assigned) }))
	require.NoError(t, err)
	t.Cleanup(i.member.Close)
	i.admin = kadm.NewClient(i.member)
	for p := range int32(4) {
		for range 5 {
			i.produce(p, time.Now().Add(-time.Hour*time.Duration(1-min(p, 1)))) // those of the first are an hour old
		}
	}
	<-assigned
	i.commit()
	i.api = playService(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+doctorToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprint(w, fresh)
	}))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(service.NewMetrics("ingest-worker"), promhttp.HandlerOpts{}))
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"ready":true}`) })
	i.worker = playService(t, mux)
	return i
}

func (i *installation) produce(partition int32, at time.Time) {
	i.t.Helper()
	require.NoError(i.t, i.member.ProduceSync(context.Background(), &kgo.Record{Topic: orders, Partition: partition, Value: []byte("x"), Timestamp: at}).FirstErr())
}

// commit has offsets and positions say that all is done, but for those given.
func (i *installation) commit(but ...kgo.EpochOffset) {
	i.t.Helper()
	ctx := context.Background()
	ends, err := i.admin.ListEndOffsets(ctx, orders)
	require.NoError(i.t, err)
	topics, err := i.admin.ListTopics(ctx, orders)
	require.NoError(i.t, err)
	offsets := map[int32]kgo.EpochOffset{}
	for p, end := range ends[orders] {
		offsets[p] = kgo.EpochOffset{Epoch: -1, Offset: end.Offset}
		i.sql(`INSERT INTO ingest_positions VALUES ('orderhub', encode($1, 'hex')::uuid, $2, 'orders', $3)
			ON CONFLICT (consumer_group, topic_id, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset`, topicID(topics), p, end.Offset)
	}
	for p, offset := range but {
		offsets[int32(p)] = offset
	}
	var failed error
	i.member.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{orders: offsets}, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
		failed = err
	})
	require.NoError(i.t, failed)
}

func topicID(topics kadm.TopicDetails) []byte {
	id := topics[orders].ID
	return id[:]
}

func (i *installation) sql(query string, args ...any) {
	i.t.Helper()
	_, err := i.db.ExecContext(context.Background(), query, args...)
	require.NoError(i.t, err, query)
}

// doctor runs the command, and returns what it found: names, in order, and all of it.
func (i *installation) doctor(t *testing.T, environment map[string]string, args ...string) (result, []string, []doctor.Finding) {
	t.Helper()
	for name, value := range map[string]string{
		"KAFKA_BROKERS": i.broker.Addr(), "DATABASE_URL": i.url, "ORDERHUB_API_TOKEN": doctorToken, "ORDERHUB_AUDIT_FILE": filepath.Join(t.TempDir(), "audit.jsonl"),
	} {
		t.Setenv(name, value)
	}
	for name, value := range environment {
		t.Setenv(name, value)
	}
	got := orderctlRun(t.Context(), append([]string{"doctor", "--output", "json", "--api", i.api.URL, "--admin", i.worker.URL}, args...)...)
	var names []string
	var all []doctor.Finding
	for line := range strings.Lines(got.stdout) {
		var f doctor.Finding
		require.NoError(t, json.Unmarshal([]byte(line), &f))
		require.NotEmpty(t, f.Evidence, "%+v", f)
		all = append(all, f)
		if f.Severity != "ok" {
			require.NotEmpty(t, f.Advice, "%+v", f)
			names = append(names, f.Check+"."+f.Name)
		}
	}
	require.NotEmpty(t, all, got.stderr)
	return got, slices.Compact(names), all
}

// doctor finds each of many faults by name, and nothing where there is none.
func TestDoctor(t *testing.T) {
	i := newInstallation(t)
	t.Run("nothing", func(t *testing.T) { testDoctorFindsNothing(t, i) })
	t.Run("silent", func(t *testing.T) { testDoctorGivesUpWhatIsSilent(t, i) })
	t.Run("faults", func(t *testing.T) { testDoctorFindsFaults(t, i) })
	t.Run("older schema", func(t *testing.T) { testDoctorOnTheLastReleasesSchema(t, i) })
}

// On the schema of release 0.1.0 doctor says so, and its other checks say what is right there.
func testDoctorOnTheLastReleasesSchema(t *testing.T, i *installation) {
	t.Helper()
	_, err := migrations.DownTo(t.Context(), openURL(t, i.server.URL()), 3)
	require.NoError(t, err)
	got, names, all := i.doctor(t, nil)
	require.Equal(t, []string{"postgres.schema.outdated"}, names, got.stdout)
	schema := all[slices.IndexFunc(all, func(f doctor.Finding) bool { return f.Name == "outdated" })]
	require.Regexp(t, `version 3.*needs`, schema.Evidence)
	require.Equal(t, "orderctl migrate", schema.Advice)
	require.Equal(t, 1, got.code)

	i.sql(`ALTER TABLE items DISABLE TRIGGER updated`)
	_, names, _ = i.doctor(t, nil)
	require.Contains(t, names, "postgres.triggers.disabled")
}

// A system without faults yields no finding, and nothing is written: the database refuses
// all but notifications, and the brokers get nothing but requests that read.
func testDoctorFindsNothing(t *testing.T, i *installation) {
	t.Helper()
	var mu sync.Mutex
	asked, watching := map[kmsg.Key]bool{}, true
	i.broker.Cluster().Control(func(request kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		if watching {
			i.broker.Cluster().KeepControl()
		}
		asked[kmsg.Key(request.Key())] = true
		return nil, nil, false
	})
	got, names, all := i.doctor(t, map[string]string{"DATABASE_URL": i.url + "&default_transaction_read_only=on"}, "--strict")
	require.Empty(t, names, got.stdout)
	require.Zero(t, got.code)
	require.Len(t, all, 17, "each check says something")
	require.Equal(t, "0 errors, 0 warnings, 0 notices; 17 ok\n", got.stderr)
	mu.Lock()
	defer mu.Unlock()
	watching = false
	for _, reads := range []kmsg.Key{
		kmsg.ApiVersions, kmsg.Metadata, kmsg.DescribeConfigs, kmsg.DescribeGroups, kmsg.FindCoordinator, kmsg.OffsetFetch, kmsg.ListOffsets, kmsg.DescribeACLs,
		kmsg.Heartbeat, kmsg.Fetch, // of the member
	} {
		delete(asked, reads)
	}
	require.Empty(t, asked)
}

// What accepts connections and says nothing does not keep the other checks.
func testDoctorGivesUpWhatIsSilent(t *testing.T, i *installation) {
	t.Helper()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	address := silent.Addr().String()
	began := time.Now()
	_, names, _ := i.doctor(t, map[string]string{"DATABASE_URL": "postgres://orders@" + address + "/orders?sslmode=disable", "KAFKA_BROKERS": address},
		"--api", "http://"+address, "--admin", "http://"+address, "--timeout", "1s")
	require.Less(t, time.Since(began), 10*time.Second)
	require.Subset(t, names, []string{"kafka.brokers.failed", "postgres.server.failed", "api.failed", "programs.unreachable"})
	require.NotContains(t, strings.Join(names, " "), "audit.folder")
}

// Each fault is found by name, and nothing else is.
//
//nolint:thelper // the functions are rows of the table, not helpers
func testDoctorFindsFaults(t *testing.T, i *installation) {
	type settings = map[string]string
	alter := func(topic, name, value string) func(*testing.T) {
		return func(t *testing.T) {
			set := func(op kadm.IncrementalOp) {
				answers, err := i.admin.AlterTopicConfigs(context.Background(), []kadm.AlterConfig{{Op: op, Name: name, Value: &value}}, topic)
				require.NoError(t, err)
				require.NoError(t, answers[0].Err)
			}
			before, err := i.admin.DescribeTopicConfigs(t.Context(), topic)
			require.NoError(t, err)
			for _, c := range before[0].Configs {
				if c.Key == name {
					t.Cleanup(func() { value = c.MaybeValue(); set(kadm.SetConfig) })
				}
			}
			set(kadm.SetConfig)
		}
	}
	undone := func(do, undo string) func(*testing.T) {
		return func(t *testing.T) {
			i.sql(do)
			t.Cleanup(func() { i.sql(undo) })
		}
	}
	create := func(topic string, partitions int32, replicas int16) func(*testing.T) {
		return func(t *testing.T) {
			_, err := i.admin.CreateTopic(t.Context(), partitions, replicas, nil, topic)
			require.NoError(t, err)
		}
	}
	refuse := func(status int) func(*testing.T) {
		return func(t *testing.T) {
			i.api.answers(t, statsPath, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(map[bool]int{true: http.StatusUnauthorized, false: status}[r.Header.Get("Authorization") == ""])
			})
		}
	}
	noKafka := []string{"kafka.topics.not_checked", "kafka.group.not_checked", "kafka.rights.not_checked", "kafka.clock.not_checked", "postgres.positions.not_checked"}
	noDatabase := []string{
		"postgres.schema.not_checked", "postgres.roles.not_checked", "postgres.triggers.not_checked", "postgres.positions.not_checked", "postgres.listen.not_checked",
		"postgres.clock.not_checked", "postgres.connections.not_checked", "postgres.disk.not_checked",
	}
	encrypted := func(t *testing.T) (settings, certificates.Files) {
		files, err := certificates.Make(t.TempDir())
		require.NoError(t, err)
		pair, err := tls.LoadX509KeyPair(files.Server, files.Server)
		require.NoError(t, err)
		b := broker.StartForTest(t, broker.Options{Extra: []kfake.Opt{kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}}), kfake.SeedTopics(4, orders, dlqTopic)}})
		return settings{"KAFKA_BROKERS": b.Addr(), "KAFKA_TLS": "true", "KAFKA_TLS_CA_FILE": files.Authority}, files
	}
	const may = kmsg.ACLResourceTypeTopic
	secured := func(t *testing.T, of []kfake.ACL) settings {
		b := broker.StartForTest(t, broker.Options{Extra: []kfake.Opt{
			kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("SCRAM-SHA-256", "root", "secret"), kfake.SeedTopics(4, orders, dlqTopic),
			kfake.User("SCRAM-SHA-256", "operator", "secret", of...),
			kfake.User("SCRAM-SHA-256", "worker", "secret", allow(kmsg.ACLResourceTypeGroup, "orderhub", kmsg.ACLOperationRead), allow(may, orders, kmsg.ACLOperationRead)),
		}})
		return settings{"KAFKA_BROKERS": b.Addr(), "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256", "KAFKA_SASL_USERNAME": "operator", "KAFKA_SASL_PASSWORD": "secret"}
	}
	looks := []kfake.ACL{
		allow(may, orders, kmsg.ACLOperationRead), allow(may, dlqTopic, kmsg.ACLOperationRead), allow(may, dlqTopic, kmsg.ACLOperationWrite),
		allow(kmsg.ACLResourceTypeGroup, "orderhub", kmsg.ACLOperationDescribe),
	}
	configs := []kfake.ACL{allow(may, orders, kmsg.ACLOperationDescribeConfigs), allow(may, dlqTopic, kmsg.ACLOperationDescribeConfigs)}

	for _, f := range []struct {
		name string // of the finding
		set  settings
		args []string
		make func(*testing.T) // breaks something until the end of the test
		env  func(*testing.T) settings
		also []string // what follows from it
	}{
		{name: "kafka.brokers.unreachable", set: settings{"KAFKA_BROKERS": i.broker.Addr() + ",127.0.0.1:1"}},
		{name: "kafka.brokers.failed", set: settings{"KAFKA_BROKERS": "127.0.0.1:1"}, also: noKafka},
		{name: "kafka.brokers.failed", env: func(t *testing.T) settings {
			s, _ := encrypted(t)
			_, other := encrypted(t)
			s["KAFKA_TLS_CA_FILE"] = other.Authority
			return s
		}, also: noKafka},
		{name: "kafka.topics.missing", set: settings{"KAFKA_DLQ_TOPIC": "absent"}},
		{name: "kafka.topics.no_leader", make: func(t *testing.T) {
			h := i.broker.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: dlqTopic, Partitions: []int32{2}, Err: kerr.LeaderNotAvailable, Count: -1})
			t.Cleanup(h.Remove)
		}, also: []string{"kafka.clock.not_checked"}},
		{name: "kafka.topics.replicas", set: settings{"KAFKA_TOPIC": "single"}, make: create("single", 4, 1), also: []string{"kafka.topics.unwritable", "kafka.group.unassigned"}},
		{name: "kafka.topics.min_insync_replicas", make: alter(orders, "min.insync.replicas", "1")},
		{name: "kafka.topics.cleanup_policy", make: alter(orders, "cleanup.policy", "compact")},
		{name: "kafka.topics.cleanup_policy", make: alter(dlqTopic, "cleanup.policy", "delete")},
		{name: "kafka.topics.max_message_bytes", make: alter(dlqTopic, "max.message.bytes", "1000000")},
		{name: "kafka.topics.retention", make: alter(orders, "retention.ms", "3600000")},
		{name: "kafka.topics.record_size", make: alter(orders, "max.message.bytes", "5000000")},
		{name: "kafka.topics.record_size", set: settings{"INGEST_MAX_RECORD_BYTES": "2000000"}},
		{name: "kafka.group.no_workers", set: settings{"KAFKA_GROUP": "nobody"}},
		{name: "kafka.group.behind", make: func(t *testing.T) {
			i.commit(kgo.EpochOffset{Epoch: -1, Offset: 2})
			t.Cleanup(func() { i.commit() })
		}},
		{name: "kafka.group.records_gone", make: func(t *testing.T) {
			deleted := kadm.Offsets{}
			deleted.AddOffset(orders, 0, 3, -1)
			_, err := i.admin.DeleteRecords(t.Context(), deleted)
			require.NoError(t, err)
			i.commit(kgo.EpochOffset{Epoch: -1, Offset: 1})
			t.Cleanup(func() { i.commit() })
		}},
		{name: "kafka.group.past_end", make: func(t *testing.T) {
			i.commit(kgo.EpochOffset{Epoch: -1, Offset: 100})
			t.Cleanup(func() { i.commit() })
		}, also: []string{"postgres.positions.behind"}},
		{name: "kafka.rights.missing", env: func(t *testing.T) settings { return secured(t, slices.Concat(looks, configs)) },
			also: []string{"kafka.topics.cleanup_policy", "kafka.topics.max_message_bytes", "kafka.group.no_workers"}},
		{name: "kafka.topics.not_checked", env: func(t *testing.T) settings { return secured(t, looks) }, also: []string{"kafka.rights.missing", "kafka.group.no_workers"}},
		{name: "kafka.clock.ahead", make: func(t *testing.T) {
			topic := "future"
			create(topic, 4, 3)(t)
			require.NoError(t, i.member.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Timestamp: time.Now().Add(time.Hour)}).FirstErr())
		}, set: settings{"KAFKA_DLQ_TOPIC": "future"}, also: []string{"kafka.topics.cleanup_policy", "kafka.topics.max_message_bytes"}},
		{name: "postgres.server.failed", set: settings{"DATABASE_URL": "postgres://orders@127.0.0.1:1/orders"}, also: noDatabase},
		{name: "postgres.server.failed", set: settings{"DATABASE_URL": postgres.WithUser(i.url, "orderhub_operator", "wrong")}, also: noDatabase},
		{name: "postgres.schema.outdated", make: undone(`UPDATE orderhub_db_version SET is_applied = false WHERE version_id = (SELECT max(version_id) FROM orderhub_db_version)`,
			`UPDATE orderhub_db_version SET is_applied = true`)},
		{name: "postgres.schema.foreign_tables", make: undone(`ALTER TABLE orders RENAME COLUMN content_hash TO hash`, `ALTER TABLE orders RENAME COLUMN hash TO content_hash`), also: []string{"postgres.roles.failed"}},
		{name: "postgres.schema.invalid_index", make: func(t *testing.T) {
			i.sql(`INSERT INTO orders SELECT 'uid-' || i, 'TRACK', 'WBIL', 'en', '', 'same', 'meest', '9', i, now(), '1' FROM generate_series(1, 2) i`)
			_, err := i.db.ExecContext(t.Context(), `CREATE UNIQUE INDEX CONCURRENTLY broken ON orders (customer_id)`)
			require.Error(t, err)
			t.Cleanup(func() { i.sql(`DROP INDEX broken`); i.sql(`DELETE FROM orders`) })
		}},
		{name: "postgres.schema.no_list_index", make: func(t *testing.T) {
			i.sql(`DROP INDEX orders_newest, orders_customer`)
			t.Cleanup(func() {
				require.NoError(t, migrations.CreateListIndexes(context.Background(), i.db, func(string, string) error { return nil }))
			})
		}},
		{name: "postgres.schema.not_validated", make: undone(`ALTER TABLE orders ADD CONSTRAINT late CHECK (shardkey <> '') NOT VALID`, `ALTER TABLE orders DROP CONSTRAINT late`)},
		{name: "postgres.roles.own_rights", make: undone(`REVOKE UPDATE ON items FROM orderhub_operator`, `GRANT UPDATE ON items TO orderhub_operator`), also: []string{"postgres.roles.missing_rights"}},
		{name: "postgres.roles.missing_rights", make: undone(`REVOKE SELECT ON items FROM orderhub_reader`, `GRANT SELECT ON items TO orderhub_reader`)},
		{name: "postgres.roles.missing_rights", make: undone(`ALTER ROLE orderhub_reader RENAME TO somebody`, `ALTER ROLE somebody RENAME TO orderhub_reader`)},
		{name: "postgres.roles.other_rights", make: undone(`GRANT DELETE ON items TO orderhub_reader`, `REVOKE DELETE ON items FROM orderhub_reader`)},
		{name: "postgres.roles.no_roles", make: undone(`ALTER TABLE orders OWNER TO orders`, `ALTER TABLE orders OWNER TO orderhub_migrate`)},
		{name: "postgres.roles.foreign_key_look_ups", make: func(t *testing.T) {
			require.NoError(t, openURL(t, i.writer+"&application_name=ingest-worker").PingContext(t.Context()))
			undone(`REVOKE SET ON PARAMETER session_replication_role FROM orderhub_writer`, `GRANT SET ON PARAMETER session_replication_role TO orderhub_writer`)(t)
		}},
		{name: "postgres.roles.superuser", set: settings{"DATABASE_URL": i.server.AdminURL()}},
		{name: "postgres.triggers.missing", make: undone(`ALTER TRIGGER updated ON items RENAME TO other`, `ALTER TRIGGER other ON items RENAME TO updated`), also: []string{"postgres.triggers.foreign"}},
		{name: "postgres.triggers.disabled", make: undone(`ALTER TABLE payments DISABLE TRIGGER deleted`, `SELECT order_triggers_enable()`)},
		{name: "postgres.triggers.disabled", make: undone(`ALTER TABLE orders ENABLE TRIGGER ALL`, `SELECT order_triggers_enable()`)},
		{name: "postgres.triggers.foreign", make: undone(`CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER mine BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION mine()`,
			`DROP FUNCTION mine CASCADE`)},
		{name: "postgres.positions.behind", make: func(t *testing.T) {
			i.sql(`UPDATE ingest_positions SET next_offset = 2 WHERE partition = 1`)
			t.Cleanup(func() { i.commit() })
		}},
		{name: "postgres.positions.missing", make: func(t *testing.T) {
			i.sql(`DELETE FROM ingest_positions`)
			t.Cleanup(func() { i.commit() })
		}},
		{name: "postgres.listen.transaction_mode", env: func(t *testing.T) settings { return settings{"DATABASE_URL": pooler(t, i.url, true)} }},
		{name: "postgres.listen.lost", env: func(t *testing.T) settings { return settings{"DATABASE_URL": pooler(t, i.url, false)} }},
		{name: "postgres.clock.skew", set: settings{"DATABASE_URL": i.url + "&search_path=public,pg_catalog"},
			make: undone(`CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT pg_catalog.clock_timestamp() - interval '1 minute' $$`, `DROP FUNCTION public.clock_timestamp`)},
		{name: "postgres.connections.nearly_used", make: func(t *testing.T) {
			for range 45 {
				conn, err := pgx.Connect(t.Context(), i.server.URL())
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close(context.Background()) })
			}
		}},
		{name: "postgres.disk.inactive_slot", make: undone(`SELECT pg_create_physical_replication_slot('forgotten', true)`, `SELECT pg_drop_replication_slot('forgotten')`)},
		{name: "audit.folder.unwritable", set: settings{"ORDERHUB_AUDIT_FILE": "/proc/version/audit.jsonl"}},
		{name: "audit.folder.low_space", set: settings{"ORDERHUB_AUDIT_FILE_BYTES": "1099511627776"}},
		{name: "api.failed", args: []string{"--api", "http://127.0.0.1:1"}},
		{name: "api.failed", make: refuse(http.StatusServiceUnavailable)},
		{name: "api.clock_skew", make: func(t *testing.T) {
			i.api.answers(t, statsPath, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", time.Now().Add(time.Minute).UTC().Format(http.TimeFormat))
				i.api.normal.ServeHTTP(w, r)
			})
		}},
		{name: "api.token_refused", set: settings{"ORDERHUB_API_TOKEN": "another"}},
		{name: "api.token_scopes", make: refuse(http.StatusForbidden)},
		{name: "api.not_checked", set: settings{"ORDERHUB_API_TOKEN": ""}},
		{name: "api.not_checked", args: []string{"--api", ""}},
		{name: "programs.unreachable", args: []string{"--admin", "http://127.0.0.1:1"}},
		{name: "programs.no_metrics", args: []string{"--admin", i.api.URL}},
		{name: "programs.not_ready", make: func(t *testing.T) {
			i.worker.answers(t, "/readyz", func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = fmt.Fprint(w, `{"components":[{"name":"database","detail":"waits for a right"}]}`)
			})
		}},
		{name: "programs.version_skew", make: func(t *testing.T) {
			i.worker.answers(t, "/metrics", func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintln(w, `orderhub_build_info{go="go1",revision="abc",service="read-api",version="v0.0.1"} 1`)
			})
		}},
	} {
		t.Run(f.name, func(t *testing.T) {
			if f.make != nil {
				f.make(t)
			}
			set := f.set
			if f.env != nil {
				set = f.env(t)
			}
			got, names, all := i.doctor(t, set, f.args...)
			require.ElementsMatch(t, append(f.also, f.name), names, got.stdout)
			require.NotContains(t, got.stdout+got.stderr, "secret")
			failed := slices.ContainsFunc(all, func(f doctor.Finding) bool { return f.Severity == "error" })
			require.Equal(t, map[bool]int{true: 1, false: 0}[failed], got.code, got.stderr)
		})
	}

	t.Run("api.open", func(t *testing.T) {
		host := ports.Outward()
		if host == "" {
			t.Skip("this machine has no address but the loopback")
		}
		open := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, fresh) }))
		require.NoError(t, open.Listener.Close())
		var err error
		open.Listener, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
		require.NoError(t, err)
		open.Start()
		defer open.Close()
		_, names, _ := i.doctor(t, nil, "--api", open.URL)
		require.Equal(t, []string{"api.open"}, names)
	})

	t.Run("text", func(t *testing.T) {
		alter(orders, "retention.ms", "3600000")(t)
		i.doctor(t, nil)
		got := orderctlRun(t.Context(), "doctor", "--api", i.api.URL)
		require.Zero(t, got.code, got.stderr)
		require.Contains(t, got.stdout, "ok       postgres.listen: a notification arrived\n")
		require.Contains(t, got.stdout, "warning  kafka.topics.retention: orders: records are kept for 1h0m0s: ")
		require.Contains(t, got.stdout, "\n         kafka-configs.sh --bootstrap-server "+i.broker.Addr()+" --alter --topic orders --add-config retention.ms=604800000\n")
		require.Contains(t, got.stdout, "notice   programs.not_checked: no addresses")
		require.Equal(t, "0 errors, 1 warning, 1 notice; 15 ok\n", got.stderr)
		got, _, _ = i.doctor(t, nil, "--strict")
		require.Equal(t, 1, got.code)
	})
}

func allow(kind kmsg.ACLResourceType, name string, operation kmsg.ACLOperation) kfake.ACL {
	return kfake.ACL{Resource: kind, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: operation, Allow: true}
}

// The document lists the checks and what they may find.
func TestTheDocumentListsWhatDoctorFinds(t *testing.T) {
	document, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "doctor.md"))
	require.NoError(t, err)
	_, list, found := strings.Cut(string(document), "<!-- findings:")
	require.True(t, found)
	list, _, _ = strings.Cut(list, "\n## ")
	var documented, known []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\w+) \\| [^|]+ \\| (.+) \\|$").FindAllStringSubmatch(list, -1) {
		documented = append(documented, strings.Join(row[1:], " | "))
	}
	for _, kind := range doctor.Kinds() {
		known = append(known, documentedAdvice(strings.Join(kind, " | ")))
	}
	require.Equal(t, known, documented)
}

// documentedAdvice has the placeholders as the document has them.
func documentedAdvice(advice string) string {
	return strings.NewReplacer("{fix}", "…", "{brokers}", "…", "{}", "…").Replace(advice)
}
