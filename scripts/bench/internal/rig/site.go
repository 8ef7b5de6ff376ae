package rig

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
)

// Site is a place to measure in: a server, a broker, and a folder for what is
// written on the way.
type Site struct {
	Server  *Server
	Broker  *Broker
	Folder  string
	Version string // PostgreSQL's
}

// OpenSite sets up a site. postgres are settings that win over the benchmarks'
// own.
func OpenSite(ctx context.Context, postgres map[string]string) (*Site, error) {
	s := &Site{}
	if err := s.open(ctx, postgres); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Site) open(ctx context.Context, postgres map[string]string) (err error) {
	if s.Folder, err = os.MkdirTemp("", "orderhub-bench-"); err != nil {
		return err
	}
	if s.Server, err = StartServer(ctx, postgres, nil); err != nil {
		return err
	}
	if s.Version, err = s.Server.Version(ctx); err != nil {
		return err
	}
	s.Broker, err = StartBroker()
	return err
}

// Close removes everything.
func (s *Site) Close() error {
	var errs []error
	if s.Broker != nil {
		errs = append(errs, s.Broker.Stop())
	}
	if s.Server != nil {
		errs = append(errs, s.Server.Stop())
	}
	if s.Folder != "" {
		errs = append(errs, os.RemoveAll(s.Folder))
	}
	return errors.Join(errs...)
}

// StartWorker starts an ingest-worker on a topic, and waits until it is ready.
func StartWorker(ctx context.Context, binaries string, s *Site, topic, database string, environment ...string) (*Service, error) {
	w, err := StartService(binaries, "ingest-worker", s.Folder, append([]string{
		"KAFKA_BROKERS=" + s.Broker.Addr, "KAFKA_TOPIC=" + topic, "KAFKA_DLQ_TOPIC=" + topic + ".dlq", "KAFKA_GROUP=" + topic,
		"DATABASE_URL=" + database, "LOG_LEVEL=info", "LOG_FORMAT=json",
	}, environment...)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := w.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, w.Stop())
	}
	return w, nil
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
func StartReader(ctx context.Context, binaries, folder, database string, environment ...string) (*Reader, error) {
	port, err := ports.Free()
	if err != nil {
		return nil, err
	}
	r := &Reader{Addr: ports.Loopback(port)}
	began := time.Now()
	r.Service, err = StartService(binaries, "read-api", folder, append([]string{
		"DATABASE_URL=" + database, "HTTP_ADDR=" + r.Addr, "LOG_LEVEL=info", "LOG_FORMAT=json",
	}, environment...)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	if err := r.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	r.Restore = time.Since(began)
	var errs [2]error
	r.Memory, errs[0] = procfs.Memory(r.Pid())
	r.Peak, errs[1] = procfs.PeakMemory(r.Pid())
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}
