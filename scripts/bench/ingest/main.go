// Command ingest measures how fast orders get from Kafka into PostgreSQL, and
// what that costs, against what PostgreSQL can take at all: binary COPY of the
// same rows into the same tables.
//
// All of it happens in one run on one private server, with each run of a round
// next to the others, so that the ratios hold on a noisy machine.
package main

import (
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.RunBroker) }
