// Command soak runs worker, reader and database for hours under a steady load
// with churn, and then tells whether what they use stayed flat: memory,
// goroutines, files, connections, tables. It fails if something grew, or if the
// reader does not serve exactly what the tables have in the end.
package main

import (
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, soak, rig.BrokerRole) }

var benchmark = program.Benchmark{
	Name:     "soak",
	About:    "A steady load with churn for hours, and whether everything stays flat.",
	Document: program.Scaling,
}

type settings struct {
	program.Flags
	Hours   float64       `default:"1" full:"1" smoke:"0.006" min:"0.0028" help:"How long; at least 10 seconds."`
	Rate    int           `default:"500" smoke:"200" min:"20" help:"Records a second; as many orders are deleted as come in."`
	Live    int           `default:"100000" smoke:"1000" min:"20" help:"Orders that exist at a time."`
	Every   time.Duration `min:"100ms" help:"Time between samples (default: 300 of them)."`
	Letters time.Duration `default:"20s" smoke:"4s" min:"100ms" help:"How often dead letters are sent back, discarded and purged."`

	duration time.Duration
}

// AfterApply is called by kong.
func (s *settings) AfterApply() error {
	s.duration = time.Duration(s.Hours * float64(time.Hour))
	if s.Every == 0 {
		s.Every = max(s.duration/300, 500*time.Millisecond)
	}
	return nil
}
