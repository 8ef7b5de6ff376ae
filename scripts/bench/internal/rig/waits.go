package rig

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// waitsPeriod is how often a server is asked what its processes do.
const waitsPeriod = 50 * time.Millisecond

// Waits are how often a server's processes were seen to run, or to wait for an event.
type Waits map[string]int

// sampleWaits begins to sample what the server's processes do that work for clients or write to
// the disk, until stop is called. Idle ones do not count.
func (s *Server) sampleWaits(ctx context.Context) (stop func() Waits) {
	conn := must.Get(pgx.Connect(ctx, s.AdminURL()))
	sampling, cancel := context.WithCancel(ctx)
	waits, ended := Waits{}, make(chan error, 1)
	sample := func() {
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for retry.Sleep(sampling, waitsPeriod) == nil {
			rows := must.Get(conn.Query(ctx, `SELECT coalesce(wait_event_type || ' ' || wait_event, 'running') FROM pg_stat_activity
				WHERE (backend_type = 'client backend' AND state = 'active' OR backend_type IN ('walwriter', 'checkpointer', 'background writer')
				AND wait_event_type IS DISTINCT FROM 'Activity') AND pid <> pg_backend_pid()`))
			for _, doing := range must.Get(pgx.CollectRows(rows, pgx.RowTo[string])) {
				waits[doing]++
			}
		}
	}
	go func() { ended <- must.Try(sample) }()
	return func() Waits { cancel(); must.Succeed(<-ended); return waits }
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
