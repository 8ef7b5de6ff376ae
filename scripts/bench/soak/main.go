// Command soak runs worker, reader and database for hours under a steady load
// with churn, and then tells whether what they use stayed flat: memory,
// goroutines, files, connections, tables. It fails if something grew, or if the
// reader does not serve exactly what the tables have in the end.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/orderdb/verify"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

func main() { program.Main(benchmark, &settings{}, soak, rig.BrokerRole) }

var benchmark = program.Benchmark{
	Name:     "soak",
	About:    "A steady load with churn for hours, and whether everything stays flat.",
	Document: program.Scaling,
}

type settings struct {
	program.Flags
	Hours   float64       `default:"1" full:"1" smoke:"0.006" min:"0.0028" help:"How long; at least 10 seconds."`
	Rate    int           `default:"500" smoke:"200" min:"20" help:"Records a second; as many orders are deleted as come in."`
	Live    int           `default:"100000" smoke:"1000" min:"20" help:"Orders that exist at a time."`
	Every   time.Duration `help:"Time between samples (default: 300 of them)."`
	Letters time.Duration `default:"20s" smoke:"4s" min:"100ms" help:"How often dead letters are sent back, discarded and purged."`

	duration time.Duration
}

const (
	topic      = "soak"
	partitions = 4
	// changesEvery is between two transactions of changes by SQL.
	changesEvery = 500 * time.Millisecond
	// retention is how long deletions are remembered. It is short, so that they are
	// pruned during the run.
	retention = time.Minute
	// patience is how long sending may take, and catching up in the end.
	patience = 2 * time.Minute
)

// serverSettings are settings of the server: autovacuum as docs/scaling.md recommends.
var serverSettings = map[string]string{
	"autovacuum":                            "on",
	"autovacuum_naptime":                    "15s",
	"autovacuum_vacuum_scale_factor":        "0.05",
	"autovacuum_analyze_scale_factor":       "0.05",
	"autovacuum_vacuum_insert_scale_factor": "0.1",
	"autovacuum_vacuum_cost_limit":          "2000",
	"checkpoint_timeout":                    "5min",
	"max_wal_size":                          "4GB",
	"min_wal_size":                          "256MB",
	"shared_buffers":                        "256MB",
}

// runner has everything that runs.
type runner struct {
	settings *settings
	site     *rig.Site
	database string
	worker   *rig.Service
	reader   *rig.Reader
	load     *ledger.Load
	sql      *pgx.Conn
	samples  samples
	changes  rig.Changes
	gone     map[int]bool // orders that were deleted, by their number
}

func soak(ctx context.Context, s *settings) (err error) {
	s.duration = time.Duration(s.Hours * float64(time.Hour))
	s.Every = cmp.Or(s.Every, max(s.duration/300, 500*time.Millisecond))
	site, err := rig.OpenSite(ctx, s.Common(), serverSettings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	r := &runner{settings: s, site: site, gone: map[int]bool{}}
	if err := r.start(ctx); err != nil {
		return err
	}
	defer func() { _ = r.sql.Close(context.WithoutCancel(ctx)) }()
	if err := r.run(ctx); err != nil {
		return err
	}
	wrong := r.compare(ctx)
	verdicts := r.samples.judge(!s.Smoke)
	made := r.load.Made
	body := table(fmt.Sprintf("%v of %d records/s among %s orders", s.duration.Round(time.Second), s.Rate, report.Thousands(s.Live)), verdicts) +
		fmt.Sprintf("\n- sent: %s records, of which %s were duplicates, %s conflicts and %s broken; dead letters were redriven, discarded and purged all the time\n"+
			"- by SQL: %s changes and %s deletions\n",
			report.Thousands(r.load.Sent()), report.Thousands(made.Duplicates), report.Thousands(made.Conflicts), report.Thousands(made.Broken),
			report.Thousands(r.changes.Updates), report.Thousands(r.changes.Deletes))
	if wrong != nil {
		fmt.Println(body)
		return errors.Join(wrong, failures(verdicts))
	}
	body += "- in the end the tables held exactly the orders that were alive, and the reader served each as the tables have it, and no other\n"
	return errors.Join(site.Save("soak", body), failures(verdicts))
}

func (r *runner) start(ctx context.Context) (err error) {
	if r.database, _, err = r.site.Server.Fresh(ctx); err != nil { // it ends with the server
		return err
	}
	if r.reader, err = r.site.StartReader(ctx, r.database); err != nil {
		return err
	}
	if err := r.site.Broker.CreateTopic(ctx, topic, partitions, "delete"); err != nil {
		return err
	}
	if r.worker, err = r.site.StartWorker(ctx, topic, r.database, fmt.Sprint("DELETIONS_RETENTION=", retention)); err != nil {
		return err
	}
	r.sql, err = pgx.Connect(ctx, r.database)
	return err
}

// uid is that of the n-th order. It begins at random, as real ones do.
func uid(n int) string { return fmt.Sprintf("%s-%d", rig.StampedUID(1, uint64(n)), n) }

// number is which order has a uid.
func number(uid string) int {
	n, _ := strconv.Atoi(uid[len(rig.StampedUID(1, 0))+1:])
	return n
}

// kept is how many of the first orders are never deleted. Duplicates and conflicts are
// of these, since one of a deleted order would be stored.
func (r *runner) kept() int { return r.settings.Live / 10 }

// run makes the orders, and then sends load, changes orders, tends letters and takes
// samples for the time of the settings.
func (r *runner) run(ctx context.Context) error {
	client, err := ledger.Client([]string{r.site.Broker.Addr})
	if err != nil {
		return err
	}
	defer client.Close()
	r.load = ledger.NewLoad(client, rand.New(rand.NewPCG(1, 2)), topic, partitions, "")
	r.load.UID, r.load.Recurring = uid, r.kept()
	program.Progress("filling up to %d orders", r.settings.Live)
	for r.load.Made.Orders < r.settings.Live {
		if err := r.load.Send(ctx, min(1000, r.settings.Live-r.load.Made.Orders)); err != nil {
			return err
		}
	}
	if err := r.caughtUp(ctx, r.settings.Live); err != nil {
		return err
	}
	program.Progress("%d records/s for %v", r.settings.Rate, r.settings.duration.Round(time.Second))
	timed, cancel := context.WithTimeout(ctx, r.settings.duration)
	defer cancel()
	group, working := errgroup.WithContext(timed)
	group.Go(func() error { return r.load.Run(working, r.settings.Rate, patience) })
	round := 0
	for _, work := range []struct {
		every time.Duration
		do    func(context.Context) error
	}{
		{changesEvery, r.change},
		{r.settings.Letters, func(ctx context.Context) error { round++; return r.tendLetters(ctx, round%4 == 0) }},
		{r.settings.Every, func(ctx context.Context) error {
			one, err := r.sample(ctx)
			if err == nil {
				r.samples = append(r.samples, one)
			}
			return err
		}},
	} {
		group.Go(func() error {
			for retry.Sleep(working, work.every) == nil {
				// What has begun is completed, so that the counts are right in the end.
				if err := work.do(context.WithoutCancel(working)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return errors.Join(group.Wait(), ctx.Err())
}

// change deletes as many orders as there are too many, and changes others.
func (r *runner) change(ctx context.Context) error {
	rows, err := r.sql.Query(ctx, `DELETE FROM orders WHERE order_uid IN (SELECT order_uid FROM orders
		WHERE split_part(order_uid, '-', 2)::int >= $1 LIMIT (SELECT greatest(count(*) - $2, 0) FROM orders)) RETURNING order_uid`, r.kept(), r.settings.Live)
	if err != nil {
		return err
	}
	deleted, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("delete orders: %w", err)
	}
	r.changes.Deletes += len(deleted)
	for _, uid := range deleted {
		r.gone[number(uid)] = true
	}
	const share = 5 // one change for so many records
	_, err = rig.Change(ctx, r.sql, rig.Changes{Updates: max(1, int(float64(r.settings.Rate)*changesEvery.Seconds())/share)}, &r.changes)
	return err
}

// tendLetters redrives dead letters, discards those that came back too often and
// removes what is resolved, and drops processed records from the broker's memory.
func (r *runner) tendLetters(ctx context.Context, purge bool) error {
	const failed, nothingMatched = 1, 3
	run := func(tolerated int, arguments ...string) error {
		err := r.site.Orderctl(ctx, topic, append([]string{"dlq"}, arguments...)...)
		var ended *exec.ExitError
		if errors.As(err, &ended) && (ended.ExitCode() == tolerated || ended.ExitCode() == nothingMatched) {
			return nil
		}
		return err
	}
	// orderctl fails where letters were redriven too often and are left alone.
	errs := []error{run(failed, "redrive", "--all", "--yes", "--max-redrives", "2")}
	if purge {
		errs = append(errs, run(nothingMatched, "discard", "--all", "--yes", "--why", "soak"), run(nothingMatched, "purge", "--resolved", "--older-than", "1s", "--yes"))
	}
	return errors.Join(append(errs, r.site.Broker.Trim(ctx, topic))...)
}

// caughtUp waits until the tables and the cache have so many orders.
func (r *runner) caughtUp(ctx context.Context, want int) error {
	for {
		stored, err := rig.Query(ctx, r.database, pgx.RowTo[int], "SELECT count(*) FROM orders")
		if err != nil {
			return err
		}
		metrics, err := r.reader.Metrics(ctx)
		if err != nil {
			return err
		}
		cached := int(metrics[rig.MetricCached])
		if stored[0] == want && cached == want {
			return nil
		}
		if err := retry.Sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("the tables have %d orders and the cache %d, but %d are alive: %w", stored[0], cached, want, err)
		}
	}
}

// compare waits until all records are processed. Then the tables must hold what was
// sent and not deleted, and the reader must serve what the tables hold.
func (r *runner) compare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := r.caughtUp(ctx, r.load.Made.Orders-len(r.gone)); err != nil {
		return err
	}
	stored, err := rig.Query(ctx, r.database, pgx.RowTo[string], "SELECT order_uid FROM orders")
	if err != nil {
		return err
	}
	for _, uid := range stored {
		if n := number(uid); r.gone[n] || n >= r.load.Made.Orders {
			return fmt.Errorf("the tables have order %s, which was deleted or never sent", uid)
		}
	}
	db, err := sql.Open("pgx", r.database)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing was written
	result, err := verify.Run(ctx, verify.Options{DB: bun.NewDB(db, pgdialect.New()), API: "http://" + r.reader.Addr})
	if err == nil && !result.Equal() {
		err = fmt.Errorf("the reader differs from the tables: %+v", result)
	}
	return err
}
