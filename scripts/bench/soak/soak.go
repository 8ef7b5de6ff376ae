// Package soak runs worker, reader and database for hours under a steady load
// with churn, and then tells whether what they use stayed flat: memory,
// goroutines, files, connections, tables. It fails if something grew, or if the
// reader does not serve exactly what the tables have in the end.
package soak

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

	"github.com/orderhub/orderhub/libs/orderdb/verify"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/poll"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// Benchmark has the flags.
type Benchmark struct {
	Hours   float64       `default:"1" smoke:"0.006" help:"How long; at least 10 seconds."`
	Rate    int           `default:"500" smoke:"200" help:"Records a second; as many orders are deleted as come in."`
	Live    int           `default:"100000" smoke:"1000" help:"Orders that exist at a time."`
	Every   time.Duration `help:"Time between samples (default: 300 of them)."`
	Letters time.Duration `default:"20s" smoke:"4s" help:"How often dead letters are sent back, discarded and purged."`

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

// Measure makes the table, and fails if something is not flat.
func (b *Benchmark) Measure(ctx context.Context, flags *rig.Flags) {
	duration := time.Duration(b.Hours * float64(time.Hour))
	b.Every = cmp.Or(b.Every, max(duration/300, 500*time.Millisecond))
	b.gone = map[int]bool{}
	b.site = rig.OpenSite(ctx, flags, serverSettings)
	defer b.site.Close()
	b.database, _ = b.site.Server.Fresh(ctx)
	b.reader = b.site.StartReader(ctx, b.database)
	b.site.Broker.CreateTopic(ctx, topic, partitions, "delete")
	b.worker = b.site.StartWorker(ctx, topic, b.database, fmt.Sprint("DELETIONS_RETENTION=", retention))
	b.sql = must.Get(pgx.Connect(ctx, b.database))
	defer func() { _ = b.sql.Close(context.WithoutCancel(ctx)) }()
	b.run(ctx, duration)
	wrong := must.Try(func() { b.compare(ctx) })
	verdicts := b.samples.judge(!flags.Smoke)
	made := b.load.Made
	body := table(fmt.Sprintf("%v of %d records/s among %s orders", duration.Round(time.Second), b.Rate, report.Thousands(b.Live)), verdicts) +
		fmt.Sprintf("\n- sent: %s records, of which %s were duplicates, %s conflicts and %s broken; dead letters were redriven, discarded and purged all the time\n"+
			"- by SQL: %s changes and %s deletions\n",
			report.Thousands(b.load.Sent()), report.Thousands(made.Duplicates), report.Thousands(made.Conflicts), report.Thousands(made.Broken),
			report.Thousands(b.changes.Updates), report.Thousands(b.changes.Deletes))
	if wrong != nil {
		fmt.Println(body)
	} else {
		b.site.Save("soak", body+"- in the end the tables held exactly the orders that were alive, and the reader served each as the tables have it, and no other\n")
	}
	must.Succeed(errors.Join(wrong, failures(verdicts)))
}

// uid is that of the n-th order. It begins at random, as real ones do.
func uid(n int) string { return fmt.Sprintf("%s-%d", rig.StampedUID(1, uint64(n)), n) }

func number(uid string) int {
	n, _ := strconv.Atoi(uid[len(rig.StampedUID(1, 0))+1:])
	return n
}

// kept is how many of the first orders are never deleted. Duplicates and conflicts are
// of these, since one of a deleted order would be stored.
func (b *Benchmark) kept() int { return b.Live / 10 }

// run makes the orders, and then sends load, changes orders, tends letters and takes
// samples for so long.
func (b *Benchmark) run(ctx context.Context, duration time.Duration) {
	client := must.Get(ledger.Client([]string{b.site.Broker.Addr}))
	defer client.Close()
	b.load = ledger.NewLoad(client, rand.New(rand.NewPCG(1, 2)), topic, partitions, "")
	b.load.UID, b.load.Recurring = uid, b.kept()
	rig.Progress("filling up to %d orders", b.Live)
	for b.load.Made.Orders < b.Live {
		must.Succeed(b.load.Send(ctx, min(1000, b.Live-b.load.Made.Orders)))
	}
	b.caughtUp(ctx, b.Live)
	rig.Progress("%d records/s for %v", b.Rate, duration.Round(time.Second))
	timed, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	// What has begun is completed, so that the counts are right in the end.
	each := func(every time.Duration, do func(context.Context)) func(context.Context) {
		return func(ctx context.Context) {
			for retry.Sleep(ctx, every) == nil {
				do(context.WithoutCancel(ctx))
			}
		}
	}
	round := 0
	must.Together(timed,
		func(ctx context.Context) { must.Succeed(b.load.Run(ctx, b.Rate, patience)) },
		each(changesEvery, b.change),
		each(b.Letters, func(ctx context.Context) { round++; b.tendLetters(ctx, round%4 == 0) }),
		each(b.Every, func(ctx context.Context) { b.samples = append(b.samples, b.sample(ctx)) }))
	must.Succeed(ctx.Err())
}

// change deletes as many orders as there are too many, and changes others.
func (b *Benchmark) change(ctx context.Context) {
	deleted := must.Get(pgx.CollectRows(must.Get(b.sql.Query(ctx, `DELETE FROM orders WHERE order_uid IN (SELECT order_uid FROM orders
		WHERE split_part(order_uid, '-', 2)::int >= $1 LIMIT (SELECT greatest(count(*) - $2, 0) FROM orders)) RETURNING order_uid`, b.kept(), b.Live)), pgx.RowTo[string]))
	b.changes.Deletes += len(deleted)
	for _, uid := range deleted {
		b.gone[number(uid)] = true
	}
	const share = 5 // one change for so many records
	rig.Change(ctx, b.sql, rig.Changes{Updates: max(1, int(float64(b.Rate)*changesEvery.Seconds())/share)}, &b.changes)
}

// tendLetters redrives dead letters, discards those that came back too often and
// removes what is resolved, and drops processed records from the broker's memory.
func (b *Benchmark) tendLetters(ctx context.Context, purge bool) {
	const failed, nothingMatched = 1, 3
	run := func(tolerated int, arguments ...string) {
		err := b.site.Orderctl(ctx, topic, append([]string{"dlq"}, arguments...)...)
		var ended *exec.ExitError
		if !errors.As(err, &ended) || (ended.ExitCode() != tolerated && ended.ExitCode() != nothingMatched) {
			must.Succeed(err)
		}
	}
	// orderctl fails where letters were redriven too often and are left alone.
	run(failed, "redrive", "--all", "--yes", "--max-redrives", "2")
	if purge {
		run(nothingMatched, "discard", "--all", "--yes", "--why", "soak")
		run(nothingMatched, "purge", "--resolved", "--older-than", "1s", "--yes")
	}
	b.site.Broker.Trim(ctx, topic)
}

func (b *Benchmark) caughtUp(ctx context.Context, want int) {
	must.Succeed(poll.Until(ctx, 50*time.Millisecond, func() error {
		stored := rig.Query[int](ctx, b.database, "SELECT count(*) FROM orders")[0]
		if cached := int(b.reader.Metrics(ctx)[rig.MetricCached]); stored != want || cached != want {
			return fmt.Errorf("the tables have %d orders and the cache %d, but %d are alive", stored, cached, want)
		}
		return nil
	}))
}

// compare waits until all records are processed. Then the tables must hold what was
// sent and not deleted, and the reader must serve what the tables hold.
func (b *Benchmark) compare(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b.caughtUp(ctx, b.load.Made.Orders-len(b.gone))
	for _, uid := range rig.Query[string](ctx, b.database, "SELECT order_uid FROM orders") {
		if n := number(uid); b.gone[n] || n >= b.load.Made.Orders {
			must.Succeed(fmt.Errorf("the tables have order %s, which was deleted or never sent", uid))
		}
	}
	db := must.Get(sql.Open("pgx", b.database))
	defer func() { _ = db.Close() }() // nothing was written
	result := must.Get(verify.Run(ctx, verify.Options{DB: bun.NewDB(db, pgdialect.New()), API: "http://" + b.reader.Addr}))
	if !result.Equal() {
		must.Succeed(fmt.Errorf("the reader differs from the tables: %+v", result))
	}
}
