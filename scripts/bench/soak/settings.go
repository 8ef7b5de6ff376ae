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
	hours    float64
	rate     int
	live     int
	every    time.Duration
	letters  time.Duration
	duration time.Duration
}

func parseFlags(args []string, output io.Writer) (settings, error) {
	var s settings
	s.Flags = program.NewFlags("soak", "a steady load with churn for hours, and whether everything stays flat.", "with --hours from 1 on", output)
	s.DocumentIs("docs/scaling.md")
	s.Float64Var(&s.hours, "hours", 1, "how long")
	s.IntVar(&s.rate, "rate", 500, "records a second; as many orders are deleted as come in")
	s.IntVar(&s.live, "live", 100_000, "orders that are there at a time")
	s.DurationVar(&s.every, "every", 0, "time between samples (default: 300 of them)")
	s.DurationVar(&s.letters, "letters", 20*time.Second, "how often dead letters are sent back, discarded and purged")
	if err := s.Parse(args); err != nil {
		return s, err
	}
	s.Shrink(map[string]func(){
		"hours":   func() { s.hours = 20.0 / 3600 },
		"rate":    func() { s.rate = 200 },
		"live":    func() { s.live = 1000 },
		"letters": func() { s.letters = 4 * time.Second },
	}, func() bool { return s.hours >= 1 })
	s.duration = time.Duration(s.hours * float64(time.Hour))
	if s.every == 0 {
		s.every = max(s.duration/300, 500*time.Millisecond)
	}
	return s, s.validate()
}

func (s *settings) validate() error {
	return errors.Join(
		program.AtLeast(10.0/3600, map[string]float64{"hours": s.hours}),
		program.AtLeast(20, map[string]int{"rate": s.rate, "live": s.live}),
		program.AtLeast(100*time.Millisecond, map[string]time.Duration{"every": s.every, "letters": s.letters}),
	)
}
