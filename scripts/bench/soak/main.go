// Command soak runs worker, reader and database for hours under a steady load
// with churn, and then tells whether what they use stayed flat: memory,
// goroutines, files, connections, tables. It fails where something grew, or where
// the reader does not serve what the tables have in the end.
package main

import (
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, soak, rig.RunBroker) }
