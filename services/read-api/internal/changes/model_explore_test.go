package changes

import (
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// scenario is what the model is walked through with.
type scenario struct {
	scripts []script
	servers set // that the reader may connect to
	polls   bool
	cuts    uint8 // how often the doorbell's connection may be lost
	fails   uint8 // how often the reader's may
	crashes uint8 // how often PostgreSQL may crash
	leftOut leftOut
	horizon uint8 // of an earlier pruning, while the first transaction was open
}

func (s *scenario) String() string {
	names := make([]string, len(s.scripts))
	for i, one := range s.scripts {
		for j, o := range one {
			if j > 0 {
				names[i] += "; "
			}
			names[i] += opNames[o]
		}
	}
	return strings.Join(names, " | ")
}

var (
	opNames = [...]string{
		putA: "put A", putB: "put B", delA: "delete A", moveAB: "rename A to B", trunc: "truncate", truncParts: "truncate the parts",
		prune: "prune", mute: "don't ring",
	}
	endNames = [...]string{committed: "commits", aborted: "rolls back"}
)

// came is how a state was come to.
type came struct {
	from uint64
	step string
}

// explore walks through all states that can be come to. It returns how many
// these are, and the shortest way to one that is wrong, if there is any.
func (s *scenario) explore() (states int, wrong string, way []string) {
	seed := maphash.MakeSeed()
	first := newWorld(s)
	ways := map[uint64]came{maphash.Comparable(seed, first): {}}
	layer := []world{first}
	for len(layer) > 0 {
		var next []world
		for i := range layer {
			here := maphash.Comparable(seed, layer[i])
			s.successors(&layer[i], func(step string, m world, fault string) {
				if wrong != "" {
					return
				}
				hash := maphash.Comparable(seed, m)
				if _, known := ways[hash]; known && fault == "" {
					return
				}
				if fault == "" {
					fault = m.reader.equal(&m, s)
				}
				if fault != "" {
					wrong, way = fault, []string{step}
					for at := here; ways[at].step != ""; at = ways[at].from {
						way = append(way, ways[at].step)
					}
					slices.Reverse(way)
					return
				}
				ways[hash] = came{here, step}
				next = append(next, m)
			})
			if wrong != "" {
				return len(ways), wrong, way
			}
		}
		layer = next
	}
	return len(ways), "", nil
}

// successors gives use each state that one step leads to.
func (s *scenario) successors(m *world, use func(step string, next world, wrong string)) {
	for i, statements := range s.scripts {
		n := uint8(i + 1)
		t := m.txns[n]
		switch {
		case t.status == committed || t.status == aborted:
		case int(t.next) < len(statements):
			next := *m
			if next.do(n, statements[t.next]) {
				use(writerName(n, opNames[statements[t.next]]), next, "")
			}
		default:
			for _, how := range []status{committed, aborted} {
				next := *m
				next.end(n, how)
				use(writerName(n, endNames[how]), next, "")
			}
		}
	}
	if m.crashes < s.crashes {
		next := *m
		next.crash()
		use("PostgreSQL crashes and comes back", next, "")
	}
	for server := range uint8(maxStandbys) {
		if s.servers.has(server) && m.replayed[server] < m.logN {
			next := *m
			next.replayed[server]++
			use("a standby replays a record", next, "")
		}
	}
	m.steps(s, use)
}

var writerNames = map[[2]string]string{}

// writerName makes each name once.
func writerName(n uint8, what string) string {
	key := [2]string{string('0' + rune(n)), what}
	name, known := writerNames[key]
	if !known {
		name = "writer " + key[0] + ": " + what
		writerNames[key] = name
	}
	return name
}

func primaryOnly() set { return set(0).with(primary) }

// combinations are all choices of n scripts, the same one more than once as well.
func combinations(n int, from []script) (all [][]script) {
	if n == 0 {
		return [][]script{nil}
	}
	for i, first := range from {
		for _, rest := range combinations(n-1, from[i:]) {
			all = append(all, append([]script{first}, rest...))
		}
	}
	return all
}

// longVariable asks for the larger bounds, which take minutes.
const longVariable = "ORDERHUB_TEST_MODEL"

// TestNoInterleavingLosesAChange walks through every interleaving of a reader with
// two or three writers, while connections are lost: nothing but committed states
// is ever served, no order goes backwards, and once all is quiet, the cache is
// what the tables are.
func TestNoInterleavingLosesAChange(t *testing.T) {
	all := []script{
		{putA}, {putA, putB}, {delA}, {delA, putA}, {putA, delA}, {moveAB},
		{trunc}, {trunc, putA}, {truncParts}, {truncParts, putA}, {prune},
	}
	few := []script{{putA}, {delA}, {delA, putA}, {prune}, {trunc, putA}}
	replicated := []script{{putA, putB}, {delA}, {delA, putA}, {moveAB}, {prune}}
	standby, two := set(0).with(0), set(0).with(0).with(1)
	long := os.Getenv(longVariable) != ""

	run := func(name string, scripts [][]script, s scenario) {
		t.Run(name, func(t *testing.T) {
			total := 0
			for _, s.scripts = range scripts {
				states, wrong, way := s.explore()
				require.Empty(t, wrong, "%s:\n%s", &s, strings.Join(way, "\n"))
				total += states
			}
			t.Logf("%d states of %d scenarios", total, len(scripts))
		})
	}
	run("two writers", combinations(2, all), scenario{servers: primaryOnly(), cuts: 1, fails: 1})
	run("two writers and a crash", combinations(2, all), scenario{servers: primaryOnly(), crashes: 1})
	run("three writers and a crash", combinations(3, few[:4]), scenario{servers: primaryOnly(), crashes: 1})
	run("three writers", combinations(3, few), scenario{servers: primaryOnly()})
	run("notifications that are lost", combinations(2, append(few, script{mute, putA}, script{mute, delA})),
		scenario{servers: primaryOnly(), polls: true, fails: 1})
	run("a standby by polling", combinations(2, few[:3]), scenario{servers: standby, polls: true})
	run("a standby by the primary's notifications", combinations(2, few[:3]), scenario{servers: standby})
	run("one standby or another", combinations(1, few[:3]), scenario{servers: two, polls: true, fails: 1})
	if long {
		run("three writers and two crashes", combinations(3, few), scenario{servers: primaryOnly(), crashes: 2, fails: 1})
		run("three writers of all kinds, lost connections", combinations(3, all), scenario{servers: primaryOnly(), cuts: 1, fails: 1})
		run("a standby by polling, lost connections", combinations(2, replicated), scenario{servers: standby, polls: true, fails: 1})
		run("a standby by notifications, lost connections", combinations(2, replicated), scenario{servers: standby, cuts: 1, fails: 1})
		run("one standby or another, two writers", combinations(2, few[:3]), scenario{servers: two, polls: true, fails: 1})
	}
}

// TestEachStepOfTheProtocolIsNeeded leaves out one step at a time, and finds what
// goes wrong without it.
func TestEachStepOfTheProtocolIsNeeded(t *testing.T) {
	one := primaryOnly()
	standby := set(0).with(0)
	for _, c := range []struct {
		name  string
		s     scenario
		wrong string
	}{
		{"a new listener looks at what it missed", scenario{scripts: []script{{putA}}, servers: one, leftOut: leftRingAtListen}, "stays at version 0"},
		{"a lost listener's successor looks too", scenario{scripts: []script{{putA}}, servers: one, cuts: 1, leftOut: leftRingAtListen}, "stays at"},
		{"a notification during a round makes another one", scenario{scripts: []script{{putA}}, servers: one, leftOut: leftRingWhileBusy}, "stays at"},
		{"a poll, where notifications are lost", scenario{scripts: []script{{mute, putA}}, servers: one}, "stays at"},
		{"transactions in progress are looked for", scenario{scripts: []script{{putA}, {putB}}, servers: one, leftOut: leftXip}, "stays at"},
		{"the snapshot, not the largest stamp, is where to go on", scenario{scripts: []script{{putA}, {putB}}, servers: one, leftOut: leftSnapshotForMax}, "stays at"},
		{"deletions are read in the same transaction", scenario{scripts: []script{{delA}, {putB}}, servers: one, leftOut: leftOneTransaction}, "stays at"},
		{"a deletion of what exists again isn't applied", scenario{scripts: []script{{delA, putA}}, servers: one, leftOut: leftDeletionFilter}, "never committed"},
		{"relist behind the horizon", scenario{scripts: []script{{delA}, {prune}}, servers: one, leftOut: leftHorizon}, "stays at"},
		{"ids are believed up to the newest stamp", scenario{scripts: []script{{putA}, {putB}}, servers: one, crashes: 1, leftOut: leftDurable}, "stays at"},
		{
			"each pruning moves the horizon",
			scenario{scripts: []script{{delA}, {prune}}, servers: one, horizon: 9, leftOut: leftHorizonWhereItIs}, "stays at",
		},
		{"relist after a TRUNCATE", scenario{scripts: []script{{trunc}}, servers: one, leftOut: leftRelist}, "stays at"},
		{"the tables are locked before a round's snapshot", scenario{scripts: []script{{putA}, {truncParts}}, servers: one, leftOut: leftLocks}, "never committed"},
		{"a round that fails is made again", scenario{scripts: []script{{putB}, {putA}}, servers: one, fails: 1, leftOut: leftOldPosition}, "stays at"},
		{"a relist compares the store in place", scenario{scripts: []script{{trunc}}, servers: one, leftOut: leftCompare}, "never committed"},
		{"a relist that is cut and begun again removes what is gone", scenario{scripts: []script{{trunc}}, servers: one, fails: 1, leftOut: leftSweep}, "stays at"},
		{"a standby is asked from xmin on", scenario{scripts: []script{{putA}, {putB}}, servers: standby, polls: true, leftOut: leftStandbyQuery}, "stays at"},
		{"a standby is asked until it has replayed", scenario{scripts: []script{{putA}}, servers: standby, leftOut: leftPursuit}, "stays at"},
		{
			"a standby that is behind is waited for",
			scenario{scripts: []script{{putA}}, servers: standby.with(1), polls: true, fails: 1, leftOut: leftWaitForTheStandby}, "went from version",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			states, wrong, way := c.s.explore()
			require.Contains(t, wrong, c.wrong, "%d states", states)
			t.Logf("without it, %s:\n  %s", wrong, strings.Join(way, "\n  "))
			c.s.leftOut = nothing
			if c.s.scripts[0][0] == mute {
				c.s.polls = true
			}
			states, wrong, way = c.s.explore()
			require.Empty(t, wrong, fmt.Sprint(way))
			t.Logf("with it, nothing in %d states", states)
		})
	}
}
