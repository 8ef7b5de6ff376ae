package main

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/apachekafka"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

const (
	topic = "orders"
	dlq   = "orders.dlq"
	group = "orderhub"

	// sessionTimeout is short, so that a killed or frozen worker's partitions soon
	// move to another worker.
	sessionTimeout = 2 * time.Second

	patience = 3 * time.Minute // for what takes seconds on an idle machine
)

// feed is a topic of orders, with its load and the group of its workers.
type feed struct {
	topic, group string
	partitions   int
	uids         string   // begins the order_uids
	settings     []string // of its workers
	expect       func(ctx context.Context, brokers []string, topic string, erased ...string) (*ledger.Expected, error)
	elsewhere    []string // see ledger.World
	progress     *ledger.Progress
	load         *ledger.Load
}

// feeds are one in the default mode, and one whose orders change.
func feeds() []*feed {
	const changing = "changing"
	settings := []string{"KAFKA_TOPIC=" + changing, "KAFKA_GROUP=" + changing, "INGEST_ON_CONFLICT=newest", "INGEST_ON_TOMBSTONE=delete"}
	return []*feed{
		{topic: topic, group: group, partitions: 6, uids: "chaos-", expect: ledger.Expect, elsewhere: []string{handMade, changing}},
		{topic: changing, group: changing, partitions: 3, uids: changing + "-", settings: settings, expect: ledger.ExpectNewest,
			elsewhere: []string{handMade, "chaos-", "nats", topic + "/"}},
	}
}

// site is where everything runs.
type site struct {
	say      func(string, ...any)
	cluster  *apachekafka.Cluster // nil with the embedded broker
	embedded *broker.Broker       // nil with Apache Kafka
	database *postgres.Server
	network  *proxy.Proxy    // to the database
	feeds    []*feed         // the second one only without an earlier release
	life     context.Context // of what watches
	end      context.CancelCauseFunc
	watching sync.WaitGroup
	hand     *hand
	binaries string
	previous string // of an earlier release, which the site begins with; or ""
	logs     string
	workers  []*service
	readers  []*service
	stops    []func(context.Context)
	nats     *natsPart // nil without --nats
	eraser   eraser
}

// start starts everything.
func (s *site) start(ctx context.Context, o options) {
	s.binaries = must.Get(filepath.Abs(o.Binaries))
	for _, name := range []string{workerName, readerName, bridgeName} {
		if _, err := os.Stat(filepath.Join(s.binaries, name)); err != nil {
			must.Succeed(fmt.Errorf("a service's binary: %w (make build makes it)", err))
		}
	}
	s.logs = must.Get(os.MkdirTemp("", "orderhub-chaos-"))
	s.startDatabase(ctx)
	s.startKafka(ctx, o)
	if s.feeds = feeds(); s.previous != "" { // earlier releases may not know versions
		s.feeds = s.feeds[:1]
	}
	for _, f := range s.feeds {
		f.progress = must.Get(ledger.NewProgress(s.brokers(), f.topic, f.group))
		s.onStop(func(context.Context) { f.progress.Close() })
	}
	s.createTopics(ctx)
	must.Succeed(s.migrate(ctx))
	for n := range o.Workers {
		s.workers = append(s.workers, newService(s, workerName, n, ""))
	}
	for _, f := range s.feeds[1:] {
		const workers = 2
		for range workers {
			worker := newService(s, workerName, len(s.workers), "")
			worker.settings = f.settings
			s.workers = append(s.workers, worker)
		}
	}
	for n := range o.Readers {
		s.readers = append(s.readers, newService(s, readerName, n, ports.Loopback(must.Get(ports.Free()))))
	}
	if o.NATS {
		s.startNATS(ctx)
	}
	for _, service := range s.services() {
		must.Succeed(service.start())
		s.onStop(func(context.Context) { _ = service.Kill() })
	}
	s.onStop(func(context.Context) { s.end(nil); s.watching.Wait() })
}

func (s *site) startDatabase(ctx context.Context) {
	port := must.Get(ports.Free())
	s.database = must.Get(postgres.Start(ctx, postgres.Options{Port: port, Unsafe: true, Settings: map[string]string{"max_connections": "100"}}))
	s.onStop(func(ctx context.Context) {
		_ = s.database.Resume() // a frozen server would not stop
		_ = s.database.Stop(ctx)
	})
	s.hand = &hand{url: s.database.URL()}
	s.network = must.Get(proxy.Start(ports.Loopback(port), proxy.Postgres))
	s.onStop(func(context.Context) { s.network.Close() })
}

func (s *site) migrate(ctx context.Context) error {
	if s.previous != "" {
		_, err := s.orderctl(ctx, s.previous, "migrate")
		return err
	}
	db := must.Get(sql.Open("pgx", s.database.URL()))
	defer func() { _ = db.Close() }()
	_, err := migrations.Up(ctx, db)
	return err
}

// orderctl runs the tool of a folder of programs.
func (s *site) orderctl(ctx context.Context, folder string, arguments ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(folder, "orderctl"), arguments...)
	cmd.Dir, cmd.Env = s.logs, append(s.settings(), "ORDERHUB_AUDIT_FILE="+filepath.Join(s.logs, "audit.jsonl"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", cmd, err, &stderr)
	}
	return output, err
}

// startKafka starts Apache Kafka, or the embedded broker where the flags allow or
// ask for it.
func (s *site) startKafka(ctx context.Context, o options) {
	if o.Kafka != kafkaEmbedded {
		cluster, err := apachekafka.Start(ctx, apachekafka.Options{Brokers: o.Brokers})
		var missing *apachekafka.MissingError
		if !errors.As(err, &missing) || o.Kafka == kafkaApache || os.Getenv(process.StrictVariable) != "" {
			s.cluster = must.Get(cluster, err)
			s.onStop(func(context.Context) { _ = s.cluster.Stop() })
			return
		}
		s.say("NOT ON APACHE KAFKA: %v; the embedded broker replaces it, and stays up", err)
	}
	s.embedded = must.Get(broker.Start(ctx, broker.Options{Configs: map[string]string{"group.min.session.timeout.ms": "100"}}))
	s.onStop(func(context.Context) { _ = s.embedded.Stop() })
}

func (s *site) createTopics(ctx context.Context) {
	two, compact, forever := "2", "compact", "-1"
	settings := map[string]*string{}
	if s.cluster != nil && len(s.cluster.Brokers) >= 3 {
		settings["min.insync.replicas"] = &two
	}
	admin := s.feeds[0].progress.Admin()
	for _, f := range s.feeds {
		must.Get(admin.CreateTopic(ctx, int32(f.partitions), -1, settings, f.topic))
	}
	settings["cleanup.policy"], settings["retention.ms"] = &compact, &forever
	must.Get(admin.CreateTopic(ctx, 3, -1, settings, dlq))
}

// brokers are the addresses that bypass the proxies.
func (s *site) brokers() []string {
	if s.embedded != nil {
		return []string{s.embedded.Addr()}
	}
	return s.cluster.Addrs(apachekafka.Plain)
}

// settings are the services' environment. Their connections go through the proxies.
func (s *site) settings() []string {
	brokers := s.brokers()
	if s.cluster != nil {
		brokers = s.cluster.Addrs(apachekafka.Proxied)
	}
	database := strings.Replace(s.database.URL(), ports.Loopback(s.database.Port()), s.network.Addr(), 1)
	settings := append(os.Environ(),
		"KAFKA_BROKERS="+strings.Join(brokers, ","), "KAFKA_TOPIC="+topic, "KAFKA_DLQ_TOPIC="+dlq, "KAFKA_GROUP="+group,
		"DATABASE_URL="+database, "ADMIN_ADDR=127.0.0.1:0", "LOG_FORMAT=json", "LOG_LEVEL=info", "GO_DOTENV_PATH=",
		fmt.Sprint("KAFKA_SESSION_TIMEOUT=", sessionTimeout), "DATABASE_WRITE_TIMEOUT=3s", "INGEST_MAX_BATCH_RECORDS=500",
		"ERASURE_KEY=erased orders stay erased, whatever breaks")
	if s.nats != nil {
		// What a killed bridge had in hand is delivered again after the ack wait.
		settings = append(settings, "NATS_URL=nats://"+ports.Loopback(s.nats.options.Port), "NATS_ACK_WAIT=3s")
	}
	return settings
}

func (s *site) services() []*service {
	all := slices.Concat(s.workers, s.readers)
	if s.nats != nil {
		all = append(all, s.nats.bridge)
	}
	return all
}

// stop stops what runs, in the reverse order of its start. It keeps the logs unless
// they tell nothing.
func (s *site) stop(exact bool) {
	if !exact && s.cluster != nil {
		for _, b := range s.cluster.Brokers {
			_ = os.Rename(b.LogFile, filepath.Join(s.logs, fmt.Sprintf("broker-%d.log", b.ID)))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, stop := range slices.Backward(s.stops) {
		stop(ctx)
	}
	if exact {
		_ = os.RemoveAll(s.logs)
	} else if s.logs != "" {
		s.say("the logs are in %s", s.logs)
	}
}

// onStop has stop called in the end. Errors do not matter then: all data is temporary.
func (s *site) onStop(stop func(context.Context)) { s.stops = append(s.stops, stop) }

// settle waits until the workers have committed everything, and the readers have
// read after that.
func (s *site) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	must.Succeed(s.await(ctx, s.watch(&hit{what: "the end"}, 0)))
	for _, f := range s.feeds {
		must.Succeed(f.progress.DrainInto(ctx, s.database.URL()))
	}
	must.Succeed(s.await(ctx, s.watch(&hit{what: "the last change"}, 0)))
}

func terminate(ctx context.Context, services []*service) {
	for _, service := range services {
		must.Succeed(service.terminate(ctx))
	}
}

// The services' binaries.
const (
	workerName = "ingest-worker"
	readerName = "read-api"
)

// stopPromise is how long a service may take to end after SIGTERM on a loaded
// machine.
const stopPromise = 30 * time.Second

// service is one of the processes, and those that replace it.
type service struct {
	*process.Daemon
	folder   string   // of its program
	addr     string   // of a reader's API
	settings []string // besides the site's
	logSize  int64    // when the process was started
}

func newService(s *site, program string, n int, addr string) *service {
	name := fmt.Sprintf("%s-%d", program, n)
	w := &service{addr: addr, folder: cmp.Or(s.previous, s.binaries)}
	w.Daemon = process.NewDaemon(name, filepath.Join(s.logs, name+".log"), func() *exec.Cmd {
		cmd := exec.Command(filepath.Join(w.folder, program))
		cmd.Dir = s.logs // has no .env
		cmd.Env = append(append(s.settings(), "HTTP_ADDR="+addr), w.settings...)
		return cmd
	})
	return w
}

func (w *service) start() error {
	w.logSize = w.size()
	return w.Start()
}

// size is how long the log is.
func (w *service) size() int64 {
	info, err := os.Stat(w.LogFile)
	if err != nil {
		return 0
	}
	return info.Size()
}

// terminate ends the service with SIGTERM. It must end with exit code 0.
func (w *service) terminate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPromise)
	defer cancel()
	// Before its first log line the process may not handle the signal yet.
	for w.Alive() == nil && w.size() == w.logSize && retry.Sleep(ctx, 5*time.Millisecond) == nil {
	}
	if err := errors.Join(w.Stop(ctx, syscall.SIGTERM), w.Process().Err()); err != nil {
		return fmt.Errorf("stop %s: %w", w.Name, err)
	}
	return nil
}
