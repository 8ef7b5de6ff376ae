// Command scale fills a database with orders and measures, while they become
// more, what changes with their number: the worker's rate, the reader's restore,
// memory and rate, lists, and the sizes of tables and indexes. Then it tries at a
// small scale what would be done for still more orders.
package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole) }

var benchmark = program.Benchmark{
	Name: "scale",
	About: "What changes as orders become more. Ten million take about a quarter of an hour, 30 GB of disk below TMPDIR " +
		"(and /var/tmp) and 16 GiB of memory.",
	Document: program.Scaling,
}

type settings struct {
	program.Flags
	Orders     int           `default:"10000000" full:"1000000" smoke:"3000" min:"1000" help:"Orders in the end; 1000000 are enough for the document."`
	Steps      []int         `smoke:"1000,3000" min:"1000" help:"Numbers of orders to measure at (default: 1, 3, 10, 30 and 100 % of --orders)."`
	Items      int           `default:"1" min:"1" help:"Items of an order."`
	Slice      int           `default:"100000" min:"1" help:"Orders of each step that the worker stores, at most a fifth of the step; the others are copied."`
	Partitions int           `default:"4" min:"1" help:"Partitions of the topic."`
	Reads      time.Duration `default:"5s" smoke:"1s" min:"1s" help:"How long orders are read at each step."`
	Lists      int           `default:"200" smoke:"3" min:"1" help:"How often each list is read at each step."`
	Small      int           `default:"500000" smoke:"1500" min:"0" help:"Orders with which the next steps are tried (0: they are not)."`
	Rounds     int           `default:"2" smoke:"1" min:"1" help:"How often each of these is tried; the table has medians."`
	Plot       string        `default:"docs/scale.svg" help:"File for the plot, in the folder of the document; written where there is a document."`
}

// AfterApply is called by kong.
func (s *settings) AfterApply() error {
	if len(s.Steps) == 0 {
		for _, percent := range []int{1, 3, 10, 30, 100} {
			s.Steps = append(s.Steps, s.Orders*percent/100)
		}
	}
	if !slices.IsSorted(s.Steps) || s.Steps[len(s.Steps)-1] != s.Orders {
		return fmt.Errorf("--steps: %v do not rise to --orders, %d", s.Steps, s.Orders)
	}
	return nil
}
