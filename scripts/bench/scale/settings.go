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
	orders     int
	steps      program.List
	items      int
	slice      int
	partitions int
	reads      time.Duration
	lists      int
	small      int
	rounds     int
	plot       string
}

// fullSize is from how many orders on the result goes into the document without
// being asked for.
const fullSize = 1_000_000

func parseFlags(args []string, output io.Writer) (settings, error) {
	var s settings
	s.Flags = program.NewFlags("scale", "what changes as orders become more. Ten million take about a quarter of an hour,\n30 GB of disk below TMPDIR (and /var/tmp) and 16 GiB of memory.",
		fmt.Sprintf("with --orders from %d on", fullSize), output)
	s.DocumentIs("docs/scaling.md")
	s.IntVar(&s.orders, "orders", 10_000_000, "orders in the end")
	s.Var(&s.steps, "steps", "numbers of orders to measure at (default: 1, 3, 10, 30 and 100 % of --orders)")
	s.IntVar(&s.items, "items", 1, "items of an order")
	s.IntVar(&s.slice, "slice", 100_000, "orders of each step that the worker stores, at most a fifth of the step; the others are copied")
	s.IntVar(&s.partitions, "partitions", 4, "partitions of the topic")
	s.DurationVar(&s.reads, "reads", 5*time.Second, "how long orders are read at each step")
	s.IntVar(&s.lists, "lists", 200, "how often each list is read at each step")
	s.IntVar(&s.small, "small", 500_000, "orders with which the next steps are tried (0: they are not)")
	s.IntVar(&s.rounds, "rounds", 2, "how often each of these is tried; the table has medians")
	s.StringVar(&s.plot, "plot", "docs/scale.svg", "file for the plot, in the folder of the document and written where there is one")
	if err := s.Parse(args); err != nil {
		return s, err
	}
	s.Shrink(map[string]func(){
		"orders": func() { s.orders = 3000 },
		"steps":  func() { s.steps = program.List{1000, 3000} },
		"reads":  func() { s.reads = time.Second },
		"lists":  func() { s.lists = 3 },
		"small":  func() { s.small = 1500 },
		"rounds": func() { s.rounds = 1 },
	}, func() bool { return s.orders >= fullSize })
	if len(s.steps) == 0 {
		for _, percent := range []int{1, 3, 10, 30, 100} {
			s.steps = append(s.steps, s.orders*percent/100)
		}
	}
	return s, s.validate()
}

func (s *settings) validate() error {
	var errs []error
	if !slices.IsSorted(s.steps) || s.steps[len(s.steps)-1] != s.orders {
		errs = append(errs, fmt.Errorf("--steps: %v do not rise to --orders, %d", s.steps, s.orders))
	}
	return errors.Join(append(errs,
		program.AtLeast(1000, map[string]int{"orders": s.orders, "steps": s.steps[0]}),
		program.AtLeast(1, map[string]int{
			"items": s.items, "slice": s.slice, "partitions": s.partitions, "lists": s.lists, "rounds": s.rounds,
		}),
		program.AtLeast(0, map[string]int{"small": s.small}),
		program.AtLeast(time.Second, map[string]time.Duration{"reads": s.reads}),
	)...)
}
