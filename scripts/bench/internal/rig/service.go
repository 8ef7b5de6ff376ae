package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/httpget"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/poll"
)

// Service is one of the project's programs.
type Service struct {
	*process.Daemon
	admin string // host:port of metrics
}

// service prepares a program with the given settings and an admin port of its own. Its log
// goes to a file in the site's folder.
func (s *Site) service(name string, environment ...string) *Service {
	port := must.Get(ports.Free())
	service := &Service{admin: ports.Loopback(port)}
	service.Daemon = process.NewDaemon(name, filepath.Join(s.Folder, fmt.Sprintf("%s-%d.log", name, port)), func() *exec.Cmd {
		return s.command(context.Background(), name, append(environment, "ADMIN_ADDR="+service.admin, "ADMIN_PPROF=true")...)
	})
	s.services = append(s.services, service)
	return service
}

// start starts a program, and waits until it is ready.
func (s *Site) start(ctx context.Context, service *Service, readyWithin time.Duration) *Service {
	must.Succeed(service.Start())
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	service.waitReady(ctx)
	return service
}

// command prepares one of the project's programs. It runs in the site's folder, so
// that it reads no .env of the caller's.
func (s *Site) command(ctx context.Context, name string, environment ...string) *exec.Cmd {
	binary := must.Get(filepath.Abs(filepath.Join(s.Binaries, name)))
	if _, err := os.Stat(binary); err != nil {
		must.Succeed(fmt.Errorf("%s is missing, `make build` makes it: %w", filepath.Join(s.Binaries, name), err))
	}
	cmd := exec.CommandContext(ctx, binary)
	cmd.Dir, cmd.Env = cmp.Or(s.Folder, os.TempDir()), append(append(os.Environ(), "LOG_LEVEL=info", "LOG_FORMAT=json"), environment...)
	return cmd
}

// kafka is the environment of programs that work on a topic.
func (s *Site) kafka(topic string) []string {
	return []string{"KAFKA_BROKERS=" + s.Broker.Addr, "KAFKA_TOPIC=" + topic, "KAFKA_DLQ_TOPIC=" + topic + ".dlq", "KAFKA_GROUP=" + topic}
}

// OrderctlCommand prepares orderctl to run on a topic.
func (s *Site) OrderctlCommand(ctx context.Context, topic string, arguments ...string) *exec.Cmd {
	cmd := s.command(ctx, "orderctl", s.kafka(topic)...)
	cmd.Args = append(cmd.Args, arguments...)
	return cmd
}

// Orderctl runs orderctl on a topic to its end. An error has its output, and wraps
// an [*exec.ExitError] where it failed by itself.
func (s *Site) Orderctl(ctx context.Context, topic string, arguments ...string) error {
	out, err := s.OrderctlCommand(ctx, topic, arguments...).CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("orderctl %s: %w\n%s", strings.Join(arguments, " "), err, out[max(0, len(out)-2000):])
	}
	return nil
}

// Stop ends the service. [Site.Close] does so, too.
func (s *Service) Stop() { must.Succeed(s.stop()) }

func (s *Service) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return s.Daemon.Stop(ctx, syscall.SIGTERM)
}

func (s *Service) waitReady(ctx context.Context) {
	must.Succeed(s.WaitReady(ctx, func(ctx context.Context) error {
		_, err := s.get(ctx, "/readyz")
		return err
	}))
}

func (s *Service) get(ctx context.Context, path string) ([]byte, error) {
	return httpget.OK(ctx, http.DefaultClient, "http://"+s.admin+path)
}

// Metrics reads metrics by name and labels as they stand in the text, such as
// orderhub_ingest_records_total{outcome="stored"}. A missing one is 0.
func (s *Service) Metrics(ctx context.Context) map[string]float64 {
	return parseMetrics(string(must.Get(s.get(ctx, "/metrics"))))
}

func parseMetrics(text string) map[string]float64 {
	values := map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ') // labels may contain blanks
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		values[line[:at]] = must.Get(strconv.ParseFloat(line[at+1:], 64))
	}
	return values
}

// StartProfile takes a CPU profile of the next seconds in the background, where profiles are
// wanted, and puts it into their folder.
func (s *Site) StartProfile(ctx context.Context, name string, of *Service) {
	if s.Profiles == "" {
		return
	}
	go func() {
		profile, err := of.get(ctx, "/debug/pprof/profile?seconds=5")
		if err == nil {
			err = os.WriteFile(filepath.Join(s.Profiles, name+".cpu.pprof"), profile, 0o600)
		}
		if err != nil {
			Progress("no profile of %s: %v", name, err)
		}
	}()
}

// Reader is a read-api that is ready.
type Reader struct {
	*Service
	Addr    string        // of the API
	Restore time.Duration // from its start until it was ready
	Memory  int64         // then, resident, in bytes
	Peak    int64         // until then, likewise
}

// restoreTimeout is how long a reader may take to read all orders.
const restoreTimeout = 20 * time.Minute

// StartReader starts a read-api on a database, and waits until it is ready.
func (s *Site) StartReader(ctx context.Context, database string, environment ...string) *Reader {
	r := &Reader{Addr: ports.Loopback(must.Get(ports.Free()))}
	began := time.Now()
	r.Service = s.start(ctx, s.service("read-api", append(environment, "DATABASE_URL="+database, "HTTP_ADDR="+r.Addr)...), restoreTimeout)
	r.Restore = time.Since(began)
	used := must.Get(UsageOf(r.Pid()))
	r.Memory, r.Peak = used.Memory, used.Peak
	return r
}

// AwaitLists returns once the reader, which has all orders, finds lists in memory. It gets ready
// before that.
func (r *Reader) AwaitLists(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	must.Succeed(poll.Until(ctx, 100*time.Millisecond, func() error {
		if r.Metrics(ctx)["orderhub_cache_index_bytes"] == 0 {
			return errors.New("lists are read from the database")
		}
		return nil
	}))
}

// ReaderStats are a reader's own figures.
type ReaderStats struct {
	Orders       int64 `json:"orders"`
	JSONBytes    int64 `json:"json_bytes"`
	Bytes        int64 `json:"bytes"`
	Rounds       int64 `json:"rounds"`
	Relists      int64 `json:"relists"`
	ReadThroughs int64 `json:"read_throughs"`
	Complete     bool  `json:"complete"`
}

// Stats asks the reader for its figures.
func (r *Reader) Stats(ctx context.Context) (stats ReaderStats) {
	must.Succeed(r.GetJSON(ctx, "/api/v1/stats", &stats))
	return stats
}

// GetJSON asks the API for JSON.
func (r *Reader) GetJSON(ctx context.Context, path string, to any) error {
	return httpget.JSON(ctx, http.DefaultClient, "http://"+r.Addr+path, to)
}

// Order requests an order from the API, unless it still has the tag.
func (r *Reader) Order(ctx context.Context, client *http.Client, uid, tag string) httpget.Answer {
	headers := map[string]string{"Accept-Encoding": "identity"} // each encoding has its own tag
	if tag != "" {
		headers["If-None-Match"] = tag
	}
	return must.Get(httpget.Do(ctx, client, "http://"+r.Addr+"/order/"+uid, headers))
}

// patience is how long a single order may take.
const patience = 30 * time.Second

// Await requests an order as long as the answer is the given one, and returns at the
// first 200. It rests between requests, so as not to take a core from what it measures.
func (r *Reader) Await(ctx context.Context, client *http.Client, uid, tag string, not int, rest time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		switch status := r.Order(ctx, client, uid, tag).Status; status {
		case http.StatusOK:
			return
		case not:
			time.Sleep(rest)
		default:
			must.Succeed(fmt.Errorf("order %s: the API answers %d", uid, status))
		}
	}
}

// Metrics of the services that the programs look at.
const (
	MetricStored     = `orderhub_ingest_records_total{outcome="stored"}`
	MetricReplaced   = `orderhub_ingest_records_total{outcome="replaced"}`
	MetricDuplicate  = `orderhub_ingest_records_total{outcome="duplicate"}`
	MetricDeadLetter = `orderhub_ingest_records_total{outcome="dead_letter"}`
	MetricCached     = `orderhub_cache_orders`
	MetricCacheBytes = `orderhub_cache_bytes`
)

// workerTimeout is how long workers may take to be ready, and to join their group.
const workerTimeout = time.Minute

// StartWorker starts an ingest-worker on a topic, and waits until it is ready.
func (s *Site) StartWorker(ctx context.Context, topic, database string, environment ...string) *Service {
	return s.start(ctx, s.Worker(topic, database, environment...), workerTimeout)
}

// StartBridge starts a nats-bridge into a topic, and waits until it is ready.
func (s *Site) StartBridge(ctx context.Context, topic string, environment ...string) *Service {
	return s.start(ctx, s.service("nats-bridge", append(s.kafka(topic), environment...)...), workerTimeout)
}

// HoldWorkers starts workers of a group and returns once all of them have joined it
// and have asked for records, which the broker holds back until [Site.Drain].
func (s *Site) HoldWorkers(ctx context.Context, count int, topic, group, database string, environment ...string) (workers []*Service) {
	ctx, cancel := context.WithTimeout(ctx, workerTimeout)
	defer cancel()
	s.Hold(ctx, group, count, func() {
		for range count {
			workers = append(workers, s.StartWorker(ctx, topic, database, append(environment, "KAFKA_GROUP="+group)...))
		}
	})
	for _, worker := range workers { // the rebalance may have interrupted them
		worker.waitReady(ctx)
	}
	return workers
}

// Hold calls start, which starts the members of a group, and returns once all of them have
// joined it. The broker holds all records back until [Site.Release].
func (s *Site) Hold(ctx context.Context, group string, members int, start func()) {
	s.Broker.hold()
	start()
	s.Broker.waitMembers(ctx, group, members)
}

// Release ends what Hold began.
func (s *Site) Release() { s.Broker.release() }

// Worker prepares an ingest-worker.
func (s *Site) Worker(topic, database string, environment ...string) *Service {
	return s.service("ingest-worker", append(append(s.kafka(topic), "DATABASE_URL="+database), environment...)...)
}

// Drain releases the records, and returns once the workers have stored so many orders, or newer
// versions of stored ones.
func (s *Site) Drain(ctx context.Context, workers []*Service, orders int) {
	s.Release()
	await(ctx, orders, func() (stored int) {
		for _, w := range workers {
			metrics := w.Metrics(ctx)
			CheckNew(metrics)
			stored += int(metrics[MetricStored] + metrics[MetricReplaced])
		}
		return stored
	})
}

// AwaitRows returns once a table has so many rows, whoever stores them.
func AwaitRows(ctx context.Context, database, table string, rows int) {
	await(ctx, rows, func() int { return Query[int](ctx, database, "SELECT count(*) FROM "+table)[0] })
}

// await returns once so many orders are stored. It counts rarely at first, since that costs
// who stores them a little.
func await(ctx context.Context, orders int, count func() int) {
	began := time.Now()
	for stored := count(); stored < orders; stored = count() {
		must.Succeed(retry.Sleep(ctx, untilNextLook(time.Since(began), stored, orders)))
	}
}

// StopAll ends services. [Site.Close] tells what did not stop.
func StopAll(services []*Service) {
	for _, s := range services {
		_ = s.stop()
	}
}

// CheckNew ends the benchmark where a worker took an order for a dead letter or a
// duplicate. The benchmarks' orders are valid and new.
func CheckNew(metrics map[string]float64) {
	if wrong := metrics[MetricDeadLetter] + metrics[MetricDuplicate]; wrong > 0 {
		must.Succeed(fmt.Errorf("%.0f valid new orders became dead letters or duplicates", wrong))
	}
}

const shortestLook, longestLook = 5 * time.Millisecond, 500 * time.Millisecond

// untilNextLook is half of the time that the rest will take, by the rate so far.
func untilNextLook(since time.Duration, stored, orders int) time.Duration {
	if stored == 0 {
		return 10 * shortestLook
	}
	rest := time.Duration(float64(since) * float64(orders-stored) / float64(stored))
	return min(max(rest/2, shortestLook), longestLook)
}
