package soak

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// sample is what everything used at a moment, in the order of figures.
type sample []float64

type samples []sample

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

func (b *Benchmark) sample(ctx context.Context) (one sample) {
	behind := 0.0
	for _, of := range []struct {
		service *rig.Service
		metric  string
	}{{b.worker, "go_memstats_heap_inuse_bytes"}, {b.reader.Service, rig.MetricCacheBytes}} {
		metrics, used := of.service.Metrics(ctx), must.Get(rig.UsageOf(of.service.Pid()))
		one = append(one, float64(used.Memory), metrics[of.metric], metrics["go_goroutines"], float64(used.Files))
		for name, value := range metrics {
			if strings.HasPrefix(name, "orderhub_ingest_lag_records{") {
				behind += value
			}
		}
	}
	return append(append(one, rig.Query[float64](ctx, b.database, databaseFigures)...), behind)
}

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

func table(title string, verdicts []verdict) string {
	t := report.Table{Title: title, Columns: []string{"median of", "first third", "last third", "most of all", "flat"}}
	for _, v := range verdicts {
		flat := map[bool]string{true: "yes", false: "NO"}[v.flat]
		if !v.judged {
			flat = "too short to tell"
		}
		t.Add(v.name, v.show(v.first), v.show(v.last), v.show(v.most), flat)
	}
	return t.Markdown()
}
