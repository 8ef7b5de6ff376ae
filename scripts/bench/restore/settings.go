package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
)

// settings are the flags.
type settings struct {
	*program.Flags
	orders    int
	items     int
	rounds    int
	churn     time.Duration
	churnRate int
	readRate  int
	profile   string
}

// fullSize is from how many orders on the result goes into the document without
// being asked for.
const fullSize = 1_000_000

func parseFlags(args []string, output io.Writer) (settings, error) {
	var s settings
	s.Flags = program.NewFlags("bench-restore", "the time and memory that read-api takes to hold all orders, against COPY OUT\nof the four tables.",
		fmt.Sprintf("with --orders from %d on", fullSize), output)
	s.IntVar(&s.orders, "orders", fullSize, "stored orders")
	s.IntVar(&s.items, "items", 1, "items of an order")
	s.IntVar(&s.rounds, "rounds", 3, "how often each measurement is made; the table has medians")
	s.DurationVar(&s.churn, "churn", time.Minute, "how long orders are changed, deleted and inserted before memory is looked at again; the goal is for 10m (0: not at all)")
	s.IntVar(&s.churnRate, "churn-rate", 2000, "orders a second that are changed, deleted or inserted meanwhile")
	s.IntVar(&s.readRate, "read-rate", 500, "requests a second meanwhile")
	s.StringVar(&s.profile, "profile", "", "file to put a CPU profile of the first seconds of a further restore into")
	if err := s.Parse(args); err != nil {
		return s, err
	}
	s.Shrink(map[string]func(){
		"orders":     func() { s.orders = 2000 },
		"rounds":     func() { s.rounds = 1 },
		"churn":      func() { s.churn = time.Second },
		"churn-rate": func() { s.churnRate = 300 },
		"read-rate":  func() { s.readRate = 100 },
	}, func() bool { return s.orders >= fullSize })
	return s, errors.Join(
		program.AtLeast(1, map[string]int{"orders": s.orders, "items": s.items, "rounds": s.rounds, "churn-rate": s.churnRate}),
		program.AtLeast(0, map[string]int{"read-rate": s.readRate}),
		program.AtLeast(0, map[string]time.Duration{"churn": s.churn}),
	)
}
