// Command scale fills a database with orders and measures, while they become
// more, what changes with their number: the worker's rate, the reader's restore,
// memory and rate, lists, and the sizes of tables and indexes. Then it tries at a
// small scale what would be done for still more orders.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/bench/internal/wrk"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole) }

var benchmark = program.Benchmark{
	Name: "scale",
	About: "What changes as orders become more. Ten million take about a quarter of an hour, 30 GB of disk below TMPDIR " +
		"(and /var/tmp) and 16 GiB of memory.",
	Document: program.Scaling,
}

type settings struct {
	program.Flags
	Orders     int           `default:"10000000" full:"1000000" smoke:"3000" min:"1000" help:"Orders in the end; 1000000 are enough for the document."`
	Steps      []int         `smoke:"1000,3000" min:"1000" help:"Numbers of orders to measure at (default: 1, 3, 10, 30 and 100 % of --orders)."`
	Items      int           `default:"1" min:"1" help:"Items of an order."`
	Slice      int           `default:"100000" min:"1" help:"Orders of each step that the worker stores, at most a fifth of the step; the others are copied."`
	Partitions int           `default:"4" min:"1" help:"Partitions of the topic."`
	Reads      time.Duration `default:"5s" smoke:"1s" min:"1s" help:"How long orders are read at each step."`
	Lists      int           `default:"200" smoke:"3" min:"1" help:"How often each list is read at each step."`
	Small      int           `default:"500000" smoke:"1500" min:"0" help:"Orders with which the next steps are tried (0: they are not)."`
	Rounds     int           `default:"2" smoke:"1" min:"1" help:"How often each of these is tried; the table has medians."`
	Plot       string        `default:"docs/scale.svg" help:"File for the plot, in the folder of the document; written where there is a document."`
}

// AfterApply is called by kong.
func (s *settings) AfterApply() error {
	if len(s.Steps) == 0 {
		for _, percent := range []int{1, 3, 10, 30, 100} {
			s.Steps = append(s.Steps, s.Orders*percent/100)
		}
	}
	if !slices.IsSorted(s.Steps) || s.Steps[len(s.Steps)-1] != s.Orders {
		return fmt.Errorf("--steps: %v do not rise to --orders, %d", s.Steps, s.Orders)
	}
	return nil
}

// originals is how many orders are made; the others are copies of them under
// other uids.
const originals = 50_000

// serverSettings are settings of the server. They bound the WAL's share of the disk.
var serverSettings = map[string]string{"max_wal_size": "8GB", "min_wal_size": "1GB"}

func bench(ctx context.Context, s *settings) (err error) {
	site, err := rig.OpenSite(ctx, s.Common(), serverSettings)
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
		drawn, err := drawSVG("orders", panels(points))
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
