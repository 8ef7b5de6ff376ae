package integration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// plan is one case of the property test: what happens to the workers and around
// them, in this order. The same seed gives the same plan; how it interleaves with
// the workers is up to the machine.
type plan struct {
	seed       uint64
	partitions int
	// shared says that partitions share order_uids, so that which record of an
	// order comes first is open.
	shared bool
	// newest says that the newest record of an order decides, and a null one deletes it.
	newest      bool
	maxBatch    int
	conns       int
	compression kgo.CompressionCodec
	codecName   string
	steps       []step
	// abrupt says that all workers stop while the last faults still last.
	abrupt bool
}

// action is what a step does.
type action int

const (
	produce      action = iota
	abort               // produce in a transaction that is aborted
	startWorker         // up to maxWorkers
	stopWorker          // as SIGTERM does
	crashWorker         // the world hears nothing of it any more
	inject              // a fault
	heal                // ends the faults that last
	pause               // for some milliseconds
	addPartition        // at most once
	backUp              // the tables, as a base backup does
	goBack              // to the tables of the last backUp
	erase               // an order, on request
)

const actions = 1 + int(erase)

const maxWorkers = 3

type step struct {
	action    action
	partition int32
	records   []made
	fault     injection
	millis    int
	uid       string
}

// odds of the actions, in hundredths.
var odds = [actions]int{produce: 28, abort: 3, startWorker: 11, stopWorker: 6, crashWorker: 6, inject: 19, heal: 5, pause: 4, addPartition: 2, backUp: 4, goBack: 8, erase: 4}

func newPlan(t testing.TB, seed uint64) *plan {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 4))
	codecs := []struct {
		name  string
		codec kgo.CompressionCodec
	}{
		{"none", kgo.NoCompression()},
		{"gzip", kgo.GzipCompression()},
		{"snappy", kgo.SnappyCompression()},
		{"lz4", kgo.Lz4Compression()},
		{"zstd", kgo.ZstdCompression()},
	}
	codec := codecs[random.IntN(len(codecs))]
	p := &plan{
		seed: seed, newest: seed/4%4 == 0, partitions: 1 + random.IntN(4), shared: random.IntN(2) == 0,
		maxBatch: []int{1, 2, 7, 4000}[random.IntN(4)], conns: 1 + random.IntN(3),
		compression: codec.codec, codecName: codec.name, abrupt: random.IntN(2) == 0,
	}
	records := newRecordMaker(t, random)
	records.deletes = p.newest
	partitions, uids := p.partitions, 1+random.IntN(6)
	if random.IntN(4) > 0 {
		p.steps = append(p.steps, step{action: startWorker})
	}
	for range 4 + random.IntN(10) {
		s := step{action: pick(random), millis: random.IntN(120)}
		switch s.action {
		case produce, abort:
			s = p.production(random, records, partitions, uids, s.action)
		case inject:
			family := families[random.IntN(len(families))]
			s.fault = family[random.IntN(len(family))]
		case addPartition:
			if partitions > p.partitions {
				s.action = pause
			} else {
				partitions++
			}
		case goBack:
			if !slices.ContainsFunc(p.steps, func(earlier step) bool { return earlier.action == backUp }) {
				s.action = backUp
			}
		case erase:
			s.uid = fmt.Sprint(p.scope(int32(random.IntN(partitions))), random.IntN(uids))
		case startWorker, stopWorker, crashWorker, heal, pause, backUp:
		}
		p.steps = append(p.steps, s)
		if s.action == inject && random.IntN(2) == 0 || s.action == backUp { // something for the fault to meet, or to be lost
			p.steps = append(p.steps, p.production(random, records, partitions, uids, produce))
		}
		if s.action == backUp && random.IntN(2) == 0 {
			p.steps = append(p.steps, step{action: pause, millis: random.IntN(400)})
		}
	}
	if p.abrupt {
		p.steps = append(p.steps, step{action: pause, millis: random.IntN(500)})
	}
	return p
}

// scope is how the order_uids of a partition begin.
func (p *plan) scope(partition int32) string {
	if p.shared {
		return "s"
	}
	return fmt.Sprintf("p%d-", partition)
}

// production is a step that produces records to a partition.
func (p *plan) production(random *rand.Rand, records *recordMaker, partitions, uids int, a action) step {
	s := step{action: a, partition: int32(random.IntN(partitions))}
	for range 1 + random.IntN(1+random.IntN(20)) {
		s.records = append(s.records, records.make(p.scope(s.partition), uids))
	}
	return s
}

func pick(random *rand.Rand) action {
	n := random.IntN(100)
	for a, weight := range odds {
		if n -= weight; n < 0 {
			return action(a)
		}
	}
	panic("the odds are no hundredths")
}

func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d partitions, shared order_uids %t, the newest decides %t, batches of %d, %d connections, %s\n",
		p.seed, p.partitions, p.shared, p.newest, p.maxBatch, p.conns, p.codecName)
	for i, s := range p.steps {
		fmt.Fprintf(&b, "%3d. %s\n", i+1, s)
	}
	fmt.Fprintf(&b, "     all workers stop before the faults end: %t\n", p.abrupt)
	return b.String()
}

func (s step) String() string {
	switch s.action {
	case produce, abort:
		var b strings.Builder
		fmt.Fprintf(&b, "%s %d records to partition %d", map[action]string{produce: "produce", abort: "produce and abort"}[s.action], len(s.records), s.partition)
		for _, r := range s.records {
			fmt.Fprintf(&b, "\n       %s", r.about)
		}
		return b.String()
	case startWorker:
		return "start a worker"
	case stopWorker:
		return "stop a worker"
	case crashWorker:
		return "crash a worker"
	case inject:
		return "fault: " + s.fault.name
	case heal:
		return "end the lasting faults"
	case addPartition:
		return "add a partition"
	case backUp:
		return "back the tables up"
	case goBack:
		return "restore the tables"
	case erase:
		return "erase " + s.uid
	default:
		return fmt.Sprintf("wait %d ms", s.millis)
	}
}
