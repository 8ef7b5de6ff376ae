package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/report"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/bench/internal/stats"
)

// sample is what everything used at a moment, in the order of figures.
type sample []float64

type samples []sample

// figure is something that has to stay flat.
type figure struct {
	name string
	unit float64 // it is shown divided by this
	// Growth from the first third of the time to the last that is still flat: a
	// share of the first, and some on top.
	share, extra float64
	// count says that a short run can tell already.
	count bool
}

const mebi = 1 << 20

var figures = []figure{
	{name: "worker, resident MiB", unit: mebi, share: 0.10, extra: 16 * mebi},
	{name: "worker, heap in use MiB", unit: mebi, share: 0.15, extra: 16 * mebi},
	{name: "worker, goroutines", share: 0.05, extra: 5, count: true},
	{name: "worker, files", share: 0.05, extra: 5, count: true},
	{name: "reader, resident MiB", unit: mebi, share: 0.10, extra: 16 * mebi},
	{name: "reader, cache MiB", unit: mebi, share: 0.10, extra: 8 * mebi},
	{name: "reader, goroutines", share: 0.05, extra: 5, count: true},
	{name: "reader, files", share: 0.05, extra: 5, count: true},
	{name: "database, connections", share: 0.05, extra: 3, count: true},
	{name: "database, tables MiB", unit: mebi, share: 0.10, extra: 8 * mebi},
	{name: "database, indexes MiB", unit: mebi, share: 0.15, extra: 8 * mebi},
	{name: "database, dead rows", share: 0.50, extra: 20_000},
	{name: "deletions remembered", share: 0.50, extra: 20_000},
	{name: "records behind", share: 0.50, extra: 5_000, count: true},
}

const databaseFigures = `SELECT
	(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),
	(SELECT sum(pg_table_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace),
	(SELECT sum(pg_indexes_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace),
	(SELECT sum(n_dead_tup) FROM pg_stat_user_tables),
	(SELECT count(*) FROM order_deletions)`

func (r *runner) sample(ctx context.Context) (sample, error) {
	worker, err := r.worker.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	reader, err := r.reader.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	var memory [2]int64
	var files [2]int
	for i, pid := range []int{r.worker.Pid(), r.reader.Pid()} {
		if memory[i], _, err = procfs.Memory(pid); err != nil {
			return nil, err
		}
		if files[i], err = procfs.Files(pid); err != nil {
			return nil, err
		}
	}
	conn, err := pgx.Connect(ctx, r.database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var connections, tables, indexes, dead, deletions float64
	if err := conn.QueryRow(ctx, databaseFigures).Scan(&connections, &tables, &indexes, &dead, &deletions); err != nil {
		return nil, fmt.Errorf("look into the database: %w", err)
	}
	behind := 0.0
	for name, value := range worker {
		if strings.HasPrefix(name, "orderhub_ingest_lag{") {
			behind += value
		}
	}
	return sample{
		float64(memory[0]), worker["go_memstats_heap_inuse_bytes"], worker["go_goroutines"], float64(files[0]),
		float64(memory[1]), reader[rig.MetricCacheBytes], reader["go_goroutines"], float64(files[1]),
		connections, tables, indexes, dead, deletions, behind,
	}, nil
}

// verdict is how a figure fared.
type verdict struct {
	figure
	first, last, most float64 // medians of the thirds, and the most of all
	judged, flat      bool
}

// judge compares the last third of the time with the first, of what comes after
// the first tenth, in which caches and pools fill. Where not everything can be
// told yet, only counts are judged.
func (s samples) judge(all bool) (verdicts []verdict) {
	s = s[len(s)/10:]
	third := max(1, len(s)/3)
	for i, f := range figures {
		get := func(one sample) float64 { return one[i] }
		v := verdict{figure: f, judged: all || f.count}
		v.first, v.last = stats.MedianOf(s[:third], get), stats.MedianOf(s[len(s)-third:], get)
		for _, one := range s {
			v.most = max(v.most, one[i])
		}
		v.flat = v.last <= v.first*(1+f.share)+f.extra
		verdicts = append(verdicts, v)
	}
	return verdicts
}

func failures(verdicts []verdict) error {
	var errs []error
	for _, v := range verdicts {
		if v.judged && !v.flat {
			errs = append(errs, fmt.Errorf("not flat: %s grew from %s to %s", v.name, v.show(v.first), v.show(v.last)))
		}
	}
	return errors.Join(errs...)
}

func (v verdict) show(value float64) string {
	if v.unit > 0 {
		return fmt.Sprintf("%.1f", value/v.unit)
	}
	return report.Thousands(value)
}

// table has a row for each figure.
func (r *runner) table(verdicts []verdict) string {
	t := report.Table{
		Title: fmt.Sprintf("%v of %d records/s among %s orders", r.settings.duration.Round(time.Second), r.settings.Rate,
			report.Thousands(r.settings.Live)),
		Columns: []string{"median of", "first third", "last third", "most of all", "flat"},
	}
	for _, v := range verdicts {
		flat := map[bool]string{true: "yes", false: "NO"}[v.flat]
		if !v.judged {
			flat = "too short to tell"
		}
		t.Add(v.name, v.show(v.first), v.show(v.last), v.show(v.most), flat)
	}
	return t.Markdown()
}

// counts say what was done.
func (r *runner) counts() string {
	c := r.churn
	return fmt.Sprintf("- sent: %s records, of which %s were duplicates, %s conflicts and %s broken; dead letters were redriven, discarded and purged all the time\n"+
		"- by SQL: %s changes and %s deletions\n",
		report.Thousands(c.sent.Load()), report.Thousands(c.again.Load()), report.Thousands(c.conflicting.Load()), report.Thousands(c.unreadable.Load()),
		report.Thousands(c.updated.Load()), report.Thousands(c.gone.Load()))
}
