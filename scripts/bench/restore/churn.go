package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// changes is how many orders were changed in each way.
type changes struct{ updates, deletes, inserts int }

func (c changes) sum() int { return c.updates + c.deletes + c.inserts }

const (
	// batchOrders are changed in a transaction: three in five get another address
	// and another item, one in five is deleted, and one in five comes anew.
	batchOrders = 100
	// memorySamples is how often memory is looked at in the end: the most of them
	// counts.
	memorySamples = 20
	samplingEvery = 100 * time.Millisecond
	// settling is how long the reader is left alone before that, if changes went on
	// for longer: it gives memory back now and then.
	settling = 15 * time.Second
	// catchUpTimeout is how long the reader may take to see the last change.
	catchUpTimeout = 2 * time.Minute
)

// churn changes orders at a rate while others are read, and looks at the memory
// of the reader once it has seen everything.
func churn(ctx context.Context, s *settings, database string, reader *rig.Reader) (c churned, err error) {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return c, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	uids, err := allUIDs(ctx, conn)
	if err != nil {
		return c, err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var readers sync.WaitGroup
	asked := slices.Clone(uids[:len(uids)/10])
	readers.Go(func() { read(reading, reader.Addr, asked, s.ReadRate) })

	random := rand.New(rand.NewPCG(rand.Uint64(), 2)) // another churn has made other orders
	pause := time.Duration(float64(time.Second) * batchOrders / float64(s.ChurnRate))
	for began, due := time.Now(), time.Duration(0); time.Since(began) < s.Churn; due += pause {
		if err := retry.Sleep(ctx, due-time.Since(began)); err != nil {
			return c, err
		}
		if err := change(ctx, conn, random, uids, &c.changes); err != nil {
			return c, err
		}
	}
	if c.stats, err = settled(ctx, reader, len(uids)); err != nil {
		return c, err
	}
	if err := retry.Sleep(ctx, min(settling, s.Churn)); err != nil {
		return c, err
	}
	for range memorySamples {
		now, peak, err := procfs.Memory(reader.Pid())
		if err != nil {
			return c, err
		}
		c.memory, c.peak = max(c.memory, now), peak
		if err := retry.Sleep(ctx, samplingEvery); err != nil {
			return c, err
		}
	}
	stop()
	readers.Wait()
	return c, nil
}

func allUIDs(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `SELECT order_uid FROM orders`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// change makes one transaction. uids are those that there are, before and after.
func change(ctx context.Context, conn *pgx.Conn, random *rand.Rand, uids []string, c *changes) error {
	size := min(batchOrders, len(uids)/2)
	for i := range size { // the chosen ones to the end
		last := len(uids) - 1 - i
		other := random.IntN(last + 1)
		uids[last], uids[other] = uids[other], uids[last]
	}
	chosen := uids[len(uids)-size:]
	updated, gone, copied := chosen[:size*3/5], chosen[size*3/5:size*4/5], chosen[size*4/5:]
	stamp := fmt.Sprintf("%08x", random.Uint32())
	fresh := make([]string, len(gone))
	for i := range fresh {
		fresh[i] = fmt.Sprintf("%s%03xnew", stamp, i)
	}
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue(`UPDATE deliveries SET address = 'Street ' || left(repeat(md5(order_uid || $2), 2), 4 + abs(hashtext(order_uid || $2)) % 40)
			WHERE order_uid = ANY($1)`, updated, stamp)
		batch.Queue(`UPDATE items SET status = status + 1 WHERE order_uid = ANY($1)`, updated)
		batch.Queue(`DELETE FROM orders WHERE order_uid = ANY($1)`, gone)
		for _, t := range orderdb.Tables {
			columns := strings.Join(t.Columns[1:], ", ")
			batch.Queue(fmt.Sprintf(`INSERT INTO %[1]s (order_uid, %[2]s) SELECT fresh, %[2]s
				FROM unnest($1::text[], $2::text[]) AS made(source, fresh) JOIN %[1]s ON order_uid = source`, t.Name, columns),
				copied[:len(fresh)], fresh)
		}
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return fmt.Errorf("change orders: %w", err)
	}
	c.updates, c.deletes, c.inserts = c.updates+len(updated), c.deletes+len(gone), c.inserts+len(fresh)
	copy(gone, fresh)
	return nil
}

// read asks for orders, which may have gone by now, until ctx ends.
func read(ctx context.Context, addr string, uids []string, rate int) {
	if rate == 0 || len(uids) == 0 {
		return
	}
	random := rand.New(rand.NewPCG(3, 4))
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/order/"+uids[random.IntN(len(uids))], nil)
		if err != nil {
			return
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	}
}

// settled waits until the reader has as many orders as there are, and has looked
// for more twice.
func settled(ctx context.Context, reader *rig.Reader, orders int) (rig.ReaderStats, error) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	rounds := int64(-1)
	for {
		now, err := reader.Stats(ctx)
		if err != nil {
			return now, err
		}
		switch {
		case now.Orders != int64(orders):
			rounds = -1
		case rounds < 0:
			rounds = now.Rounds
		case now.Rounds >= rounds+2:
			if now.Relists > 0 {
				return now, errors.New("the reader read all orders anew meanwhile")
			}
			return now, nil
		}
		if err := retry.Sleep(ctx, 50*time.Millisecond); err != nil {
			return now, fmt.Errorf("the reader has %d orders, and there are %d: %w", now.Orders, orders, err)
		}
	}
}
