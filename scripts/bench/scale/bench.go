package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/orderhub/orderhub/scripts/bench/internal/plot"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/bench/internal/wrk"
)

// originals is how many orders are made; the others are copies of them under
// other uids.
const originals = 50_000

// postgres are settings of the server. They bound the WAL's share of the disk.
var postgres = map[string]string{"max_wal_size": "8GB", "min_wal_size": "1GB"}

func bench(ctx context.Context, s *settings) (err error) {
	site, err := rig.OpenSite(ctx, s.Common(), postgres)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	b := &runner{settings: s, site: site}
	if b.wrk, err = wrk.New(site.Folder, 2, 64); err != nil {
		return err
	}
	b.orders, err = site.MakeOrders(ctx, rig.OrdersOptions{Topic: "stored", Partitions: 1, Count: min(originals, s.Steps[0]/2), Items: s.Items, Seed: 1})
	if err != nil {
		return err
	}
	points, err := b.grow(ctx)
	if err != nil {
		return err
	}
	body := growthTables(s, points)
	if s.WritesDocument() {
		drawn, err := plot.SVG("orders", panels(points))
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.Plot, drawn, 0o600); err != nil {
			return fmt.Errorf("write the plot: %w", err)
		}
		body = fmt.Sprintf("![The figures over the number of orders](%s)\n\n%s", filepath.Base(s.Plot), body)
	}
	if err := site.Save("scale", body); err != nil || s.Small == 0 {
		return err
	}
	tries, err := b.tryAll(ctx)
	if err != nil {
		return err
	}
	if err := site.Save("scale-small", triesTable(s, tries)); err != nil {
		return err
	}
	return site.Save("scale-further", furtherTable(points[len(points)-1], tries))
}

// runner is what all measurements have in common.
type runner struct {
	settings *settings
	site     *rig.Site
	orders   *rig.Orders
	wrk      *wrk.Wrk
	slices   int // made so far
}

// grow measures at each step, in one database.
func (b *runner) grow(ctx context.Context) (points []point, err error) {
	database, drop, err := b.site.Server.Fresh(ctx)
	if err != nil {
		return nil, err
	}
	defer drop()
	filling := rig.NewFill(b.orders, b.site.Server.Superuser(database))
	sliced := 0
	for _, orders := range b.settings.Steps {
		slice := b.sliceOf(orders)
		program.Progress("filling up to %d orders", orders-slice)
		if err := filling.To(ctx, orders-slice-sliced); err != nil {
			return nil, err
		}
		sliced += slice
		p, err := b.measure(ctx, database, orders, slice)
		if err != nil {
			return nil, fmt.Errorf("at %d orders: %w", orders, err)
		}
		points = append(points, p)
	}
	return points, nil
}

func (b *runner) sliceOf(orders int) int { return max(1, min(b.settings.Slice, orders/5)) }
