// Command ingest measures how fast orders get from Kafka into PostgreSQL, and
// what that costs, against what PostgreSQL can take at all: binary COPY of the
// same rows into the same tables.
//
// All of it happens in one run on one private server, with each run of a round
// next to the others, so that the ratios hold on a noisy machine.
package main

import (
	"errors"
	"maps"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole) }

var benchmark = program.Benchmark{
	Name:     "ingest",
	About:    "The rate and cost of ingest-worker against raw COPY, on a private PostgreSQL and broker.",
	Document: program.Benchmarks,
}

type settings struct {
	program.Flags
	Orders     int               `default:"400000" full:"400000" smoke:"2000" min:"1" help:"Orders in the topic."`
	Items      []int             `default:"1,3,10" smoke:"1,3" min:"1" help:"Items of an order: a table for each number."`
	Rounds     int               `default:"3" smoke:"1" min:"1" help:"How often each measurement is made; the table has medians."`
	Partitions int               `default:"4" min:"1" help:"Partitions of the topic."`
	Batch      int               `default:"2000" smoke:"500" min:"1" help:"Orders in a transaction of raw COPY."`
	Single     int               `default:"3000" smoke:"100" min:"0" help:"Orders stored with a transaction each, to measure that rate (0: not measured)."`
	Latency    int               `default:"1000" smoke:"20" min:"0" help:"Single orders that are timed through the idle worker (0: not measured)."`
	Preload    int               `default:"3000000" smoke:"5000" min:"0" help:"Measure again with so many orders stored already (0: not measured)."`
	Workers    []int             `default:"1,2,4" smoke:"1,2" min:"1" help:"Measure so many workers on 8 partitions (empty: not measured)."`
	Schema     bool              `default:"true" help:"Measure what keys, indexes, foreign keys and triggers cost raw COPY."`
	Compare    string            `help:"Folder with another build of ingest-worker, to be measured in turn with the first."`
	Postgres   map[string]string `mapsep:"none" help:"Setting of the server, name=value; can be repeated (shared_buffers by default: a quarter of the memory)."`
}

// AfterApply is called by kong.
func (s *settings) AfterApply() error {
	defaults := map[string]string{"shared_buffers": rig.QuarterOfMemory()}
	if s.Smoke {
		defaults = map[string]string{"shared_buffers": "128MB", "min_wal_size": "128MB"}
	}
	maps.Copy(defaults, s.Postgres)
	s.Postgres = defaults
	if len(s.Items) == 0 {
		return errors.New("--items: at least one number")
	}
	return nil
}
