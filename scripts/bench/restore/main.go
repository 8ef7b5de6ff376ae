// Command restore measures how long the API takes from its start until it is
// ready with all orders in memory, against COPY OUT of the four tables, the fastest
// that PostgreSQL can send them. It also measures the memory that this takes, then
// and after a while of changes.
//
// All of it happens in one run, in turn, so that the ratios hold on a noisy
// machine.
package main

import (
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole) }

var benchmark = program.Benchmark{
	Name:     "restore",
	About:    "The time and memory that read-api takes to hold all orders, against COPY OUT of the four tables.",
	Document: program.Benchmarks,
}

type settings struct {
	program.Flags
	Orders    int           `default:"1000000" full:"1000000" smoke:"2000" min:"1" help:"Stored orders."`
	Items     int           `default:"1" min:"1" help:"Items of an order."`
	Rounds    int           `default:"3" smoke:"1" min:"1" help:"How often each measurement is made; the table has medians."`
	Churn     time.Duration `default:"1m" smoke:"1s" min:"0" help:"How long orders are changed, deleted and inserted before memory is looked at again; the goal is for 10m (0: not at all)."`
	ChurnRate int           `default:"2000" smoke:"300" min:"1" help:"Orders a second that are changed, deleted or inserted meanwhile."`
	ReadRate  int           `default:"500" smoke:"100" min:"0" help:"Requests a second meanwhile."`
}
