package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/devstack/broker"
	"github.com/orderhub/orderhub/libs/devstack/postgres"
	"github.com/orderhub/orderhub/migrations"
)

const (
	topic      = "orders"
	dlq        = "orders.dlq"
	group      = "orderhub"
	partitions = 6

	// sessionTimeout is short, so that a killed worker's partitions are soon
	// another's, and a stopped worker is taken for dead within a short stop.
	sessionTimeout = 2 * time.Second

	patience = 2 * time.Minute // for what takes seconds on a machine at ease
)

// site is where the workers run: broker, database, and their processes.
type site struct {
	broker   *broker.Broker
	database *postgres.Server
	client   *kgo.Client
	binary   string
	logs     string
	workers  []*worker
}

// start brings everything up.
func start(ctx context.Context, o options) (*site, error) {
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("the worker's binary: %w (make build makes it)", err)
	}
	s := &site{binary: binary}
	if err := s.start(ctx, o.workers); err != nil {
		s.stop(true)
		return nil, err
	}
	return s, nil
}

func (s *site) start(ctx context.Context, workers int) (err error) {
	if s.logs, err = os.MkdirTemp("", "orderhub-chaos-"); err != nil {
		return err
	}
	if s.database, err = postgres.Start(ctx, postgres.Options{Unsafe: true}); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	if err := s.query(func(db *sql.DB) error { _, err := migrations.Up(ctx, db); return err }); err != nil {
		return err
	}
	s.broker, err = broker.Start(ctx, broker.Options{
		Topics:  map[string]broker.Topic{topic: {Partitions: partitions}, dlq: {Partitions: 3}},
		Configs: map[string]string{"group.min.session.timeout.ms": "100"},
	})
	if err != nil {
		return err
	}
	if s.client, err = kgo.NewClient(kgo.SeedBrokers(s.broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		return err
	}
	for range workers {
		w := &worker{site: s, id: len(s.workers)}
		s.workers = append(s.workers, w)
		if err := w.start(); err != nil {
			return err
		}
	}
	return nil
}

// stop ends all that runs, in any state of the site.
func (s *site) stop(removeLogs bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, w := range s.workers {
		w.kill(ctx)
	}
	if s.client != nil {
		s.client.Close()
	}
	if s.broker != nil {
		_ = s.broker.Stop() // it is in memory
	}
	if s.database != nil {
		_ = s.database.Stop(ctx) // its folder is removed
	}
	if removeLogs && s.logs != "" {
		_ = os.RemoveAll(s.logs)
	}
}

// query uses the database over a connection of its own: one that is kept would
// break when the server is killed.
func (s *site) query(use func(*sql.DB) error) error {
	db, err := sql.Open("pgx", s.database.URL())
	if err != nil {
		return err
	}
	return errors.Join(use(db), db.Close())
}

// offsets are the partitions' ends, or what is committed.
type offsets [partitions]int64

func (s *site) ends() (ends offsets) {
	for _, p := range s.broker.Cluster().PartitionInfos(topic) {
		ends[p.Partition] = p.HighWatermark
	}
	return ends
}

func (s *site) committed() (at offsets, g *kfake.GroupInfo) {
	g = s.broker.Cluster().GroupInfo(group)
	if g == nil {
		return at, nil
	}
	for partition, commit := range g.Commits[topic] {
		at[partition] = commit.Offset
	}
	return at, g
}

func (o offsets) reach(goal offsets) bool {
	for i := range o {
		if o[i] < goal[i] {
			return false
		}
	}
	return true
}

// await waits until the workers have committed up to goal.
func (s *site) await(ctx context.Context, goal offsets) error {
	until, haunted := time.Now().Add(patience), time.Time{}
	for {
		at, g := s.committed()
		switch {
		case at.reach(goal):
			return nil
		case time.Now().After(until):
			return fmt.Errorf("stuck for %s: committed are %v of %v; the group: %+v", patience, at, goal, g)
		case g == nil || g.State != "Stable" || len(g.Members) <= len(s.workers):
			haunted = time.Time{}
		case haunted.IsZero():
			haunted = time.Now()
		case time.Since(haunted) > 3*sessionTimeout:
			// Of a member that dies while it joins, kfake does not watch the
			// session: it stays, with its partitions, until the next rebalance.
			if err := s.workers[0].restart(ctx); err != nil {
				return err
			}
			haunted = time.Time{}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// drain waits until all is taken in.
func (s *site) drain(ctx context.Context) error { return s.await(ctx, s.ends()) }

func (s *site) stopWorkers(ctx context.Context) error {
	var errs []error
	for _, w := range s.workers {
		errs = append(errs, w.terminate(ctx))
	}
	return errors.Join(errs...)
}
