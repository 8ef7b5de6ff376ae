package main

import (
	"context"
	"os"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// sample is one measurement, or the state of a meter.
type sample struct {
	orders int
	took   time.Duration
	// CPU time by who used it: the client of the database is the worker, or this
	// program where it copies itself.
	client, database, broker time.Duration
	wal                      int64   // bytes
	commits                  int64   // transactions that wrote
	peak                     int64   // the largest worker's memory, in bytes; 0 where there is none
	allocs                   float64 // of the worker
}

func (s sample) rate() float64         { return float64(s.orders) / s.took.Seconds() }
func (s sample) clientCost() float64   { return s.each(s.client) }
func (s sample) databaseCost() float64 { return s.each(s.database) }
func (s sample) brokerCost() float64   { return s.each(s.broker) }
func (s sample) walCost() float64      { return float64(s.wal) / float64(s.orders) }
func (s sample) batch() float64        { return float64(s.orders) / float64(max(1, s.commits)) }
func (s sample) allocCost() float64    { return s.allocs / float64(s.orders) }
func (s sample) peakMiB() float64      { return float64(s.peak) / (1 << 20) }

// cores is how many cores were busy for us.
func (s sample) cores() float64 {
	return (s.client + s.database + s.broker).Seconds() / s.took.Seconds()
}

// each is a CPU time's share for one order, in microseconds.
func (s sample) each(cpu time.Duration) float64 { return cpu.Seconds() * 1e6 / float64(s.orders) }

// meter reads what has been used so far.
type meter struct {
	server  *rig.Server
	broker  int            // process id; 0: it is not used
	workers []*rig.Service // none: this program is the client
}

func (m meter) read(ctx context.Context) (r sample, err error) {
	if len(m.workers) == 0 {
		if r.client, err = procfs.CPU(os.Getpid()); err != nil {
			return r, err
		}
	}
	for _, w := range m.workers {
		used, err := procfs.CPU(w.Pid())
		if err != nil {
			return r, err
		}
		_, peak, err := procfs.Memory(w.Pid())
		if err != nil {
			return r, err
		}
		metrics, err := w.Metrics(ctx)
		if err != nil {
			return r, err
		}
		r.client += used
		r.peak = max(r.peak, peak)
		r.allocs += metrics["go_memstats_mallocs_total"]
	}
	if m.broker != 0 {
		if r.broker, err = procfs.CPU(m.broker); err != nil {
			return r, err
		}
	}
	if r.wal, r.commits, err = m.server.Written(ctx); err != nil {
		return r, err
	}
	r.database, err = procfs.TreeCPU(m.server.Pid())
	return r, err
}

// during measures what work uses to store so many orders.
func (m meter) during(ctx context.Context, orders int, work func() error) (s sample, err error) {
	before, err := m.read(ctx)
	if err != nil {
		return s, err
	}
	began := time.Now()
	if err := work(); err != nil {
		return s, err
	}
	took := time.Since(began)
	after, err := m.read(ctx)
	return sample{
		orders: orders, took: took, peak: after.peak,
		client: after.client - before.client, database: after.database - before.database, broker: after.broker - before.broker,
		wal: after.wal - before.wal, commits: after.commits - before.commits, allocs: after.allocs - before.allocs,
	}, err
}
