package main

import (
	"context"
	"errors"
	"time"
)

// hauntedPolling is how often the embedded broker is looked at.
const hauntedPolling = 500 * time.Millisecond

// await returns once a hit has recovered. The embedded broker is helped there: of
// a member that dies while it joins it does not watch the session, and so keeps
// it, with its partitions, until the next rebalance.
func (s *site) await(ctx context.Context, h *hit) error {
	if s.embedded == nil {
		return s.watch.wait(ctx, h)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waited := make(chan error, 1)
	go func() { waited <- s.watch.wait(ctx, h) }()
	haunted := time.Time{}
	for {
		select {
		case err := <-waited:
			return err
		case <-time.After(hauntedPolling):
		}
		switch {
		case !s.haunted():
			haunted = time.Time{}
		case haunted.IsZero():
			haunted = time.Now()
		case time.Since(haunted) > 3*sessionTimeout:
			if err := restart(ctx, s.workers[0], false); err != nil {
				cancel()
				return errors.Join(err, <-waited)
			}
			haunted = time.Time{}
		}
	}
}

// haunted says whether the group is at rest with more members than there are
// workers.
func (s *site) haunted() bool {
	g := s.embedded.Cluster().GroupInfo(group)
	return g != nil && g.State == "Stable" && len(g.Members) > len(s.workers)
}
