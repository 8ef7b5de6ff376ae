package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/orderhub/orderhub/libs/devstack/ports"
	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/report"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// originals is how many orders are made; the rest of those that are stored are
// copies of them under other uids.
const originals = 50_000

// asked is from how many different orders wrk chooses.
const asked = 100_000

// restoreTimeout is how long the API may take to read all orders.
const restoreTimeout = 10 * time.Minute

func progress(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func bench(ctx context.Context, s settings) (err error) {
	folder, err := os.MkdirTemp("", "orderhub-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	wrk, err := newWrk(folder, s.threads, s.connections)
	if err != nil {
		return err
	}
	server, err := rig.StartServer(ctx, nil, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	version, err := server.Version(ctx)
	if err != nil {
		return err
	}
	broker, err := rig.StartBroker()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Stop()) }()
	database, err := store(ctx, s, server, broker, folder)
	if err != nil {
		return err
	}
	api, err := startAPI(ctx, s, database, folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, api.Stop()) }()
	progress("%d orders restored in %v, %d MiB resident", s.orders, api.restore.Round(time.Millisecond), api.memory>>20)

	chosen, err := choose(ctx, database, api.addr, folder, asked)
	if err != nil {
		return err
	}
	bare, err := startBare(chosen.size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.Stop()) }()
	stopIngest, err := startIngest(ctx, s, broker, database, folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopIngest()) }()
	targets := []target{
		{"bare gin, constant bytes", bare.Addr, bare.Pid(), chosen.hits, 0},
		{"hits (200)", api.addr, api.Pid(), chosen.hits, 0},
		{"not modified (304)", api.addr, api.Pid(), chosen.notModified, 0},
		{"not found (404)", api.addr, api.Pid(), chosen.notFound, 1},
	}
	measured, err := rounds(ctx, s, wrk, targets)
	if err != nil {
		return err
	}
	heading := report.Heading(version, report.Command("make build && go run ./scripts/bench/read"))
	body := table(s, chosen.size, targets, measured) + "\n" + lines(s, api, measured)
	fmt.Println(body)
	if s.document == "" {
		return nil
	}
	return report.Save(s.document, s.section, body+"\n"+heading)
}

// store fills a database with the orders.
func store(ctx context.Context, s settings, server *rig.Server, broker *rig.Broker, folder string) (database string, err error) {
	progress("storing %d orders", s.orders)
	orders, err := rig.MakeOrders(ctx, broker, rig.OrdersOptions{
		Binaries: s.binaries, Topic: "stored", Partitions: 1, Count: min(originals, s.orders), Items: s.items, Seed: 1,
		BatchSize: 2000, Folder: folder,
	})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, orders.Close()) }()
	if err := server.Preload(ctx, orders, s.orders); err != nil {
		return "", err
	}
	database, _, err = server.Fresh(ctx) // it goes with the server
	return database, err
}

// api is read-api, ready.
type api struct {
	*rig.Service
	addr    string
	restore time.Duration // from its start until it was ready
	memory  int64         // then, in bytes
}

func startAPI(ctx context.Context, s settings, database, folder string) (*api, error) {
	port, err := ports.Free()
	if err != nil {
		return nil, err
	}
	a := &api{addr: ports.Loopback(port)}
	began := time.Now()
	a.Service, err = rig.StartService(s.binaries, "read-api", folder,
		"DATABASE_URL="+database, "HTTP_ADDR="+a.addr, "CACHE_COMPRESSION="+s.compression, "LOG_LEVEL=info", "LOG_FORMAT=json")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	if err := a.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	a.restore = time.Since(began)
	a.memory, err = procfs.Memory(a.Pid())
	return a, err
}

// startIngest keeps new orders coming, where that is wanted.
func startIngest(ctx context.Context, s settings, broker *rig.Broker, database, folder string) (stop func() error, err error) {
	if s.ingestRate == 0 {
		return func() error { return nil }, nil
	}
	const topic = "ingested"
	worker, err := rig.StartService(s.binaries, "ingest-worker", folder, "KAFKA_BROKERS="+broker.Addr, "KAFKA_TOPIC="+topic,
		"KAFKA_DLQ_TOPIC="+topic+".dlq", "DATABASE_URL="+database)
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := worker.WaitReady(ready); err != nil {
		return nil, errors.Join(err, worker.Stop())
	}
	stopPublishing, err := rig.Publish(s.binaries, folder, broker, topic, "--quiet", "--seed", "3", "--items", strconv.Itoa(s.items),
		"--count", strconv.Itoa(s.ingestRate*3600), "--rate", strconv.Itoa(s.ingestRate))
	if err != nil {
		return nil, errors.Join(err, worker.Stop())
	}
	return func() error { return errors.Join(stopPublishing(), worker.Stop()) }, nil
}
