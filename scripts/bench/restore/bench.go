package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// compressions are the values of CACHE_COMPRESSION, which are measured in turn.
var compressions = []string{"off", "zstd"}

// sample is one restore, or one COPY OUT.
type sample struct {
	took      time.Duration
	cpu       time.Duration // of the client, which COPY OUT's is not looked at for
	database  time.Duration // of CPU, likewise
	memory    int64         // resident, at ready
	peak      int64         // until then
	jsonBytes int64
	orders    int64
}

// churned is what a reader takes after a while of changes.
type churned struct {
	changes
	memory, peak int64
	stats        rig.ReaderStats
}

// findings are all samples, by what was measured.
type findings struct {
	copyOut []sample
	restore map[string][]sample
	churn   map[string]churned
}

func bench(ctx context.Context, s *settings) (err error) {
	site, err := rig.OpenSite(ctx, s.Common(), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	if _, err := site.Store(ctx, s.Orders, s.Items); err != nil {
		return err
	}
	database, _, err := site.Server.Fresh(ctx) // it goes with the server
	if err != nil {
		return err
	}
	program.Progress("warming up")
	if _, err := copyOut(ctx, database); err != nil {
		return err
	}
	found := findings{restore: map[string][]sample{}, churn: map[string]churned{}}
	for round := range s.Rounds {
		program.Progress("round %d of %d", round+1, s.Rounds)
		if err := measure(ctx, s, site, database, round, &found); err != nil {
			return err
		}
	}
	if s.Profile != "" {
		if err := profile(ctx, s, site, database); err != nil {
			return err
		}
	}
	return site.Save(section(s), found.markdown(s))
}

// section keeps the tables of different settings apart in the document.
func section(s *settings) string {
	if s.Items == 1 {
		return fmt.Sprintf("restore-%d", s.Orders)
	}
	return fmt.Sprintf("restore-%d-items-%d", s.Orders, s.Items)
}

// measure does each once, beginning with another one in each round. Changes come
// last, since they make other tables of the tables.
func measure(ctx context.Context, s *settings, site *rig.Site, database string, round int, found *findings) error {
	contenders := append([]string{""}, compressions...)
	for i := range contenders {
		compression := contenders[(round+i)%len(contenders)]
		if compression == "" {
			before, err := procfs.TreeCPU(site.Server.Pid())
			if err != nil {
				return err
			}
			c, err := copyOut(ctx, database)
			if err != nil {
				return err
			}
			if c.database, err = databaseCPU(site, before); err != nil {
				return err
			}
			c.orders = int64(s.Orders)
			program.Progress("COPY OUT      %6.2f s", c.took.Seconds())
			found.copyOut = append(found.copyOut, c)
			continue
		}
		r, err := restore(ctx, s, site, database, compression, nil)
		if err != nil {
			return err
		}
		program.Progress("restore, %-4s %6.2f s, %d MiB, at most %d MiB", compression, r.took.Seconds(), r.memory>>20, r.peak>>20)
		found.restore[compression] = append(found.restore[compression], r)
	}
	if round < s.Rounds-1 || s.Churn == 0 {
		return nil
	}
	for _, compression := range compressions {
		_, err := restore(ctx, s, site, database, compression, func(reader *rig.Reader) error {
			program.Progress("changing orders for %v", s.Churn)
			c, err := churn(ctx, s, database, reader)
			if err != nil {
				return err
			}
			program.Progress("%d changes: %d MiB", c.sum(), c.memory>>20)
			found.churn[compression] = c
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// profile looks at what a reader does while it restores.
func profile(ctx context.Context, s *settings, site *rig.Site, database string) (err error) {
	reader, err := site.StartService("read-api", "DATABASE_URL="+database, "HTTP_ADDR=127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Stop()) }()
	for ctx.Err() == nil {
		// Its admin port isn't open at once.
		if err = reader.Profile(ctx, "profile?seconds=3", s.Profile); err == nil {
			return nil
		}
		if err := retry.Sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return err
}

// restore starts a reader, and has it used while it is ready.
func restore(ctx context.Context, s *settings, site *rig.Site, database, compression string, use func(*rig.Reader) error) (r sample, err error) {
	before, err := procfs.TreeCPU(site.Server.Pid())
	if err != nil {
		return r, err
	}
	reader, err := site.StartReader(ctx, database, "CACHE_COMPRESSION="+compression)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, reader.Stop()) }()
	r = sample{took: reader.Restore, memory: reader.Memory, peak: reader.Peak}
	if r.cpu, err = procfs.CPU(reader.Pid()); err != nil {
		return r, err
	}
	if r.database, err = databaseCPU(site, before); err != nil {
		return r, err
	}
	held, err := reader.Stats(ctx)
	if err != nil {
		return r, err
	}
	if held.Orders < int64(s.Orders)*9/10 || !held.Complete {
		return r, fmt.Errorf("the reader holds %d of %d orders", held.Orders, s.Orders)
	}
	r.jsonBytes, r.orders = held.JSONBytes, held.Orders
	if use != nil {
		err = use(reader)
	}
	return r, err
}

// databaseCPU is what the database has used since.
func databaseCPU(site *rig.Site, before time.Duration) (time.Duration, error) {
	after, err := procfs.TreeCPU(site.Server.Pid())
	return after - before, err
}
