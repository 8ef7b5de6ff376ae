package kafkatest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/apachekafka"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// stage is what a test has to itself on a cluster that it shares: topics, a
// group, a database, and the processes that it starts.
type stage struct {
	t        *testing.T
	cluster  *apachekafka.Cluster
	world    ledger.World
	progress *ledger.Progress
	env      []string
}

// partitions of the topics that a stage makes.
const partitions = 6

// newStage makes the topics as well, where a number of partitions is given.
func newStage(t *testing.T, cluster *apachekafka.Cluster, orderPartitions int) *stage {
	t.Helper()
	sum := fnv.New32()
	_, _ = sum.Write([]byte(t.Name()))
	name := fmt.Sprintf("t%x", sum.Sum32())
	s := &stage{t: t, cluster: cluster, world: ledger.World{
		Brokers: cluster.Addrs(apachekafka.Plain), Topic: name, DLQ: name + ".dlq", Group: name, Database: postgres.ForTest(t),
	}}
	var err error
	s.progress, err = ledger.NewProgress(s.world.Brokers, s.world.Topic, s.world.Group)
	require.NoError(t, err)
	t.Cleanup(s.progress.Close)
	s.env = append(os.Environ(),
		"KAFKA_BROKERS="+strings.Join(s.world.Brokers, ","), "KAFKA_TOPIC="+s.world.Topic, "KAFKA_DLQ_TOPIC="+s.world.DLQ, "KAFKA_GROUP="+s.world.Group,
		"DATABASE_URL="+s.world.Database, "KAFKA_SESSION_TIMEOUT=3s", "KAFKA_TOPIC_WATCH_INTERVAL=500ms", "GO_DOTENV_PATH=")
	s.orderctl("migrate")
	if orderPartitions > 0 {
		s.createTopic(s.world.Topic, orderPartitions, nil)
		s.createTopic(s.world.DLQ, 3, map[string]string{"cleanup.policy": "compact", "retention.ms": "-1", "max.message.bytes": "8388608"})
	}
	return s
}

// createTopic makes a topic that is replicated where there are brokers for it.
func (s *stage) createTopic(name string, partitions int, settings map[string]string) {
	s.t.Helper()
	configs := map[string]*string{}
	for key, value := range settings {
		configs[key] = &value
	}
	if len(s.cluster.Brokers) >= 3 {
		two := "2"
		configs["min.insync.replicas"] = &two
	}
	eventually(s.t, "topic "+name+" is made", func() error {
		_, err := s.progress.Admin().CreateTopic(bounded(s.t), int32(partitions), -1, configs, name)
		return err
	})
	eventually(s.t, "topic "+name+" has its leaders", func() error {
		_, err := s.progress.Admin().ListEndOffsets(bounded(s.t), name)
		return err
	})
}

// load sends records of every kind.
func (s *stage) load(prefix string) *ledger.Load {
	s.t.Helper()
	client, err := ledger.Client(s.world.Brokers)
	require.NoError(s.t, err)
	s.t.Cleanup(client.Close)
	return ledger.NewLoad(client, rand.New(rand.NewPCG(1, 2)), s.world.Topic, partitions, prefix)
}

// underLoad sends records until the function that it returns is called, which
// returns once all of them are done.
func (s *stage) underLoad(perSecond int) (finish func()) {
	s.t.Helper()
	load := s.load("u")
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- load.Run(ctx, perSecond, deadline) }()
	end := sync.OnceFunc(func() {
		stop()
		require.NoError(s.t, <-done)
	})
	s.t.Cleanup(end)
	return func() {
		s.t.Helper()
		end()
		require.NoError(s.t, s.progress.Drain(bounded(s.t)))
		s.t.Logf("%d records were sent", load.Sent())
	}
}

// flows returns once each partition has committed something that was sent after
// the call.
func (s *stage) flows(what string) {
	s.t.Helper()
	began := time.Now()
	ends, err := s.progress.Ends(bounded(s.t))
	require.NoError(s.t, err)
	require.NoError(s.t, s.progress.Await(bounded(s.t), ends.Plus(1)), what)
	s.t.Logf("%s: flows after %s", what, time.Since(began).Round(10*time.Millisecond))
}

// exact compares everything with what is to become of the topic's records.
func (s *stage) exact() *ledger.Expected {
	s.t.Helper()
	expected, err := ledger.Expect(bounded(s.t), s.world.Brokers, s.world.Topic)
	require.NoError(s.t, err)
	found, err := ledger.Account(bounded(s.t), s.world, expected)
	require.NoError(s.t, err)
	require.True(s.t, found.Exact(), "%d records: %s", expected.Records, found)
	s.t.Logf("%d records: %d stored, %d duplicates, %d conflicts, %d broken; %s",
		expected.Records, len(expected.Orders), expected.Duplicates, expected.Conflicts, expected.Broken, found)
	return expected
}

// orderctl runs a command of the tool, which is to end well.
func (s *stage) orderctl(args ...string) string {
	s.t.Helper()
	stdout, stderr, code := s.tryOrderctl(args...)
	require.Zero(s.t, code, "orderctl %s: %s", strings.Join(args, " "), stderr)
	return stdout
}

func (s *stage) tryOrderctl(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(bounded(s.t), filepath.Join(programs, "orderctl"), args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.env, s.t.TempDir(), &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		require.NoError(s.t, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// each decodes the JSON lines that orderctl prints.
func each[T any](t *testing.T, lines string) (all []T) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(lines))
	for decoder.More() {
		var one T
		require.NoError(t, decoder.Decode(&one))
		all = append(all, one)
	}
	return all
}

// service is a running worker or reader.
type service struct {
	t     *testing.T
	addr  string // of a reader's API
	admin string
	log   string // its file
	proc  *process.Process
	once  sync.Once
}

// worker runs a worker until the end of the test, and waits until it is a member.
func (s *stage) worker(settings ...string) *service {
	s.t.Helper()
	w := s.start("ingest-worker", settings...)
	eventually(s.t, "the worker is ready", w.ready)
	return w
}

func (s *stage) reader() *service {
	s.t.Helper()
	r := s.start("read-api")
	eventually(s.t, "the reader is ready", r.ready)
	s.world.Readers = append(s.world.Readers, r.addr)
	return r
}

func (s *stage) start(name string, settings ...string) *service {
	s.t.Helper()
	return s.startWith(name, nil, settings...)
}

func (s *stage) startWith(name string, arguments []string, settings ...string) *service {
	s.t.Helper()
	folder := s.t.TempDir()
	p := &service{t: s.t, addr: freeAddr(s.t), admin: freeAddr(s.t), log: filepath.Join(folder, "log")}
	log, err := os.Create(p.log)
	require.NoError(s.t, err)
	defer func() { _ = log.Close() }()
	cmd := exec.Command(filepath.Join(programs, name), arguments...)
	cmd.Env = append(append(slices.Clone(s.env), "HTTP_ADDR="+p.addr, "ADMIN_ADDR="+p.admin), settings...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, log, log
	p.proc, err = process.Start(cmd, syscall.SIGKILL)
	require.NoError(s.t, err)
	s.t.Cleanup(func() {
		p.stop(syscall.SIGTERM)
		if s.t.Failed() {
			s.t.Logf("%s: %s", name, p.tail())
		}
	})
	return p
}

// stop ends the service and, for a signal that asks politely, checks that it
// says it ended well.
func (p *service) stop(signal syscall.Signal) {
	p.t.Helper()
	p.once.Do(func() {
		require.NoError(p.t, p.proc.Stop(bounded(p.t), signal))
		if signal != syscall.SIGKILL {
			require.NoError(p.t, p.proc.Err(), "%s", p.tail())
		}
	})
}

func (p *service) pause()  { require.NoError(p.t, p.proc.Signal(syscall.SIGSTOP)) }
func (p *service) resume() { require.NoError(p.t, p.proc.Signal(syscall.SIGCONT)) }

// ready is an error with the reason where the service is not.
func (p *service) ready() error {
	status, body := get("http://" + p.admin + "/readyz")
	if status != http.StatusOK {
		return fmt.Errorf("%d %s", status, body)
	}
	return nil
}

// metric is the sum of a metric over its labels.
func (p *service) metric(name string) (sum float64) {
	p.t.Helper()
	_, text := get("http://" + p.admin + "/metrics")
	for line := range strings.SplitSeq(text, "\n") {
		head, number, _ := strings.Cut(line, " ")
		if head == name || strings.HasPrefix(head, name+"{") {
			value, err := strconv.ParseFloat(number, 64)
			require.NoError(p.t, err, line)
			sum += value
		}
	}
	return sum
}

// whole is the log.
func (p *service) whole() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// tail is the end of the log.
func (p *service) tail() string {
	content := p.whole()
	return content[max(0, len(content)-5000):]
}

// get makes a request; status 0 means that nobody answers.
func get(url string) (status int, body string) {
	answer, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(data)
}

var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func freeAddr(t *testing.T) string {
	t.Helper()
	port, err := ports.Free()
	require.NoError(t, err)
	return ports.Loopback(port)
}

// stored is how many orders the tables have.
func (s *stage) stored() (n int) {
	s.t.Helper()
	db, err := sql.Open("pgx", s.world.Database)
	require.NoError(s.t, err)
	defer func() { _ = db.Close() }()
	require.NoError(s.t, db.QueryRowContext(bounded(s.t), "SELECT count(*) FROM orders").Scan(&n))
	return n
}
