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
)

// compressions are the values of CACHE_COMPRESSION, which are measured in turn.
var compressions = []string{"off", "zstd"}

// copyOut stands for COPY OUT among the compressions.
const copyOut = ""

// sample is one restore, or one COPY OUT, which has only times.
type sample struct {
	took      time.Duration
	cpu       time.Duration // of the reader
	database  time.Duration // of CPU
	memory    int64         // resident, at ready
	peak      int64         // until then
	jsonBytes int64
	orders    int64
}

// churned is what a reader takes after a while of changes.
type churned struct {
	changes
	memory, peak int64
	stats        rig.ReaderStats
}

// findings are all samples, by compression.
type findings struct {
	samples map[string][]sample
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
	found := findings{samples: map[string][]sample{}, churn: map[string]churned{}}
	contenders := append([]string{copyOut}, compressions...)
	err = program.Rounds(s.Rounds, len(contenders), func(i int) error {
		one, err := b.measure(ctx, contenders[i])
		found.samples[contenders[i]] = append(found.samples[contenders[i]], one)
		return err
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

// measure times a COPY OUT or a restore, and what the database uses for it.
func (b *runner) measure(ctx context.Context, compression string) (r sample, err error) {
	before, err := procfs.TreeCPU(b.site.Server.Pid())
	if err != nil {
		return r, err
	}
	if compression == copyOut {
		began := time.Now()
		err = b.copyOut(ctx)
		r.took, r.orders = time.Since(began), int64(b.settings.Orders)
	} else {
		r, err = b.restore(ctx, compression)
	}
	if err != nil {
		return r, err
	}
	after, err := procfs.TreeCPU(b.site.Server.Pid())
	r.database = after - before
	program.Progress("%-5s %6.2f s, %d MiB, at most %d MiB", compression, r.took.Seconds(), r.memory>>20, r.peak>>20)
	return r, err
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
	reader, err := b.site.StartReader(ctx, b.database, "CACHE_COMPRESSION="+compression)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, reader.Stop()) }()
	r = sample{took: reader.Restore, memory: reader.Memory, peak: reader.Peak}
	if r.cpu, err = procfs.CPU(reader.Pid()); err != nil {
		return r, err
	}
	held, err := reader.Stats(ctx)
	if err == nil && (held.Orders != int64(b.settings.Orders) || !held.Complete) {
		err = fmt.Errorf("the reader holds %d of %d orders", held.Orders, b.settings.Orders)
	}
	r.jsonBytes, r.orders = held.JSONBytes, held.Orders
	return r, err
}
