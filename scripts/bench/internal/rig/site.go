package rig

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
)

// Site is a place to measure in: a PostgreSQL server, a broker, and a folder for
// temporary files.
type Site struct {
	*program.Flags
	Folder  string
	Server  *Server // nil until StartServer
	Broker  *Broker // nil until RenewBroker
	Version string  // of PostgreSQL

	services []*Service
}

// NewSite makes a site's folder.
func NewSite(flags *program.Flags) (*Site, error) {
	folder, err := os.MkdirTemp("", "orderhub-bench-")
	return &Site{Flags: flags, Folder: folder}, err
}

// OpenSite makes a site with server and broker. The settings of PostgreSQL win
// over the benchmarks' own.
func OpenSite(ctx context.Context, flags *program.Flags, postgres map[string]string) (*Site, error) {
	s, err := NewSite(flags)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.StartServer(ctx, postgres), s.RenewBroker()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// StartServer starts PostgreSQL with settings that win over the benchmarks' own.
func (s *Site) StartServer(ctx context.Context, postgres map[string]string) (err error) {
	if s.Server, err = StartServer(ctx, postgres, nil); err != nil {
		return err
	}
	s.Version, err = s.Server.Version(ctx)
	return err
}

// RenewBroker starts a broker without topics, instead of the one before, which
// keeps its records in memory.
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
func (s *Site) Save(section, body string) error { return s.Flags.Save(section, body, s.Version) }

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

// originals is how many orders are made to be stored beforehand; the others are
// copies of them under other uids.
const originals = 50_000

// Store makes orders and stores them, and copies of them, in the template of the
// server's databases until it holds count.
func (s *Site) Store(ctx context.Context, count, items int) (*Orders, error) {
	program.Progress("storing %d orders", count)
	orders, err := s.MakeOrders(ctx, OrdersOptions{Topic: "stored", Partitions: 1, Count: min(originals, count), Items: items, Seed: storedSeed})
	if err != nil {
		return nil, err
	}
	return orders, s.Server.Preload(ctx, orders, count)
}
