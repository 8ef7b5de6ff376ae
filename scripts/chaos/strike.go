package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// kind is a kind of strike.
type kind struct {
	name   string
	weight int // how often it comes, relative to the others
	needs  part
	strike func(ctx context.Context, s *site, random *rand.Rand) error
}

// part is what is not there in every run.
type part int

const (
	nothing part = iota
	apacheKafka
	natsBridge
	baseBackup // pg_basebackup
)

// possible are the strikes that are wanted and, with what is there, possible, each as
// often as its weight says.
func possible(only string, kafka, nats, backup bool) (all []*kind) {
	there := map[part]bool{nothing: true, apacheKafka: kafka, natsBridge: nats, baseBackup: backup}
	for i, k := range kinds {
		if strings.Contains(k.name, only) && there[k.needs] {
			all = append(all, slices.Repeat([]*kind{&kinds[i]}, k.weight)...)
		}
	}
	return all
}

// kinds are all strikes. Each leaves everything running again, except that
// connections may stay silent.
var kinds = append([]kind{
	{"SIGKILL of a worker", 24, nothing, func(ctx context.Context, s *site, r *rand.Rand) error { return restart(ctx, one(r, s.workers), true) }},
	{"SIGTERM of a worker", 8, nothing, func(ctx context.Context, s *site, r *rand.Rand) error { return restart(ctx, one(r, s.workers), false) }},
	// For less than the session timeout, or more.
	{"SIGSTOP of a worker", 8, nothing, func(ctx context.Context, s *site, r *rand.Rand) error {
		return freeze(ctx, upTo(r, 2*sessionTimeout), one(r, s.workers))
	}},
	{"SIGKILL of a reader", 8, nothing, func(ctx context.Context, s *site, r *rand.Rand) error { return restart(ctx, one(r, s.readers), true) }},
	{"SIGTERM of a reader", 4, nothing, func(ctx context.Context, s *site, r *rand.Rand) error { return restart(ctx, one(r, s.readers), false) }},
	{"SIGSTOP of a reader", 4, nothing, func(ctx context.Context, s *site, r *rand.Rand) error {
		return freeze(ctx, upTo(r, 4*time.Second), one(r, s.readers))
	}},
	{"SIGKILL of PostgreSQL", 8, nothing, func(ctx context.Context, s *site, r *rand.Rand) error {
		return outage(ctx, upTo(r, 2*time.Second), s.database.Kill, s.database.Restart)
	}},
	{"restart of PostgreSQL", 4, nothing, func(ctx context.Context, s *site, _ *rand.Rand) error { return s.database.Restart(ctx) }},
	{"SIGSTOP of PostgreSQL", 4, nothing, func(ctx context.Context, s *site, r *rand.Rand) error {
		return freeze(ctx, upTo(r, 2*time.Second), s.database)
	}},
	{"restore of PostgreSQL to an earlier base backup", 3, baseBackup, func(ctx context.Context, s *site, r *rand.Rand) error {
		if err := s.database.BackUp(ctx); err != nil {
			return err
		}
		if err := s.erase(ctx); err != nil { // which the tables forget
			return err
		}
		_ = retry.Sleep(ctx, upTo(r, 3*time.Second)) // what comes meanwhile is lost to the tables
		return s.database.Restore(ctx)
	}},
	{"network to PostgreSQL cut", 5, nothing, func(ctx context.Context, s *site, r *rand.Rand) error {
		return cut(ctx, s.network, upTo(r, 3*time.Second))
	}},
	{"network to PostgreSQL silent", 3, nothing, func(ctx context.Context, s *site, r *rand.Rand) error {
		return silence(ctx, s.network, upTo(r, 3*time.Second), r.IntN(2) == 0)
	}},
	{"SIGKILL of a broker", 8, apacheKafka, func(ctx context.Context, s *site, r *rand.Rand) error {
		b := one(r, s.cluster.Brokers)
		return outage(ctx, upTo(r, 5*time.Second), b.Kill, b.Start)
	}},
	{"SIGTERM of a broker", 4, apacheKafka, func(ctx context.Context, s *site, r *rand.Rand) error {
		b := one(r, s.cluster.Brokers)
		stopping, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return outage(ctx, upTo(r, 5*time.Second), func() error { return b.Stop(stopping, syscall.SIGTERM) }, b.Start)
	}},
	{"SIGSTOP of a broker", 4, apacheKafka, func(ctx context.Context, s *site, r *rand.Rand) error {
		b := one(r, s.cluster.Brokers)
		return errors.Join(freeze(ctx, upTo(r, 5*time.Second), b), b.WaitReady(ctx))
	}},
	{"network to a broker cut", 5, apacheKafka, func(ctx context.Context, s *site, r *rand.Rand) error {
		return cut(ctx, one(r, s.cluster.Brokers).Proxy, upTo(r, 5*time.Second))
	}},
	{"network to a broker silent", 3, apacheKafka, func(ctx context.Context, s *site, r *rand.Rand) error {
		return silence(ctx, one(r, s.cluster.Brokers).Proxy, upTo(r, 5*time.Second), r.IntN(2) == 0)
	}},
}, natsKinds...)

func one[T any](random *rand.Rand, of []T) T { return of[random.IntN(len(of))] }

func upTo(random *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(d)))
}

// strike strikes so many times. Half of the strikes come before the recovery from an
// earlier one.
func (s *site) strike(ctx context.Context, random *rand.Rand, o options) (hits []*hit) {
	must.Succeed(s.await(ctx, s.watch(&hit{what: "the start"}, 1)))
	s.say("workers and readers are ready")
	_, err := s.database.Program("pg_basebackup")
	kinds := possible(o.Only, s.cluster != nil, s.nats != nil, err == nil)
	for n := range o.Kills {
		must.Succeed(retry.Sleep(ctx, time.Duration(random.IntN(600))*time.Millisecond))
		for _, service := range s.services() {
			must.Succeed(service.Alive())
		}
		k := one(random, kinds)
		h := s.watch(&hit{kind: k, what: fmt.Sprintf("strike %d, %s", n+1, k.name)}, 1)
		hits = append(hits, h)
		if err := k.strike(ctx, s, random); err != nil {
			must.Succeed(fmt.Errorf("%s: %w", h.what, err))
		}
		if random.IntN(2) == 0 {
			must.Succeed(s.await(ctx, h))
		}
		if (n+1)%10 == 0 {
			s.say("%d strikes", n+1)
		}
	}
	for _, h := range hits {
		must.Succeed(s.await(ctx, h))
	}
	return hits
}

func restart(ctx context.Context, service *service, kill bool) error {
	if kill {
		_ = service.Kill() // nothing resists this signal
	} else if err := service.terminate(ctx); err != nil {
		return err
	}
	return service.start()
}

// outage stops something, and starts it again after a while.
func outage(ctx context.Context, away time.Duration, stop func() error, start func(context.Context) error) error {
	if err := stop(); err != nil {
		return err
	}
	if err := retry.Sleep(ctx, away); err != nil {
		return err
	}
	return start(ctx)
}

// freeze pauses something for a while.
func freeze(ctx context.Context, away time.Duration, of interface {
	Pause() error
	Resume() error
}) error {
	if err := of.Pause(); err != nil {
		return err
	}
	_ = retry.Sleep(ctx, away) // it continues in any case
	return of.Resume()
}

// cut breaks all connections, and lets none be made for a while.
func cut(ctx context.Context, p *proxy.Proxy, away time.Duration) error {
	p.Refuse(true)
	p.Cut()
	_ = retry.Sleep(ctx, away) // it works again in any case
	p.Refuse(false)
	return nil
}

// silence makes all connections half-open. Unless they end after a while, both sides
// have to notice by themselves.
func silence(ctx context.Context, p *proxy.Proxy, away time.Duration, end bool) error {
	p.Silence()
	if err := retry.Sleep(ctx, away); err != nil {
		return err
	}
	if end {
		p.Cut()
	}
	return nil
}
