// Command freshness measures how soon an order that was produced can be read over
// HTTP, through the real worker, database and reader: one order at a time, and
// under most of the load that these hold together, which it finds first. It also
// overloads them, and waits until they have caught up.
package main

import (
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole) }

var benchmark = program.Benchmark{
	Name:     "freshness",
	About:    "How soon an order that was produced can be read, idle and under load, and how long it takes to catch up after an overload.",
	Document: program.Benchmarks,
}

type settings struct {
	program.Flags
	Preload    int           `default:"1000000" full:"1000000" smoke:"2000" min:"1" help:"Orders that are stored beforehand."`
	Items      int           `default:"1" min:"1" help:"Items of an order."`
	Partitions int           `default:"4" min:"1" help:"Partitions of the topic."`
	Probes     int           `default:"1000" full:"1000" smoke:"20" min:"1" help:"Orders that are produced one at a time into idle services."`
	Updates    int           `default:"500" smoke:"20" min:"1" help:"Orders that are changed by SQL, one at a time."`
	Rate       int           `default:"0" smoke:"500" min:"0" help:"Take this for the full load, in orders a second, instead of finding it out."`
	Share      float64       `default:"0.8" min:"0.01" help:"Share of the full load under which orders are timed."`
	Trial      time.Duration `default:"8s" full:"8s" min:"1s" help:"How long a rate has to be held to count as held."`
	Steady     time.Duration `default:"1m" full:"1m" smoke:"1s" min:"1s" help:"How long the full load has to be held in the end, and orders are timed under their share of it."`
	Probers    int           `default:"4" min:"1" help:"Orders on their way at a time while they are timed under load."`
	Rounds     int           `default:"3" full:"3" smoke:"1" min:"1" help:"Times that the full load is found and orders are timed under a share of it: the one with the median p99 counts."`
	Excess     float64       `default:"1.5" min:"0.01" help:"The overload, × the full load."`
	Overload   time.Duration `default:"1m" full:"1m" smoke:"1s" min:"1s" help:"How long the overload lasts."`
}
