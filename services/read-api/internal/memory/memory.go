// Package memory keeps the process's memory near what its orders take.
//
// The orders lie in a few large pieces that hold no pointers: a collection costs
// the same however many there are. The runtime's own rule, to collect when the
// heap has grown by its own size, would double the memory for nothing, so a
// Governor has it collect when a small share of garbage has gathered.
package memory

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// limitShare is what of a container's memory the runtime may use: the rest is
	// for what it doesn't count, the program itself and the kernel's buffers.
	limitShare = 0.9
	// headroom is how much garbage may gather before it is collected, where the
	// orders take less than some hundred MiB.
	headroom = 16 << 20
	// restoreHeadroom is the same until the first Settle: what a restore leaves
	// behind is given back at its end, and to collect it sooner takes its time.
	restoreHeadroom = 64 << 20
	// minPercent is the same for many orders, as a share of what they take.
	minPercent = 3
	// settleEvery is how often memory is given back while orders change: the
	// runtime by itself keeps up to a tenth more than it needs.
	settleEvery = 10 * time.Second
)

// SetLimit sets the runtime's memory limit from the container's (cgroup v1 or
// v2), unless GOMEMLIMIT is set. It returns the limit that holds, 0 if there is
// none.
func SetLimit() (bytes int64, err error) {
	_, err = memlimit.Set(memlimit.WithRatio(limitShare), memlimit.WithProvider(memlimit.FromCgroup))
	if err != nil {
		err = fmt.Errorf("read the container's memory limit: %w", err)
	}
	return Limit(), err
}

// Limit is the runtime's memory limit, 0 if there is none.
func Limit() int64 {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// Governor sets how much garbage may gather. Where GOGC is set, it leaves that
// alone. Its methods are safe for concurrent use.
type Governor struct {
	free    bool // to choose the percentage
	changed atomic.Bool

	mu      sync.Mutex
	settled bool
	orders  int64
	percent int
}

// NewGovernor returns one that has not changed anything yet.
func NewGovernor() *Governor {
	_, set := os.LookupEnv("GOGC")
	return &Governor{free: !set, percent: 100}
}

// Follow says how many bytes the orders take now.
func (g *Governor) Follow(orders int64) {
	g.changed.Store(true)
	if !g.free {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.orders = orders
	g.choose()
}

// choose sets the percentage. g.mu is held.
func (g *Governor) choose() {
	room := int64(headroom)
	if !g.settled {
		room = restoreHeadroom
	}
	percent := percentFor(g.orders, room)
	// Each setting stops the world for a moment.
	if change := percent - g.percent; change*change*25 > g.percent*g.percent {
		g.percent = percent
		debug.SetGCPercent(percent)
	}
}

// Settle says that all orders are in, and gives the system back what nothing uses
// any more.
func (g *Governor) Settle() {
	if g.free {
		g.mu.Lock()
		g.settled = true
		g.choose()
		g.mu.Unlock()
	}
	debug.FreeOSMemory()
}

// Run gives memory back now and then while orders change, until ctx ends.
func (g *Governor) Run(ctx context.Context) { g.run(ctx, settleEvery) }

func (g *Governor) run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if g.changed.Swap(false) {
				debug.FreeOSMemory()
			}
		}
	}
}

func percentFor(orders, headroom int64) int {
	const usual = 100
	if orders < headroom*100/usual {
		return usual
	}
	return max(minPercent, int(headroom*100/orders))
}
