package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
)

// Service is one of the project's programs, running.
type Service struct {
	Admin  string // host:port of metrics and pprof
	daemon *process.Daemon
}

// StartService starts a program with the given settings and an admin port of its
// own. Its log goes to a file in the site's folder.
func (s *Site) StartService(name string, environment ...string) (*Service, error) {
	port, err := ports.Free()
	if err != nil {
		return nil, err
	}
	admin := ports.Loopback(port)
	cmd, err := s.command(context.Background(), name, append(environment, "ADMIN_ADDR="+admin)...)
	if err != nil {
		return nil, err
	}
	service := &Service{Admin: admin}
	log := filepath.Join(s.Folder, fmt.Sprintf("%s-%d.log", name, port))
	service.daemon = process.NewDaemon(name, log, func() *exec.Cmd { return cmd })
	s.services = append(s.services, service)
	return service, service.daemon.Start()
}

// command prepares one of the project's programs. It runs in the site's folder, so
// that it reads no .env of the caller's.
func (s *Site) command(ctx context.Context, name string, environment ...string) (*exec.Cmd, error) {
	program, err := filepath.Abs(filepath.Join(s.Binaries, name))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%s is missing, `make build` makes it: %w", filepath.Join(s.Binaries, name), err)
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Dir, cmd.Env = s.Folder, append(os.Environ(), environment...)
	return cmd, nil
}

// Pid is the process id.
func (s *Service) Pid() int { return s.daemon.Process().Pid() }

// WaitReady returns when the service says that it is ready.
func (s *Service) WaitReady(ctx context.Context) error {
	return s.daemon.WaitReady(ctx, func(ctx context.Context) error {
		body, err := s.get(ctx, "/readyz")
		if err != nil {
			return err
		}
		return body.Close()
	})
}

// Metrics reads metrics by name and labels as they stand in the text, such as
// orderhub_ingest_records_total{outcome="stored"}. One that is missing is 0.
func (s *Service) Metrics(ctx context.Context) (map[string]float64, error) {
	body, err := s.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return parseMetrics(body)
}

func parseMetrics(text io.Reader) (map[string]float64, error) {
	values := map[string]float64{}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ') // labels may contain blanks
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", line[:at], err)
		}
		values[line[:at]] = value
	}
	return values, lines.Err()
}

// Profile takes a profile from pprof, such as profile?seconds=5, into a file.
func (s *Service) Profile(ctx context.Context, what, file string) error {
	body, err := s.get(ctx, "/debug/pprof/"+what)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, body)
	return errors.Join(err, out.Close())
}

func (s *Service) get(ctx context.Context, path string) (io.ReadCloser, error) {
	return get(ctx, "http://"+s.Admin+path)
}

// get asks for what is answered with 200.
func get(ctx context.Context, address string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
		_ = response.Body.Close()
		return nil, fmt.Errorf("%s answers %s: %s", address, response.Status, body)
	}
	return response.Body, nil
}

// Stop ends the service. [Site.Close] does it, too.
func (s *Service) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return s.daemon.Stop(ctx, syscall.SIGTERM)
}

// StartWorker starts an ingest-worker on a topic, and waits until it is ready.
func (s *Site) StartWorker(ctx context.Context, topic, database string, environment ...string) (*Service, error) {
	w, err := s.StartService("ingest-worker", append(append(s.kafka(topic), "DATABASE_URL="+database), environment...)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return w, w.WaitReady(ctx)
}

// kafka is the environment of programs that work on a topic.
func (s *Site) kafka(topic string) []string {
	return []string{
		"KAFKA_BROKERS=" + s.Broker.Addr, "KAFKA_TOPIC=" + topic, "KAFKA_DLQ_TOPIC=" + topic + ".dlq", "KAFKA_GROUP=" + topic,
		"LOG_LEVEL=info", "LOG_FORMAT=json",
	}
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
func (s *Site) StartReader(ctx context.Context, database string, environment ...string) (*Reader, error) {
	port, err := ports.Free()
	if err != nil {
		return nil, err
	}
	r := &Reader{Addr: ports.Loopback(port)}
	began := time.Now()
	r.Service, err = s.StartService("read-api", append([]string{
		"DATABASE_URL=" + database, "HTTP_ADDR=" + r.Addr, "LOG_LEVEL=info", "LOG_FORMAT=json",
	}, environment...)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	if err := r.WaitReady(ctx); err != nil {
		return nil, err
	}
	r.Restore = time.Since(began)
	r.Memory, r.Peak, err = procfs.Memory(r.Pid())
	return r, err
}

// ReaderStats are what a reader says of itself.
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
func (r *Reader) Stats(ctx context.Context) (stats ReaderStats, err error) {
	err = GetJSON(ctx, "http://"+r.Addr+"/api/v1/stats", &stats)
	return stats, err
}

// GetJSON asks for JSON.
func GetJSON(ctx context.Context, address string, to any) error {
	body, err := get(ctx, address)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if err := json.NewDecoder(body).Decode(to); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	return nil
}
