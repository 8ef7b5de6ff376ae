// Command read measures how fast the API answers from memory, against what the
// framework can do at all: a bare gin server that answers constant bytes of the
// same size.
//
// All of it happens in one run: each measurement has one of the bare server right
// beside it, so that the ratios hold on a noisy machine.
package main

import (
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.RunBroker, runBare) }
