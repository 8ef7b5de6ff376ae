package main

import (
	"context"
	"errors"
	"time"
)

// memberPolling is how often the embedded broker is checked.
const memberPolling = 500 * time.Millisecond

// await returns once a hit has recovered. The embedded broker doesn't expire a
// member that dies while it joins: the member keeps its partitions until the next
// rebalance. So a worker is restarted where that happens.
func (s *site) await(ctx context.Context, h *hit) error {
	if s.embedded == nil {
		return s.watch.wait(ctx, h)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waited := make(chan error, 1)
	go func() { waited <- s.watch.wait(ctx, h) }()
	since := time.Time{}
	for {
		select {
		case err := <-waited:
			return err
		case <-time.After(memberPolling):
		}
		switch {
		case !s.hasDeadMember():
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > 3*sessionTimeout:
			if err := restart(ctx, s.workers[0], false); err != nil {
				cancel()
				return errors.Join(err, <-waited)
			}
			since = time.Time{}
		}
	}
}

// hasDeadMember says whether the group is stable with more members than there are
// workers.
func (s *site) hasDeadMember() bool {
	g := s.embedded.Cluster().GroupInfo(group)
	return g != nil && g.State == "Stable" && len(g.Members) > len(s.workers)
}
