package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
)

// settings are the flags.
type settings struct {
	*program.Flags
	orders      int
	others      program.List
	items       int
	rounds      int
	duration    time.Duration
	connections int
	threads     int
	zstd        bool
	ingestRate  int
}

// fullSize is from how many orders on the result goes into the document without
// being asked for.
const fullSize = 100_000

func parseFlags(args []string, output io.Writer) (settings, error) {
	s := settings{others: program.List{10_000, 3_000_000}}
	s.Flags = program.NewFlags("bench-read", "requests a second of read-api against a bare gin server that answers\nconstant bytes of the same size. It needs wrk.",
		fmt.Sprintf("with --orders from %d on", fullSize), output)
	s.IntVar(&s.orders, "orders", fullSize, "orders in memory")
	s.Var(&s.others, "others", "measure hits with so many orders too, to compare; empty: don't")
	s.IntVar(&s.items, "items", 1, "items of an order")
	s.IntVar(&s.rounds, "rounds", 7, "how often each measurement is made; the table has medians")
	s.DurationVar(&s.duration, "duration", 2*time.Second, "length of a measurement, whole seconds")
	s.IntVar(&s.connections, "connections", 64, "connections of wrk")
	s.IntVar(&s.threads, "threads", 2, "threads of wrk")
	s.BoolVar(&s.zstd, "zstd", true, "measure with CACHE_COMPRESSION=zstd too")
	s.IntVar(&s.ingestRate, "ingest-rate", 5000, "measure again while so many orders a second are ingested, for both servers (0: don't)")
	if err := s.Parse(args); err != nil {
		return s, err
	}
	s.Shrink(map[string]func(){
		"orders":      func() { s.orders = 2000 },
		"others":      func() { s.others = program.List{1000} },
		"rounds":      func() { s.rounds = 1 },
		"duration":    func() { s.duration = time.Second },
		"connections": func() { s.connections = 8 },
		"ingest-rate": func() { s.ingestRate = 200 },
	}, func() bool { return s.orders >= fullSize })
	return s, s.validate()
}

func (s *settings) validate() error {
	var errs []error
	if s.connections < s.threads {
		errs = append(errs, fmt.Errorf("--connections: at least one for each of %d threads, not %d", s.threads, s.connections))
	}
	if slices.Contains(s.others, s.orders) {
		errs = append(errs, fmt.Errorf("--others: %d is --orders itself", s.orders))
	}
	return errors.Join(append(errs,
		program.AtLeast(1, map[string]int{"orders": s.orders, "items": s.items, "rounds": s.rounds, "threads": s.threads}),
		program.AtLeast(0, map[string]int{"ingest-rate": s.ingestRate}),
		program.AtLeast(time.Second, map[string]time.Duration{"duration": s.duration}),
	)...)
}
