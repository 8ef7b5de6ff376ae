package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// settings are the flags.
type settings struct {
	*program.Flags
	orders     int
	items      program.List
	rounds     int
	partitions int
	batch      int
	single     int
	latency    int
	preload    int
	workers    program.List
	schema     bool
	compare    string
	profiles   string
	postgres   pairs
}

// fullSize is from how many orders on the result goes into the document without
// being asked for.
const fullSize = 400_000

func parseFlags(args []string, output io.Writer) (settings, error) {
	s := settings{items: program.List{1, 3, 10}, workers: program.List{1, 2, 4}, postgres: pairs{}}
	s.Flags = program.NewFlags("bench-ingest", "the rate and cost of ingest-worker against raw COPY, on a private\nPostgreSQL and broker.",
		fmt.Sprintf("with --orders from %d on", fullSize), output)
	s.IntVar(&s.orders, "orders", fullSize, "orders in the topic")
	s.Var(&s.items, "items", "items of an order: a table for each number")
	s.IntVar(&s.rounds, "rounds", 3, "how often each measurement is made; the table has medians")
	s.IntVar(&s.partitions, "partitions", 4, "partitions of the topic")
	s.IntVar(&s.batch, "batch", 2000, "orders in a transaction of raw COPY")
	s.IntVar(&s.single, "single", 3000, "orders stored with a transaction each, to tell that rate (0: not measured)")
	s.IntVar(&s.latency, "latency", 1000, "single orders whose way through the idle worker is timed (0: not measured)")
	s.IntVar(&s.preload, "preload", 3_000_000, "measure again with so many orders stored already (0: not measured)")
	s.Var(&s.workers, "workers", "measure so many workers on 8 partitions (empty: not measured)")
	s.BoolVar(&s.schema, "schema", true, "measure what keys, indexes, foreign keys and triggers cost raw COPY")
	s.StringVar(&s.compare, "compare", "", "folder with another build of ingest-worker, to be measured in turn with the first")
	s.StringVar(&s.profiles, "profiles", "", "folder to put CPU and allocation profiles of the worker into (they cost a little speed)")
	s.Var(s.postgres, "postgres", "setting of the server, name=value; can be repeated (shared_buffers by default: a quarter of the memory)")
	if err := s.Parse(args); err != nil {
		return s, err
	}
	s.Shrink(map[string]func(){
		"orders":  func() { s.orders = 2000 },
		"items":   func() { s.items = program.List{1, 3} },
		"rounds":  func() { s.rounds = 1 },
		"batch":   func() { s.batch = 500 },
		"single":  func() { s.single = 100 },
		"latency": func() { s.latency = 20 },
		"preload": func() { s.preload = 5000 },
		"workers": func() { s.workers = program.List{1, 2} },
	}, func() bool { return s.orders >= fullSize })
	if s.Smoke {
		s.postgres.setDefault("min_wal_size", "128MB")
		s.postgres.setDefault("shared_buffers", "128MB")
	}
	s.postgres.setDefault("shared_buffers", rig.QuarterOfMemory())
	return s, s.validate()
}

func (s *settings) validate() error {
	errs := []error{
		program.AtLeast(1, map[string]int{"orders": s.orders, "rounds": s.rounds, "partitions": s.partitions, "batch": s.batch}),
		program.AtLeast(0, map[string]int{"single": s.single, "latency": s.latency, "preload": s.preload}),
	}
	if len(s.items) == 0 {
		errs = append(errs, errors.New("--items: at least one number"))
	}
	return errors.Join(errs...)
}

// pairs is a flag name=value that can be repeated.
type pairs map[string]string

func (p pairs) String() string {
	texts := make([]string, 0, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		texts = append(texts, name+"="+p[name])
	}
	return strings.Join(texts, " ")
}

func (p pairs) Set(text string) error {
	name, value, found := strings.Cut(text, "=")
	if !found || name == "" {
		return fmt.Errorf("%q is not name=value", text)
	}
	p[name] = value
	return nil
}

func (p pairs) setDefault(name, value string) {
	if _, chosen := p[name]; !chosen {
		p[name] = value
	}
}
