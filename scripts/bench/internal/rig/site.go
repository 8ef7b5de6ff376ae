// Package rig sets up what benchmarks run against: a private PostgreSQL with
// safe settings, the embedded broker in a process of its own, synthetic orders,
// and the real services.
package rig

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
)

// stopTimeout is how long a part may take to stop before it is killed.
const stopTimeout = 20 * time.Second

// Site is a place to measure in: a PostgreSQL server, a broker, and a folder for
// temporary files.
type Site struct {
	*program.Flags
	Folder string
	Server *Server
	Broker *Broker

	version  string // of PostgreSQL
	services []*Service
}

// OpenSite makes a site. The settings of PostgreSQL win over the benchmarks' own.
func OpenSite(ctx context.Context, flags *program.Flags, postgres map[string]string) (s *Site, err error) {
	s = &Site{Flags: flags}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Folder, err = os.MkdirTemp("", "orderhub-bench-"); err != nil {
		return s, err
	}
	if s.Server, err = StartServer(ctx, postgres); err != nil {
		return s, err
	}
	version, err := Query(ctx, s.Server.URL(), pgx.RowTo[string], "SELECT split_part(current_setting('server_version'), ' ', 1)")
	if err != nil {
		return s, err
	}
	s.version = version[0]
	return s, s.RenewBroker()
}

// RenewBroker replaces the broker, which keeps its records in memory, by one
// without topics.
func (s *Site) RenewBroker() (err error) {
	if s.Broker != nil {
		before := s.Broker
		s.Broker = nil
		if err := before.Stop(); err != nil {
			return err
		}
	}
	s.Broker, err = StartBroker()
	return err
}

// Save prints a result, and puts it into the document where there is one.
func (s *Site) Save(section, body string) error { return s.Flags.Save(section, body, s.version) }

// Close stops everything that was started in the site, and removes its files.
func (s *Site) Close() error {
	var errs []error
	for _, service := range slices.Backward(s.services) {
		errs = append(errs, service.Stop())
	}
	if s.Broker != nil {
		errs = append(errs, s.Broker.Stop())
	}
	if s.Server != nil {
		errs = append(errs, s.Server.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.Folder))...)
}

const (
	// originals is how many orders Store makes; the others are copies of them.
	originals = 50_000
	// storedSeed is the seed of the orders that Store makes.
	storedSeed = 2
)

// Store makes orders and stores them, and copies of them under other uids, in the
// template of the server's databases until it holds count.
func (s *Site) Store(ctx context.Context, count, items int) (*Orders, error) {
	program.Progress("storing %d orders", count)
	orders, err := s.MakeOrders(ctx, OrdersOptions{Topic: "stored", Partitions: 1, Count: min(originals, count), Items: items, Seed: storedSeed})
	if err != nil {
		return nil, err
	}
	return orders, s.Server.Preload(ctx, orders, count)
}
