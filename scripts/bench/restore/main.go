// Command restore measures how long the API takes from its start until it is
// ready with all orders in memory, against COPY OUT of the four tables, which is
// how fast PostgreSQL gives them away at all; and what memory that takes, then and
// after a while of changes.
//
// All of it happens in one run, in turn, so that the ratios hold on a noisy
// machine.
package main

import (
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.RunBroker) }
