package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/report"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

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
	if r.Client, err = procfs.CPU(reader.Pid()); err != nil {
		return r, err
	}
	if r.Database, err = procfs.TreeCPU(b.site.Server.Pid()); err != nil {
		return r, err
	}
	r.Database -= before
	held, err := reader.Stats(ctx)
	if err == nil && (held.Orders != int64(b.settings.Orders) || !held.Complete) {
		err = fmt.Errorf("the reader holds %d of %d orders", held.Orders, b.settings.Orders)
	}
	r.jsonBytes = held.JSONBytes
	return r, err
}
