package rig

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/scripts/internal/must"
)

// waitsPeriod is how often a server is asked what its processes do.
const waitsPeriod = 50 * time.Millisecond

// Waits are how often a server's processes were seen to run, or to wait for an event.
type Waits map[string]int

// sampleWaits begins to sample what the server's processes do that work for clients or write to
// the disk, until stop is called. Idle ones do not count.
func (s *Server) sampleWaits(ctx context.Context) (stop func() Waits) {
	ctx, cancel := context.WithCancel(ctx)
	seen := make(chan Waits)
	go func() {
		waits := Waits{}
		defer func() { seen <- waits }()
		conn := must.Get(pgx.Connect(ctx, s.AdminURL()))
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for tick := time.Tick(waitsPeriod); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick:
			}
			rows := must.Get(conn.Query(context.WithoutCancel(ctx), `SELECT coalesce(wait_event_type || ' ' || wait_event, 'running') FROM pg_stat_activity
				WHERE (backend_type = 'client backend' AND state = 'active' OR backend_type IN ('walwriter', 'checkpointer', 'background writer')
				AND wait_event_type IS DISTINCT FROM 'Activity') AND pid <> pg_backend_pid()`))
			for _, doing := range must.Get(pgx.CollectRows(rows, pgx.RowTo[string])) {
				waits[doing]++
			}
		}
	}()
	return func() Waits { cancel(); return <-seen }
}

// String names what was seen most, with its share.
func (w Waits) String() string {
	total := 0
	for _, n := range w {
		total += n
	}
	var parts []string
	for _, doing := range slices.SortedFunc(maps.Keys(w), func(a, b string) int { return w[b] - w[a] }) {
		if share := 100 * w[doing] / max(1, total); share > 0 {
			parts = append(parts, fmt.Sprintf("%s %d %%", doing, share))
		}
	}
	return strings.Join(parts, ", ")
}
