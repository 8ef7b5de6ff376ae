package main

import (
	"errors"
	"io"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
)

// settings are the flags.
type settings struct {
	*program.Flags
	preload    int
	items      int
	partitions int
	probes     int
	updates    int
	rate       int
	share      float64
	trial      time.Duration
	steady     time.Duration
	probers    int
	rounds     int
	excess     float64
	overload   time.Duration
	profiles   string
}

// fullProbes and fullPreload are from where on the result goes into the document
// without being asked for.
const fullProbes, fullPreload = 1000, 1_000_000

func parseFlags(args []string, output io.Writer) (settings, error) {
	var s settings
	s.Flags = program.NewFlags("bench-freshness", "how soon an order that was produced can be read, idle and under load, and\nhow long it takes to catch up after an overload.",
		"with all of --preload, --probes, --trial, --steady, --rounds and --overload as they are or larger", output)
	s.IntVar(&s.preload, "preload", fullPreload, "orders that are stored beforehand")
	s.IntVar(&s.items, "items", 1, "items of an order")
	s.IntVar(&s.partitions, "partitions", 4, "partitions of the topic")
	s.IntVar(&s.probes, "probes", fullProbes, "orders that are produced one at a time into idle services")
	s.IntVar(&s.updates, "updates", 500, "orders that are changed by SQL, one at a time")
	s.IntVar(&s.rate, "rate", 0, "take this for the full load, in orders a second, instead of finding it out")
	s.Float64Var(&s.share, "share", 0.8, "share of the full load under which orders are timed")
	s.DurationVar(&s.trial, "trial", 8*time.Second, "how long a rate has to be held to count as held")
	s.DurationVar(&s.steady, "steady", time.Minute, "how long the full load has to be held in the end, and orders are timed under their share of it")
	s.IntVar(&s.probers, "probers", 4, "orders on their way at a time while they are timed under load")
	s.IntVar(&s.rounds, "rounds", 3, "times that the full load is found and orders are timed under a share of it: the one with the median p99 counts")
	s.Float64Var(&s.excess, "excess", 1.5, "the overload, × the full load")
	s.DurationVar(&s.overload, "overload", time.Minute, "how long the overload lasts")
	s.StringVar(&s.profiles, "profiles", "", "folder to put CPU profiles of worker and reader under load into")
	if err := s.Parse(args); err != nil {
		return s, err
	}
	s.Shrink(map[string]func(){
		"preload":  func() { s.preload = 2000 },
		"probes":   func() { s.probes = 20 },
		"updates":  func() { s.updates = 20 },
		"rate":     func() { s.rate = 500 },
		"steady":   func() { s.steady = time.Second },
		"rounds":   func() { s.rounds = 1 },
		"overload": func() { s.overload = time.Second },
	}, func() bool {
		return s.preload >= fullPreload && s.probes >= fullProbes && s.trial >= 8*time.Second && s.steady >= time.Minute && s.rounds >= 3 && s.overload >= time.Minute
	})
	return s, s.validate()
}

func (s *settings) validate() error {
	return errors.Join(
		program.AtLeast(1, map[string]int{
			"preload": s.preload, "items": s.items, "partitions": s.partitions, "probes": s.probes, "updates": s.updates, "probers": s.probers, "rounds": s.rounds,
		}),
		program.AtLeast(0, map[string]int{"rate": s.rate}),
		program.AtLeast(time.Second, map[string]time.Duration{"trial": s.trial, "steady": s.steady, "overload": s.overload}),
		program.AtLeast(0.01, map[string]float64{"share": s.share, "excess": s.excess}),
	)
}
