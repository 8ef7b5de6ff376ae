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
)

// sample is what everything used at a moment, in the order of figures.
type sample []float64

type samples []sample

// figure is something that has to stay flat.
type figure struct {
	name string
	unit float64 // it is shown divided by this
	// The growth from the first third of the time to the last that counts as flat: a
	// share of the first, and a constant.
	share, extra float64
	// count says that even a short run can tell.
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

const databaseFigures = `SELECT count(*)::float8 FROM pg_stat_activity WHERE datname = current_database()
	UNION ALL SELECT sum(pg_table_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
	UNION ALL SELECT sum(pg_indexes_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
	UNION ALL SELECT sum(n_dead_tup) FROM pg_stat_user_tables
	UNION ALL SELECT count(*) FROM order_deletions`

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
	database, err := rig.Query(ctx, r.database, pgx.RowTo[float64], databaseFigures)
	if err != nil {
		return nil, fmt.Errorf("read the database's figures: %w", err)
	}
	behind := 0.0
	for name, value := range worker {
		if strings.HasPrefix(name, "orderhub_ingest_lag{") {
			behind += value
		}
	}
	return append(append(sample{
		float64(memory[0]), worker["go_memstats_heap_inuse_bytes"], worker["go_goroutines"], float64(files[0]),
		float64(memory[1]), reader[rig.MetricCacheBytes], reader["go_goroutines"], float64(files[1]),
	}, database...), behind), nil
}

// verdict is what became of a figure.
type verdict struct {
	figure
	first, last, most float64 // medians of the thirds, and the most of all
	judged, flat      bool
}

// judge compares the last third of the time with the first, leaving out the first
// tenth, in which caches and pools fill. all is false for a run that is too short to
// judge more than counts.
func (s samples) judge(all bool) (verdicts []verdict) {
	s = s[len(s)/10:]
	third := max(1, len(s)/3)
	for i, f := range figures {
		get := func(one sample) float64 { return one[i] }
		v := verdict{figure: f, judged: all || f.count}
		v.first, v.last = report.MedianOf(s[:third], get), report.MedianOf(s[len(s)-third:], get)
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

// counts says what was done.
func (r *runner) counts() string {
	made := r.churn.load.Made
	return fmt.Sprintf("- sent: %s records, of which %s were duplicates, %s conflicts and %s broken; dead letters were redriven, discarded and purged all the time\n"+
		"- by SQL: %s changes and %s deletions\n",
		report.Thousands(r.churn.load.Sent()), report.Thousands(made.Duplicates), report.Thousands(made.Conflicts), report.Thousands(made.Broken),
		report.Thousands(r.churn.updated), report.Thousands(r.churn.gone))
}
