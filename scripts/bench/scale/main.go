// Command scale fills a database with orders and measures, while they become
// more, what changes with their number: the worker's rate, the reader's restore,
// memory and rate, lists, and the sizes of tables and indexes. Then it tries in
// small what would be done for still more orders.
package main

import (
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.RunBroker) }
