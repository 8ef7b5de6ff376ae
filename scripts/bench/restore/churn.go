package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// batch is what a transaction changes.
var batch = rig.Changes{Updates: 60, Deletes: 20, Inserts: 20}

const (
	// memorySamples is how often memory is sampled in the end. The maximum counts.
	memorySamples = 20
	samplingEvery = 100 * time.Millisecond
	// settling is how long the reader is left alone before that, or as long as the
	// changes where that is shorter: it returns memory from time to time.
	settling = 15 * time.Second
	// catchUpTimeout is how long the reader may take to see the last change.
	catchUpTimeout = 2 * time.Minute
)

// churn changes orders at a rate while others are requested, and looks at the
// memory of the reader once it has seen everything.
func (b *runner) churn(ctx context.Context, compression string) (c churned, err error) {
	reader, err := b.site.StartReader(ctx, b.database, "CACHE_COMPRESSION="+compression)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, reader.Stop()) }()
	program.Progress("changing orders for %v", b.settings.Churn)
	asked, err := rig.Query(ctx, b.database, pgx.RowTo[string], "SELECT order_uid FROM orders ORDER BY random() LIMIT $1", max(1, b.settings.Orders/10))
	if err != nil {
		return c, err
	}
	reading, stop := context.WithCancel(ctx)
	group, working := errgroup.WithContext(reading)
	group.Go(func() error { b.request(working, reader, asked); return nil })
	group.Go(func() (err error) {
		defer stop()
		if err := b.change(working, &c.Changes); err != nil {
			return err
		}
		if c.stats, err = b.settled(working, reader); err != nil {
			return err
		}
		if err := retry.Sleep(working, min(settling, b.settings.Churn)); err != nil {
			return err
		}
		for range memorySamples {
			used, err := procfs.Of(reader.Pid())
			if err != nil {
				return err
			}
			c.memory, c.peak = max(c.memory, used.Memory), used.Peak
			if err := retry.Sleep(working, samplingEvery); err != nil {
				return err
			}
		}
		return nil
	})
	err = group.Wait()
	program.Progress("%d changes: %d MiB", c.Sum(), c.memory>>20)
	return c, err
}

// change changes orders for the time of the settings.
func (b *runner) change(ctx context.Context, sum *rig.Changes) error {
	conn, err := pgx.Connect(ctx, b.database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	pause := time.Duration(float64(time.Second) * float64(batch.Sum()) / float64(b.settings.ChurnRate))
	for began, due := time.Now(), time.Duration(0); time.Since(began) < b.settings.Churn; due += pause {
		if err := retry.Sleep(ctx, due-time.Since(began)); err != nil {
			return err
		}
		if _, err := rig.Change(ctx, conn, batch, sum); err != nil {
			return err
		}
	}
	return nil
}

// request asks for orders, which may be gone by now, until ctx ends.
func (b *runner) request(ctx context.Context, reader *rig.Reader, uids []string) {
	if b.settings.ReadRate == 0 {
		return
	}
	ticker := time.NewTicker(time.Second / time.Duration(b.settings.ReadRate))
	defer ticker.Stop()
	for ctx.Err() == nil {
		var order json.RawMessage
		_ = reader.GetJSON(ctx, "/order/"+uids[rand.IntN(len(uids))], &order)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// settled waits until the reader has as many orders as the tables, and has looked
// for more twice.
func (b *runner) settled(ctx context.Context, reader *rig.Reader) (rig.ReaderStats, error) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	stored, err := rig.Query(ctx, b.database, pgx.RowTo[int64], "SELECT count(*) FROM orders")
	if err != nil {
		return rig.ReaderStats{}, err
	}
	for rounds := int64(-1); ; {
		now, err := reader.Stats(ctx)
		if err != nil {
			return now, err
		}
		switch {
		case now.Orders != stored[0]:
			rounds = -1
		case rounds < 0:
			rounds = now.Rounds
		case now.Rounds >= rounds+2:
			if now.Relists > 0 {
				return now, errors.New("the reader read all orders again meanwhile")
			}
			return now, nil
		}
		if err := retry.Sleep(ctx, 50*time.Millisecond); err != nil {
			return now, fmt.Errorf("the reader has %d orders of %d: %w", now.Orders, stored[0], err)
		}
	}
}
