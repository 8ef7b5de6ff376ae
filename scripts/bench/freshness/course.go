package main

import (
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
)

// reading is how many orders had been sent, stored and cached at a moment.
type reading struct {
	at                   time.Time
	sent, stored, cached int64
}

// lag is how many orders were in flight.
func (r reading) lag() float64 { return float64(max(0, r.sent-r.cached)) }

// course is what was read at regular intervals.
type course []reading

// rate is how many orders a second reached the cache.
func (c course) rate() float64 { return c.slope(func(r reading) int64 { return r.cached }) }

// sendRate is how many orders a second were produced.
func (c course) sendRate() float64 { return c.slope(func(r reading) int64 { return r.sent }) }

func (c course) slope(get func(reading) int64) float64 {
	first, last := c[0], c[len(c)-1]
	return float64(get(last)-get(first)) / last.at.Sub(first.at).Seconds()
}

// meanLag is the mean of the readings' lags.
func (c course) meanLag() (sum float64) {
	for _, r := range c {
		sum += r.lag()
	}
	return sum / float64(len(c))
}

// tell returns whether a rate was held, and prints how it went.
func (c course) tell(rate float64) (held bool) {
	held = c.held(rate)
	program.Progress("%.0f orders/s held: %t; %.0f/s were produced, %.0f/s reached the cache, %.0f in flight at the end", rate,
		held, c.sendRate(), c.rate(), c[len(c)-1].lag())
	return held
}

// held says whether the services kept up: in the last third of the time, fewer
// orders were in flight than arrive in half a second, and not many more than in the
// first third. A rate that the machine is too busy to produce is not held either.
func (c course) held(rate float64) bool {
	third := len(c) / 3
	first, last := c[:third].meanLag(), c[len(c)-third:].meanLag()
	elapsed := c[len(c)-third].at.Sub(c[0].at).Seconds()
	return last < rate/2 && last-first < 0.03*rate*elapsed && c.sendRate() > 0.95*rate
}
