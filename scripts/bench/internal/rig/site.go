// Package rig sets up what benchmarks run against: a private PostgreSQL with
// safe settings, the embedded broker in a process of its own, synthetic orders,
// and the real services.
//
// Its functions return no errors. What fails ends the benchmark, as [must.Succeed] does.
package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// stopTimeout is how long a part may take to stop before it is killed.
const stopTimeout = 20 * time.Second

// Site is a place to measure in: a PostgreSQL server, a broker, and a folder for
// temporary files.
type Site struct {
	*Flags
	Folder string
	Server *Server
	Broker *Broker

	version  string // of PostgreSQL
	services []*Service
}

// OpenSite makes a site. The settings of PostgreSQL win over the benchmarks' own.
func OpenSite(ctx context.Context, flags *Flags, postgres map[string]string) *Site {
	s := &Site{Flags: flags}
	opened := false
	defer func() {
		if !opened {
			s.Close()
		}
	}()
	s.Folder = must.Get(os.MkdirTemp("", "orderhub-bench-"))
	s.Server = startServer(ctx, postgres)
	s.version = Query[string](ctx, s.Server.URL(), "SELECT split_part(current_setting('server_version'), ' ', 1)")[0]
	s.RenewBroker(ctx)
	opened = true
	return s
}

// RenewBroker replaces the broker, which keeps its records in memory, by one
// without topics.
func (s *Site) RenewBroker(ctx context.Context) {
	if s.Broker != nil {
		must.Succeed(s.Broker.stop())
	}
	s.Broker = startBroker(ctx)
}

// Save prints a result, and replaces the section of the document where there is one.
func (s *Site) Save(section, body string) {
	fmt.Println(body)
	if s.Document != "" {
		command := strings.Join(append([]string{"make build && go run ./scripts/bench"}, s.Arguments...), " ")
		must.Succeed(report.Save(s.Document, section, body+"\n"+report.Heading(s.version, command)))
	}
}

// Close stops everything that was started in the site, and removes its files. What
// does not stop is told: the benchmark may have ended by another failure already.
func (s *Site) Close() {
	var errs []error
	for _, service := range slices.Backward(s.services) {
		errs = append(errs, service.stop())
	}
	if s.Broker != nil {
		errs = append(errs, s.Broker.stop())
	}
	if s.Server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		errs = append(errs, s.Server.Stop(ctx))
	}
	if err := errors.Join(append(errs, os.RemoveAll(s.Folder))...); err != nil {
		Progress("%v", err)
	}
}

const (
	// originals is how many orders Store makes; the others are copies of them.
	originals = 50_000
	// storedSeed is the seed of the orders that Store makes.
	storedSeed = 2
)

// Store makes orders and stores them, and copies of them under other uids, in the
// template of the server's databases until it holds count. alter may change each before.
func (s *Site) Store(ctx context.Context, count, items int, alter func(*model.Order)) *Orders {
	orders := s.MakeOrders(ctx, OrdersOptions{Topic: "stored", Partitions: 1, Count: min(originals, count), Items: items, Seed: storedSeed, Alter: alter})
	Progress("storing %d orders", count)
	s.Server.Preload(ctx, orders, count)
	return orders
}
