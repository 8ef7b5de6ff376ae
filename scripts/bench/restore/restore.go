// Package restore measures how long the API takes from its start until it is ready
// with all orders in memory, against COPY OUT of the four tables, the fastest that
// PostgreSQL can send them. It also measures the memory that this takes, then,
// after a while of changes, and while it reads all orders anew.
package restore

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// Benchmark has the flags.
type Benchmark struct {
	Orders    int           `default:"1000000" smoke:"2000" help:"Stored orders."`
	Items     int           `default:"1" help:"Items of an order."`
	Rounds    int           `default:"3" smoke:"1" help:"How often each measurement is made; the table has medians."`
	Churn     time.Duration `default:"1m" smoke:"1s" help:"How long orders are changed, deleted and inserted before memory is looked at again; the goal is for 10m (0: not at all)."`
	ChurnRate int           `default:"2000" smoke:"300" help:"Orders a second that are changed, deleted or inserted meanwhile."`
	ReadRate  int           `default:"500" smoke:"100" help:"Requests a second meanwhile."`

	Streams int `default:"1000" smoke:"10" help:"Streams that are open while a reader reads all orders anew, for the peak of its memory."`

	site     *rig.Site
	database string
}

// compressions are the values of CACHE_COMPRESSION, which are measured in turn.
var compressions = []string{"off", "zstd"}

const copyOut = "COPY OUT of the four tables"

func readerWith(compression string) string { return "read-api, CACHE_COMPRESSION=" + compression }

// warmWith is the name of one that reads what it saved before.
func warmWith(compression string) string {
	return "warm start, CACHE_COMPRESSION=" + compression
}

// sample is one restore, or one COPY OUT, which has no memory.
type sample struct {
	rig.Use
	memory    int64 // resident, at ready
	jsonBytes int64
}

type churned struct {
	rig.Changes
	memory, peak int64
	stats        rig.ReaderStats
}

// findings are all samples, and what was found after changes by compression.
type findings struct {
	samples report.Samples[sample]
	churn   map[string]churned
	relists string
}

// Measure makes the table.
func (b *Benchmark) Measure(ctx context.Context, flags *rig.Flags) {
	b.site = rig.OpenSite(ctx, flags, nil)
	defer b.site.Close()
	b.site.Store(ctx, b.Orders, b.Items, nil)
	b.database, _ = b.site.Server.Fresh(ctx)
	rig.Progress("warming up")
	b.copyOut(ctx)
	contenders := []rig.Contender[sample]{{Name: copyOut, Run: func(ctx context.Context) sample {
		used := rig.Meter{Site: b.site}.During(ctx, b.Orders, func() { b.copyOut(ctx) })
		used.Client = 0
		return sample{Use: used}
	}}}
	for _, compression := range compressions {
		saved := b.save(ctx, compression)
		contenders = append(contenders,
			rig.Contender[sample]{Name: readerWith(compression), Run: func(ctx context.Context) sample { return b.restore(ctx, compression) }},
			rig.Contender[sample]{Name: warmWith(compression), Run: func(ctx context.Context) sample { return b.restore(ctx, compression, saved) }})
	}
	found := findings{churn: map[string]churned{}}
	found.samples = rig.Measure(ctx, b.Rounds, contenders, func(s sample) string {
		return fmt.Sprintf("%6.2f s, %d MiB, at most %.0f MiB", s.Seconds(), s.memory>>20, s.PeakMiB())
	})
	if b.Churn > 0 { // last, since it changes the tables
		for _, compression := range compressions {
			found.churn[compression] = b.churn(ctx, compression)
		}
	}
	for _, compression := range compressions {
		for _, share := range changedShares {
			found.relists += b.relist(ctx, compression, share)
		}
	}
	b.site.Save(b.section(), found.markdown(b))
}

// section keeps the tables of different numbers apart in the document.
func (b *Benchmark) section() string {
	if b.Items == 1 {
		return fmt.Sprintf("restore-%d", b.Orders)
	}
	return fmt.Sprintf("restore-%d-items-%d", b.Orders, b.Items)
}

// copyOut reads the four tables one after another by binary COPY, and discards
// their rows.
func (b *Benchmark) copyOut(ctx context.Context) {
	conn := must.Get(pgx.Connect(ctx, b.database))
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, t := range orderdb.Tables {
		statement := fmt.Sprintf("COPY %s (%s) TO STDOUT (FORMAT binary)", t.Name, strings.Join(t.Columns, ", "))
		must.Get(conn.PgConn().CopyTo(ctx, io.Discard, statement))
	}
}

// save has a reader save its orders. It returns the setting of a reader that finds them.
func (b *Benchmark) save(ctx context.Context, compression string) string {
	setting := "CACHE_SNAPSHOT_DIR=" + filepath.Join(b.site.Folder, "saved-"+compression)
	reader := b.site.StartReader(ctx, b.database, "CACHE_COMPRESSION="+compression, setting)
	defer reader.Stop()
	for reader.Metrics(ctx)["orderhub_cache_saved_bytes"] == 0 {
		must.Succeed(retry.Sleep(ctx, samplingEvery))
	}
	return setting
}

func (b *Benchmark) restore(ctx context.Context, compression string, settings ...string) sample {
	before := rig.TreeCPU(b.site.Server.Pid())
	reader := b.site.StartReader(ctx, b.database, append(settings, "CACHE_COMPRESSION="+compression)...)
	defer reader.Stop()
	held := reader.Stats(ctx)
	if held.Orders != int64(b.Orders) || !held.Complete {
		must.Succeed(fmt.Errorf("the reader holds %d of %d orders", held.Orders, b.Orders))
	}
	return sample{memory: reader.Memory, jsonBytes: held.JSONBytes, Use: rig.Use{
		Times: b.Orders, Took: reader.Restore, Peak: reader.Peak,
		Client: must.Get(rig.UsageOf(reader.Pid())).CPU, Database: rig.TreeCPU(b.site.Server.Pid()) - before,
	}}
}

const (
	goalTime = 1.5
	goalWarm = 0.15 // at ten million orders
	// The goals of memory: so many times the orders' JSON, without compression plus
	// so many bytes an order, and for what lists are found by so many more.
	goalPlain, goalBeside, goalZstd, goalLists = 1.15, 40, 0.35, 80
)

func goalOf(compression string, jsonBytes, orders int64) float64 {
	if compression == "off" {
		return goalPlain*float64(jsonBytes) + (goalBeside+goalLists)*float64(orders)
	}
	return goalZstd*float64(jsonBytes) + goalLists*float64(orders)
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

func (f findings) markdown(b *Benchmark) string {
	off, zstd := readerWith("off"), readerWith("zstd")
	title := fmt.Sprintf("%d orders of %d bytes as JSON on average", b.Orders, f.samples[off][0].jsonBytes/int64(b.Orders))
	return f.samples.Table(title, columns, copyOut, off, zstd, warmWith("off"), warmWith("zstd")) +
		fmt.Sprintf("\n- time: %.2f × COPY OUT (goal: at most %.1f)\n", f.samples.Ratio(off, copyOut, sample.Seconds), goalTime) +
		fmt.Sprintf("- warm start: %.2f × COPY OUT (goal at 10,000,000 orders: at most %.2f)\n", f.samples.Ratio(warmWith("off"), copyOut, sample.Seconds), goalWarm) +
		f.line(b, "off", fmt.Sprintf("%.2f × JSON and %d bytes an order", goalPlain, goalBeside+goalLists)) +
		f.line(b, "zstd", fmt.Sprintf("%.2f × JSON and %d bytes an order", goalZstd, goalLists)) + f.relists
}

// line says how far the goal of memory is, and what was changed.
func (f findings) line(b *Benchmark, compression, goal string) string {
	text := fmt.Sprintf("- memory, %s: %.2f × the goal (%s) at ready", compression, f.samples.Median(readerWith(compression), func(r sample) float64 {
		return float64(r.memory) / goalOf(compression, r.jsonBytes, int64(r.Times))
	}), goal)
	if c, ok := f.churn[compression]; ok {
		text += fmt.Sprintf(", %.2f × after %d changes in %v (%d updates, %d deletes, %d inserts), %d MiB or %.3f × JSON; at most %d MiB meanwhile",
			float64(c.memory)/goalOf(compression, c.stats.JSONBytes, c.stats.Orders), c.Sum(), b.Churn, c.Updates, c.Deletes, c.Inserts,
			c.memory>>20, float64(c.memory)/float64(c.stats.JSONBytes), c.peak>>20)
	}
	return text + "\n"
}
