// Command read measures how fast the API answers from memory, compared with a bare gin
// server that answers constant bytes of the same size to the very same requests.
//
// Each measurement has one of the bare server right beside it, so that the ratios hold
// on a noisy machine.
package main

import (
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.RunBroker, runBare) }
