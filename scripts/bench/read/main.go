// Command read measures how fast the API answers from memory, compared with a bare gin
// server that answers constant bytes of the same size to the very same requests.
//
// Each measurement has one of the bare server right beside it, so that the ratios hold
// on a noisy machine.
package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole, bareRole) }

var benchmark = program.Benchmark{
	Name:     "read",
	About:    "Requests a second of read-api against a bare gin server that answers constant bytes of the same size. It needs wrk.",
	Document: program.Benchmarks,
}

type settings struct {
	program.Flags
	Orders      int           `default:"100000" full:"100000" smoke:"2000" min:"1" help:"Orders in memory."`
	Others      []int         `default:"10000,3000000" smoke:"1000" min:"1" help:"Measure hits with so many orders too, to compare (empty: none)."`
	Items       int           `default:"1" min:"1" help:"Items of an order."`
	Rounds      int           `default:"7" smoke:"1" min:"1" help:"How often each measurement is made; the table has medians."`
	Duration    time.Duration `default:"2s" smoke:"1s" min:"1s" help:"Length of a measurement, whole seconds."`
	Connections int           `default:"64" smoke:"8" min:"1" help:"Connections of wrk."`
	Threads     int           `default:"2" min:"1" help:"Threads of wrk."`
	Zstd        bool          `default:"true" help:"Measure with CACHE_COMPRESSION=zstd too."`
	IngestRate  int           `default:"5000" smoke:"200" min:"0" help:"Measure again while so many orders a second are ingested, for both servers (0: not measured)."`
}

// AfterApply is called by kong.
func (s *settings) AfterApply() error {
	switch {
	case s.Connections < s.Threads:
		return fmt.Errorf("--connections: at least one for each of %d threads, not %d", s.Threads, s.Connections)
	case slices.Contains(s.Others, s.Orders):
		return fmt.Errorf("--others: %d is --orders itself", s.Orders)
	}
	return nil
}
