// Command freshness measures how soon an order that was produced can be read over
// HTTP, through the real worker, database and reader: one order at a time, and
// under most of the load that these hold together, which it finds out first. It
// also overloads them, and waits until they have caught up.
package main

import (
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.RunBroker) }
