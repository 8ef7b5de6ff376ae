// Command restore measures how long the API takes from its start until it is
// ready with all orders in memory, against COPY OUT of the four tables, the fastest
// that PostgreSQL can send them. It also measures the memory that this takes, then
// and after a while of changes.
//
// All of it happens in one run, in turn, so that the ratios hold on a noisy
// machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole) }

var benchmark = program.Named("restore", "The time and memory that read-api takes to hold all orders, against COPY OUT of the four tables.")

type settings struct {
	program.Flags
	Orders    int           `default:"1000000" full:"1000000" smoke:"2000" min:"1" help:"Stored orders."`
	Items     int           `default:"1" min:"1" help:"Items of an order."`
	Rounds    int           `default:"3" smoke:"1" min:"1" help:"How often each measurement is made; the table has medians."`
	Churn     time.Duration `default:"1m" smoke:"1s" min:"0" help:"How long orders are changed, deleted and inserted before memory is looked at again; the goal is for 10m (0: not at all)."`
	ChurnRate int           `default:"2000" smoke:"300" min:"1" help:"Orders a second that are changed, deleted or inserted meanwhile."`
	ReadRate  int           `default:"500" smoke:"100" min:"0" help:"Requests a second meanwhile."`
}

// compressions are the values of CACHE_COMPRESSION, which are measured in turn.
var compressions = []string{"off", "zstd"}

// copyOut is the contender that the others are compared with.
const copyOut = "COPY OUT of the four tables"

// readerWith is the name of a contender.
func readerWith(compression string) string { return "read-api, CACHE_COMPRESSION=" + compression }

// sample is one restore, or one COPY OUT, which has no memory.
type sample struct {
	rig.Use
	memory    int64 // resident, at ready
	jsonBytes int64
}

// churned is what a reader takes after a while of changes.
type churned struct {
	rig.Changes
	memory, peak int64
	stats        rig.ReaderStats
}

// findings are all samples, and what was found after changes by compression.
type findings struct {
	samples report.Samples[sample]
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
	database, _, err := site.Server.Fresh(ctx)
	if err != nil {
		return err
	}
	b := &runner{settings: s, site: site, database: database}
	program.Progress("warming up")
	if err := b.copyOut(ctx); err != nil {
		return err
	}
	found := findings{churn: map[string]churned{}}
	contenders := []program.Contender[sample]{{Name: copyOut, Run: func(ctx context.Context) (s sample, err error) {
		s.Use, err = rig.Meter{Server: site.Server}.During(ctx, b.settings.Orders, func() error { return b.copyOut(ctx) })
		s.Client, s.Peak = 0, 0
		return s, err
	}}}
	for _, compression := range compressions {
		contenders = append(contenders, program.Contender[sample]{Name: readerWith(compression), Run: func(ctx context.Context) (sample, error) {
			return b.restore(ctx, compression)
		}})
	}
	found.samples, err = program.Measure(ctx, s.Rounds, contenders, func(s sample) string {
		return fmt.Sprintf("%6.2f s, %d MiB, at most %.0f MiB", s.Seconds(), s.memory>>20, s.PeakMiB())
	})
	if err != nil {
		return err
	}
	if s.Churn > 0 { // last, since it changes the tables
		for _, compression := range compressions {
			if found.churn[compression], err = b.churn(ctx, compression); err != nil {
				return err
			}
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

// runner has everything that is measured.
type runner struct {
	settings *settings
	site     *rig.Site
	database string
}

// copyOut reads the four tables one after another by binary COPY, and discards
// their rows.
func (b *runner) copyOut(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, b.database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, t := range orderdb.Tables {
		statement := fmt.Sprintf("COPY %s (%s) TO STDOUT (FORMAT binary)", t.Name, strings.Join(t.Columns, ", "))
		if _, err := conn.PgConn().CopyTo(ctx, io.Discard, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// restore starts a reader and looks at it when it is ready.
func (b *runner) restore(ctx context.Context, compression string) (r sample, err error) {
	before, err := procfs.TreeCPU(b.site.Server.Pid())
	if err != nil {
		return r, err
	}
	reader, err := b.site.StartReader(ctx, b.database, "CACHE_COMPRESSION="+compression)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, reader.Stop()) }()
	r = sample{memory: reader.Memory, Use: rig.Use{Times: b.settings.Orders, Took: reader.Restore, Peak: reader.Peak}}
	used, usedErr := procfs.Of(reader.Pid())
	after, afterErr := procfs.TreeCPU(b.site.Server.Pid())
	if err := errors.Join(usedErr, afterErr); err != nil {
		return r, err
	}
	r.Client, r.Database = used.CPU, after-before
	held, err := reader.Stats(ctx)
	if err == nil && (held.Orders != int64(b.settings.Orders) || !held.Complete) {
		err = fmt.Errorf("the reader holds %d of %d orders", held.Orders, b.settings.Orders)
	}
	r.jsonBytes = held.JSONBytes
	return r, err
}

const (
	goalTime = 1.5
	// The goals of memory: so many times the orders' JSON, without compression plus
	// so many bytes an order.
	goalPlain, goalBeside, goalZstd = 1.15, 40, 0.35
)

// goalOf is the memory that a reader may take.
func goalOf(compression string, jsonBytes, orders int64) float64 {
	if compression == "off" {
		return goalPlain*float64(jsonBytes) + goalBeside*float64(orders)
	}
	return goalZstd * float64(jsonBytes)
}

var columns = []report.Column[sample]{
	{Name: "seconds", Figure: sample.Seconds, Format: report.Decimals(2)},
	{Name: "× COPY OUT", Figure: sample.Seconds, Format: report.Decimals(2), Ratio: true},
	{Name: "database µs/order", Figure: sample.DatabaseCost, Format: report.Decimals(1)},
	{Name: "client µs/order", Figure: sample.ClientCost, Format: report.Decimals(1)},
	{Name: "MiB at ready", Figure: func(s sample) float64 { return float64(s.memory) / (1 << 20) }, Format: report.Decimals(0)},
	{Name: "× JSON", Figure: func(s sample) float64 { return float64(s.memory) / float64(s.jsonBytes) }, Format: report.Decimals(3)},
	{Name: "B/order", Figure: func(s sample) float64 { return float64(s.memory) / float64(s.Times) }, Format: report.Decimals(0)},
	{Name: "peak MiB", Figure: sample.PeakMiB, Format: report.Decimals(0)},
	{Name: "× JSON", Figure: func(s sample) float64 { return float64(s.Peak) / float64(s.jsonBytes) }, Format: report.Decimals(3)},
}

func (f findings) markdown(s *settings) string {
	off, zstd := readerWith("off"), readerWith("zstd")
	title := fmt.Sprintf("%d orders of %d bytes as JSON on average", s.Orders, f.samples[off][0].jsonBytes/int64(s.Orders))
	return f.samples.Table(title, columns, copyOut, off, zstd) +
		fmt.Sprintf("\n- time: %.2f × COPY OUT (goal: at most %.1f)\n", f.samples.Ratio(off, copyOut, sample.Seconds), goalTime) +
		f.line(s, "off", fmt.Sprintf("%.2f × JSON and %d bytes an order", goalPlain, goalBeside)) +
		f.line(s, "zstd", fmt.Sprintf("%.2f × JSON", goalZstd))
}

// line says how far the goal of memory is, and what was changed.
func (f findings) line(s *settings, compression, goal string) string {
	text := fmt.Sprintf("- memory, %s: %.2f × the goal (%s) at ready", compression, f.samples.Median(readerWith(compression), func(r sample) float64 {
		return float64(r.memory) / goalOf(compression, r.jsonBytes, int64(r.Times))
	}), goal)
	if c, ok := f.churn[compression]; ok {
		text += fmt.Sprintf(", %.2f × after %d changes in %v (%d updates, %d deletes, %d inserts), %d MiB or %.3f × JSON; at most %d MiB meanwhile",
			float64(c.memory)/goalOf(compression, c.stats.JSONBytes, c.stats.Orders), c.Sum(), s.Churn, c.Updates, c.Deletes, c.Inserts,
			c.memory>>20, float64(c.memory)/float64(c.stats.JSONBytes), c.peak>>20)
	}
	return text + "\n"
}
