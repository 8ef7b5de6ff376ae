package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/app"
)

const (
	// casesVariable says how many cases the property test runs.
	casesVariable = "ORDERHUB_PROPERTY_CASES"
	// seedVariable is the first case's seed; each further case has the next.
	seedVariable = "ORDERHUB_PROPERTY_SEED"
)

const (
	propertyCases = 2700 // 2000 of the default mode
	raceCases     = 800  // 600 of the default mode; each takes several times as long then
	propertySlots = 12   // cases at a time: they mostly wait
)

// TestEveryRecordIsStoredOnceOrADuplicateOrADeadLetter carries out random plans:
// orders, duplicates, conflicts, records that the database refuses and broken
// ones, over several partitions and workers that start, stop and crash, with
// faults at every boundary. Whatever happened, the tables, the dead letters and
// the committed offsets are in the end what a model of a few lines says. In a quarter
// of the cases the newest record of an order decides and null records delete orders;
// then stamps and remembered deletions are, too.
func TestEveryRecordIsStoredOnceOrADuplicateOrADeadLetter(t *testing.T) {
	cases, seed := uint64(propertyCases), rand.Uint64()>>1
	switch {
	case testing.Short():
		cases = 40
	case raceDetector:
		cases = raceCases
	}
	cases = fromEnvironment(t, casesVariable, cases)
	seed = fromEnvironment(t, seedVariable, seed)
	t.Logf("%s=%d %s=%d", seedVariable, seed, casesVariable, cases)
	var base app.Settings
	t.Setenv("DATABASE_URL", "postgres://localhost")
	require.NoError(t, config.Load(&base))

	var next, sprung atomic.Uint64
	var running sync.WaitGroup
	for range min(propertySlots, cases) {
		s := newSlot(t)
		running.Go(func() {
			for {
				n := next.Add(1) - 1
				if n >= cases || t.Failed() {
					return
				}
				t.Run(fmt.Sprintf("seed=%d", seed+n), func(t *testing.T) {
					sprung.Add(carryOut(t, s, base, newPlan(t, seed+n)))
				})
			}
		})
	}
	running.Wait()
	t.Logf("%d cases, %d connections cut at a chosen request", next.Load(), sprung.Load())
}

// carryOut runs one case and returns how many traps sprang in it.
func carryOut(t *testing.T, s *slot, base app.Settings, p *plan) (sprung uint64) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("%sagain: %s=%d %s=1 go test -run %s", p, seedVariable, p.seed, casesVariable, "TestEveryRecord")
		}
	}()
	c := newPropertyCase(t, s, base, p)
	for _, s := range p.steps {
		c.do(s)
	}
	for p.abrupt && len(c.members) > 0 {
		c.stop(c.take())
	}
	c.heal()
	if len(c.members) == 0 {
		c.start()
	}
	c.drained()
	for _, m := range append(c.members, c.stopped...) {
		sprung += uint64(m.broker.Sprung() + m.database.Sprung())
	}
	for len(c.members) > 0 {
		c.stop(c.take())
	}
	c.dying.Wait()
	require.Empty(t, c.progress(), "the offsets are where they were before the workers stopped")
	c.check()
	return sprung
}

func fromEnvironment(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text, set := os.LookupEnv(name)
	if !set {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 63)
	require.NoError(t, err, name)
	return n
}
