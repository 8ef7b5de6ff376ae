package scale

import (
	"fmt"
	"time"

	"github.com/orderhub/orderhub/scripts/internal/report"
)

const mebi, gibi = 1 << 20, 1 << 30

func growthTables(items int, points []point) string {
	t := report.Table{Title: fmt.Sprintf("Orders of %d, as they become more", items), Columns: []string{
		"orders", "ingest/s", "restore s", "reader MiB", "at most", "B/order", "reads/s", "p99 ms", "tables GiB", "indexes GiB", "B/order",
	}}
	lists := report.Table{Title: "Lists of 20 orders, ms", Columns: []string{"orders"}}
	for _, l := range points[0].lists {
		lists.Columns = append(lists.Columns, l.name+", p50", "p99")
	}
	for _, p := range points {
		r := p.reader
		t.Add(report.Thousands(p.orders), report.Thousands(int(p.ingest)), seconds(r.restore), report.Thousands(int(r.memory/mebi)), report.Thousands(int(r.peak/mebi)),
			report.Thousands(int(r.memory)/p.orders), report.Thousands(int(r.reads)), fmt.Sprintf("%.2f", r.p99),
			gibibytes(p.tables), gibibytes(p.indexes), report.Thousands(int(p.tables+p.indexes)/p.orders))
		row := []string{report.Thousands(p.orders)}
		for _, l := range p.lists {
			row = append(row, report.Latencies(l.times, 1)[:2]...)
		}
		lists.Add(row...)
	}
	return t.Markdown() + "\n" + lists.Markdown()
}

// charts show what changes, or must not, as orders become more.
func charts(points []point) (text string) {
	for _, c := range []struct {
		title  string
		figure func(point) float64
	}{
		{"ingest, orders/s", ingested},
		{"restore, µs an order", func(p point) float64 { return p.reader.restore.Seconds() * 1e6 / float64(p.orders) }},
		{"reader, bytes an order", func(p point) float64 { return float64(p.reader.memory) / float64(p.orders) }},
		{"reads/s", reads},
	} {
		var names []string
		var figures []float64
		for _, p := range points {
			names, figures = append(names, report.Thousands(p.orders)), append(figures, c.figure(p))
		}
		text += report.Chart(c.title, names, figures) + "\n"
	}
	return text
}

func ingested(p point) float64 { return p.ingest }
func resident(p point) float64 { return float64(p.reader.memory) / mebi }
func reads(p point) float64    { return p.reader.reads }

func triesTable(small int, tries report.Samples[point]) string {
	columns := []report.Column[point]{
		{Name: "ingest/s", Figure: ingested, Format: report.Thousands[float64]},
		{Name: "× as it is", Figure: ingested, Format: report.Decimals(2), Ratio: true},
		{Name: "restore s", Figure: func(p point) float64 { return p.reader.restore.Seconds() }, Format: report.Decimals(1)},
		{Name: "orders in memory", Figure: func(p point) float64 { return float64(p.reader.cached) }, Format: report.Thousands[float64]},
		{Name: "reader MiB", Figure: resident, Format: report.Thousands[float64]},
		{Name: "× as it is", Figure: resident, Format: report.Decimals(2), Ratio: true},
		{Name: "reads/s", Figure: reads, Format: report.Thousands[float64]},
		{Name: "× as it is", Figure: reads, Format: report.Decimals(2), Ratio: true},
		{Name: "p99 ms", Figure: func(p point) float64 { return p.reader.p99 }, Format: report.Decimals(2)},
	}
	return tries.Table(fmt.Sprintf("What comes next, tried with %s orders", report.Thousands(small)), columns, plain, hashPartitions, compressed, budget, oneShard)
}

// furtherShards is into how many shards the orders are split for readers of one.
const furtherShards = 32

// furtherTable is arithmetic: what was measured an order, times very many.
func furtherTable(last point, tries report.Samples[point]) string {
	t := report.Table{Title: fmt.Sprintf("By what was measured at %s orders", report.Thousands(last.orders)), Columns: []string{
		"orders", "tables and indexes", "one reader's memory", "with zstd", fmt.Sprintf("and 1 of %d shards", furtherShards), "restore", "time to ingest them",
	}}
	zstd := tries.Ratio(compressed, plain, resident)
	for _, orders := range []float64{1e7, 1e8, 1e9} {
		times := orders / float64(last.orders)
		memory := float64(last.reader.memory) * times
		t.Add(report.Thousands(int(orders)),
			size(float64(last.tables+last.indexes)*times), size(memory), size(memory*zstd), size(memory*zstd/furtherShards),
			duration(last.reader.restore.Seconds()*times), duration(orders/last.ingest))
	}
	return t.Markdown()
}

func size(n float64) string {
	if n >= 1024*gibi {
		return fmt.Sprintf("%.1f TiB", n/1024/gibi)
	}
	return fmt.Sprintf("%.1f GiB", n/gibi)
}

func duration(s float64) string {
	switch {
	case s < 120:
		return fmt.Sprintf("%.0f s", s)
	case s < 7200:
		return fmt.Sprintf("%.0f min", s/60)
	}
	return fmt.Sprintf("%.1f h", s/3600)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }

func gibibytes(n int64) string { return fmt.Sprintf("%.2f", float64(n)/gibi) }
