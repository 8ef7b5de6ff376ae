// Package gcpacer keeps the process's memory near what its orders take.
//
// The orders lie in a few large pieces that hold no pointers: a collection costs
// the same however many there are. The runtime's default, to collect when the heap has
// grown by its own size, would double the memory for nothing. So a Pacer makes it
// collect when a small share of garbage has gathered.
package gcpacer

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

	"github.com/orderhub/orderhub/libs/platform/lifecycle"
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
	// relistHeadroom is headroom during a relist, which has to be content with little.
	relistHeadroom = 4 << 20
	// relistShare is the part of the orders that a relist may drop before memory is given
	// back, where that is more than relistHeadroom.
	relistShare = 32
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

// Pacer sets how much garbage may gather. Where GOGC is set, it leaves that
// alone. Its methods are safe for concurrent use.
type Pacer struct {
	*lifecycle.Loop // gives memory back now and then while orders change

	free    bool // to choose the percentage
	changed atomic.Bool

	mu      sync.Mutex
	room    int64 // for garbage
	orders  int64
	percent int
	dropped int64 // by a relist, since memory was given back
}

// New returns one that has not changed anything yet.
func New() *Pacer {
	_, set := os.LookupEnv("GOGC")
	p := &Pacer{free: !set, percent: 100, room: restoreHeadroom}
	p.Loop = lifecycle.NewLoop("gc pacer", func(ctx context.Context) error { return p.run(ctx, settleEvery) }, nil)
	return p
}

// Follow says how many bytes the orders take now.
func (p *Pacer) Follow(orders int64) {
	p.changed.Store(true)
	if !p.free {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orders = orders
	p.choose()
}

// choose sets the percentage. p.mu is held.
func (p *Pacer) choose() {
	percent := percentFor(p.orders, p.room)
	// Each setting stops the world for a moment.
	if change := percent - p.percent; change*change*25 > p.percent*p.percent {
		p.percent = percent
		debug.SetGCPercent(percent)
	}
}

// Relist says that all orders are about to be read anew.
func (p *Pacer) Relist() { p.give(relistHeadroom) }

// Dropped says that a relist has dropped so many bytes of the orders' memory. It is given back
// before much more is dropped: the runtime by itself collects too late at that pace, and
// keeps up to a tenth more than it needs.
func (p *Pacer) Dropped(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock() // who drops more waits
	if p.dropped += bytes; p.free && p.dropped >= max(relistHeadroom, p.orders/relistShare) {
		p.dropped = 0
		debug.FreeOSMemory()
	}
}

// Settle says that all orders are in.
func (p *Pacer) Settle() { p.give(headroom) }

// give lets so much garbage gather from now on, and gives the system back what nothing
// uses any more.
func (p *Pacer) give(room int64) {
	if p.free {
		p.mu.Lock()
		p.room = room
		p.choose()
		p.mu.Unlock()
	}
	debug.FreeOSMemory()
}

func (p *Pacer) run(ctx context.Context, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if p.changed.Swap(false) {
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
