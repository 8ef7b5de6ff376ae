package main

import (
	"fmt"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
)

var benchmark = program.Benchmark{
	Name:     "restore",
	About:    "The time and memory that read-api takes to hold all orders, against COPY OUT of the four tables.",
	Full:     fmt.Sprintf("with --orders from %d on", fullSize),
	Document: program.Benchmarks,
}

// fullSize is from how many orders on the result goes into the document.
const fullSize = 1_000_000

type settings struct {
	program.Flags
	Orders    int           `default:"1000000" smoke:"2000" min:"1" help:"Stored orders."`
	Items     int           `default:"1" min:"1" help:"Items of an order."`
	Rounds    int           `default:"3" smoke:"1" min:"1" help:"How often each measurement is made; the table has medians."`
	Churn     time.Duration `default:"1m" smoke:"1s" min:"0" help:"How long orders are changed, deleted and inserted before memory is looked at again; the goal is for 10m (0: not at all)."`
	ChurnRate int           `default:"2000" smoke:"300" min:"1" help:"Orders a second that are changed, deleted or inserted meanwhile."`
	ReadRate  int           `default:"500" smoke:"100" min:"0" help:"Requests a second meanwhile."`
	Profile   string        `help:"File for a CPU profile of the first seconds of a further restore."`
}

func (s *settings) Complete() (full bool, err error) { return s.Orders >= fullSize, nil }
