package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/orderdb/verify"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

const (
	topic      = "soak"
	partitions = 4
)

// postgres are settings of the server: autovacuum as docs/scaling.md recommends.
var postgres = map[string]string{
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

// retention is how long deletions are remembered. It is short, so that they are
// pruned during the run.
const retention = time.Minute

// drainTimeout is how long worker and reader may take to catch up in the end.
const drainTimeout = 2 * time.Minute

func soak(ctx context.Context, s *settings) (err error) {
	site, err := rig.OpenSite(ctx, s.Common(), postgres)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	r := &runner{settings: s, site: site}
	if err := r.start(ctx); err != nil {
		return err
	}
	defer r.churn.close()
	if err := r.run(ctx); err != nil {
		return err
	}
	wrong, err := r.compare(ctx)
	if err != nil {
		return err
	}
	verdicts := r.samples.judge(!s.Smoke)
	body := r.table(verdicts) + "\n" + r.counts()
	if wrong != nil {
		fmt.Println(body)
		return errors.Join(wrong, failures(verdicts))
	}
	body += "- in the end the tables held exactly the orders that were alive, and the reader served each as the tables have it, and no other\n"
	return errors.Join(site.Save("soak", body), failures(verdicts))
}

// runner has everything that runs.
type runner struct {
	settings *settings
	site     *rig.Site
	database string
	worker   *rig.Service
	reader   *rig.Reader
	churn    *churn
	samples  samples
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
	r.churn, err = newChurn(ctx, r.site, r.database, r.settings)
	return err
}

// run makes the orders, and then sends load, tends letters and takes samples for the
// time of the settings.
func (r *runner) run(ctx context.Context) error {
	program.Progress("filling up to %d orders", r.settings.Live)
	if err := r.churn.fill(ctx); err != nil {
		return err
	}
	program.Progress("%d records/s for %v", r.settings.Rate, r.settings.duration.Round(time.Second))
	timed, cancel := context.WithTimeout(ctx, r.settings.duration)
	defer cancel()
	group, working := errgroup.WithContext(timed)
	for _, work := range []func(context.Context) error{r.churn.run, r.tendLetters, r.sampling} {
		group.Go(func() error {
			err := work(working)
			if timed.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
				return nil // the time is up
			}
			return err
		})
	}
	return group.Wait()
}

// tendLetters redrives dead letters from time to time, discards those that came back
// too often, purges what is resolved, and drops processed records from the broker's
// memory.
func (r *runner) tendLetters(ctx context.Context) error {
	for round := 1; ; round++ {
		if err := retry.Sleep(ctx, r.settings.Letters); err != nil {
			return err
		}
		if err := r.letters(ctx, round%4 == 0); err != nil {
			return err
		}
		if err := r.site.Broker.Trim(ctx, topic); err != nil {
			return err
		}
	}
}

func (r *runner) letters(ctx context.Context, purge bool) error {
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
	err := run(failed, "redrive", "--all", "--yes", "--max-redrives", "2")
	if err != nil || !purge {
		return err
	}
	if err := run(nothingMatched, "discard", "--all", "--yes", "--why", "soak"); err != nil {
		return err
	}
	return run(nothingMatched, "purge", "--resolved", "--older-than", "1s", "--yes")
}

func (r *runner) sampling(ctx context.Context) error {
	for {
		if err := retry.Sleep(ctx, r.settings.Every); err != nil {
			return err
		}
		one, err := r.sample(ctx)
		if err != nil {
			return err
		}
		r.samples = append(r.samples, one)
	}
}

// compare waits until all records are processed, and says what is wrong: the tables
// must hold what was sent and not deleted, and the reader must serve what the tables
// hold.
func (r *runner) compare(ctx context.Context) (wrong, err error) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	for {
		stored, err := r.churn.stored(ctx)
		if err != nil {
			return nil, err
		}
		metrics, err := r.reader.Metrics(ctx)
		if err != nil {
			return nil, err
		}
		want, cached := r.churn.alive(), int(metrics[rig.MetricCached])
		if stored == want && cached == want {
			return r.compareEach(ctx)
		}
		wrong = fmt.Errorf("the tables have %d orders and the cache %d, but %d are alive", stored, cached, want)
		if retry.Sleep(ctx, 50*time.Millisecond) != nil {
			return wrong, nil
		}
	}
}

func (r *runner) compareEach(ctx context.Context) (wrong, err error) {
	alive := r.churn.uids()
	var there int
	if err := r.churn.sql.QueryRow(ctx, "SELECT count(*) FROM orders WHERE order_uid = ANY($1)", alive).Scan(&there); err != nil {
		return nil, err
	}
	if there != len(alive) {
		return fmt.Errorf("the tables have %d of %d orders that are alive, and others", there, len(alive)), nil
	}
	db, err := sql.Open("pgx", r.database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // nothing was written
	result, err := verify.Run(ctx, verify.Options{DB: bun.NewDB(db, pgdialect.New()), API: "http://" + r.reader.Addr})
	if err == nil && !result.Equal() {
		wrong = fmt.Errorf("the reader differs from the tables: %+v", result)
	}
	return wrong, err
}
