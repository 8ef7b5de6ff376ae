package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/devstack/apachekafka"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
)

// kind is a kind of strike.
type kind int

const (
	killWorker kind = iota
	terminateWorker
	freezeWorker // for less than the session time-out, or more
	killReader
	terminateReader
	freezeReader
	killDatabase
	restartDatabase
	freezeDatabase
	cutDatabase
	silenceDatabase
	killBroker
	terminateBroker
	freezeBroker
	cutKafka
	silenceKafka
	kinds
)

// kindOf is a kind's name, and how often it comes relative to the others.
type kindOf struct {
	name   string
	weight int
	broker bool // needs Apache Kafka
}

// matches says whether a strike is wanted, and can be.
func (k kindOf) matches(only string, apache bool) bool {
	return strings.Contains(k.name, only) && (apache || !k.broker)
}

var kindsOf = [kinds]kindOf{
	killWorker:      {"SIGKILL of a worker", 24, false},
	terminateWorker: {"SIGTERM of a worker", 8, false},
	freezeWorker:    {"SIGSTOP of a worker", 8, false},
	killReader:      {"SIGKILL of a reader", 8, false},
	terminateReader: {"SIGTERM of a reader", 4, false},
	freezeReader:    {"SIGSTOP of a reader", 4, false},
	killDatabase:    {"SIGKILL of PostgreSQL", 8, false},
	restartDatabase: {"restart of PostgreSQL", 4, false},
	freezeDatabase:  {"SIGSTOP of PostgreSQL", 4, false},
	cutDatabase:     {"network to PostgreSQL cut", 5, false},
	silenceDatabase: {"network to PostgreSQL silent", 3, false},
	killBroker:      {"SIGKILL of a broker", 8, true},
	terminateBroker: {"SIGTERM of a broker", 4, true},
	freezeBroker:    {"SIGSTOP of a broker", 4, true},
	cutKafka:        {"network to a broker cut", 5, true},
	silenceKafka:    {"network to a broker silent", 3, true},
}

// strike strikes so many times. Half of the strikes come while an earlier one is
// not recovered from.
func (s *site) strike(ctx context.Context, random *rand.Rand, o options) (hits []*hit, err error) {
	if err := s.await(ctx, s.watch.add("the start", 1)); err != nil {
		return nil, err
	}
	s.say("all is at work")
	for n := range o.Kills {
		if err := retry.Sleep(ctx, time.Duration(random.IntN(600))*time.Millisecond); err != nil {
			return nil, err
		}
		for _, service := range s.services() {
			if err := service.Alive(); err != nil {
				return nil, err
			}
		}
		k := s.pick(random, o.Only)
		h := s.watch.addHit(&hit{kind: k, what: fmt.Sprintf("strike %d, %s", n+1, kindsOf[k].name)}, 1)
		hits = append(hits, h)
		if err := s.strikeOnce(ctx, random, k); err != nil {
			return nil, fmt.Errorf("%s: %w", h.what, err)
		}
		if random.IntN(2) == 0 {
			if err := s.await(ctx, h); err != nil {
				return nil, err
			}
		}
		if (n+1)%10 == 0 {
			s.say("%d strikes", n+1)
		}
	}
	for _, h := range hits {
		if err := s.await(ctx, h); err != nil {
			return nil, err
		}
	}
	return hits, nil
}

func (s *site) pick(random *rand.Rand, only string) kind {
	var all []kind // each as often as it weighs
	for k, of := range kindsOf {
		if of.matches(only, s.cluster != nil) {
			all = append(all, slices.Repeat([]kind{kind(k)}, of.weight)...)
		}
	}
	return all[random.IntN(len(all))]
}

// strikeOnce leaves everything running again, but for connections that stay
// silent.
func (s *site) strikeOnce(ctx context.Context, random *rand.Rand, k kind) error {
	upTo := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
	worker, reader := s.workers[random.IntN(len(s.workers))], s.readers[random.IntN(len(s.readers))]
	switch k {
	case killWorker:
		return restart(ctx, worker, true)
	case terminateWorker:
		return restart(ctx, worker, false)
	case freezeWorker:
		return worker.freeze(ctx, upTo(2*sessionTimeout))
	case killReader:
		return restart(ctx, reader, true)
	case terminateReader:
		return restart(ctx, reader, false)
	case freezeReader:
		return reader.freeze(ctx, upTo(4*time.Second))
	case cutDatabase:
		return cut(ctx, s.network, upTo(3*time.Second))
	case silenceDatabase:
		return silence(ctx, s.network, upTo(3*time.Second), random.IntN(2) == 0)
	case killDatabase, restartDatabase, freezeDatabase:
		return s.strikeDatabase(ctx, k, upTo(2*time.Second))
	default:
		return s.strikeBroker(ctx, k, s.cluster.Brokers[random.IntN(len(s.cluster.Brokers))], upTo(5*time.Second), random.IntN(2) == 0)
	}
}

func restart(ctx context.Context, service *service, kill bool) error {
	if kill {
		service.kill(ctx)
	} else if err := service.terminate(ctx); err != nil {
		return err
	}
	return service.start()
}

func (s *site) strikeDatabase(ctx context.Context, k kind, away time.Duration) error {
	switch k {
	case freezeDatabase:
		if err := s.database.Pause(); err != nil {
			return err
		}
		_ = retry.Sleep(ctx, away) // it continues in any case
		return s.database.Resume()
	case killDatabase:
		if err := s.database.Kill(); err != nil {
			return err
		}
		if err := retry.Sleep(ctx, away); err != nil {
			return err
		}
	default: // Restart stops it
	}
	return s.database.Restart(ctx)
}

func (s *site) strikeBroker(ctx context.Context, k kind, b *apachekafka.Broker, away time.Duration, end bool) error {
	switch k {
	case cutKafka:
		return cut(ctx, b.Proxy, away)
	case silenceKafka:
		return silence(ctx, b.Proxy, away, end)
	case freezeBroker:
		if err := b.Pause(); err != nil {
			return err
		}
		_ = retry.Sleep(ctx, away) // it continues in any case
		return errors.Join(b.Resume(), b.WaitReady(ctx))
	case terminateBroker:
		stopping, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := b.Terminate(stopping); err != nil {
			return err
		}
	default:
		if err := b.Kill(); err != nil {
			return err
		}
	}
	if err := retry.Sleep(ctx, away); err != nil {
		return err
	}
	return b.Start(ctx)
}

// cut breaks all connections, and lets none be made for a while.
func cut(ctx context.Context, p *proxy.Proxy, away time.Duration) error {
	p.Refuse(true)
	p.Cut()
	_ = retry.Sleep(ctx, away) // it works again in any case
	p.Refuse(false)
	return nil
}

// silence makes all connections half-open. Where they do not end after a while,
// both sides are to find out by themselves.
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
