package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb/verify"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
	"github.com/orderhub/orderhub/services/orderctl/internal/otherdb"
)

type verifySettings struct {
	Database config.Database
	Rules    rules.Settings
	API      apiSettings
}

type apiSettings struct {
	Token config.Secret `env:"ORDERHUB_API_TOKEN" help:"token for a read API with HTTP_AUTH=on, with the scopes orders:read and orders:personal"`
}

type verifyFlags struct {
	api     string
	sample  int
	settle  time.Duration
	workers int
	against sourceFlags
}

func (a *app) verifyCommand() *cobra.Command {
	var s verifySettings
	var f verifyFlags
	cmd := a.command("verify", &s, nil, func(cmd *cobra.Command, _ []string) error {
		if err := f.check(); err != nil {
			return err
		}
		if f.against.url != "" {
			return a.verifyAgainst(cmd.Context(), &s, &f)
		}
		return a.verify(cmd.Context(), &s, f)
	})
	f.against.register(cmd, "against")
	cmd.Flags().StringVar(&f.api, "api", "http://127.0.0.1:8081", "address of the read API")
	cmd.Flags().IntVar(&f.sample, "sample", 0, "compare so many orders, chosen at random (0: all)")
	cmd.Flags().DurationVar(&f.settle, "settle", 2*time.Second, "how long a row must be unchanged before a difference counts")
	cmd.Flags().IntVar(&f.workers, "workers", 16, "requests at a time")
	for _, ofAPI := range []string{"api", "sample", "workers"} {
		cmd.MarkFlagsMutuallyExclusive("against", ofAPI)
	}
	return cmd
}

func (f *verifyFlags) check() error {
	if err := checkAddress("--api", f.api); err != nil {
		return err
	}
	f.api = strings.TrimSuffix(f.api, "/")
	switch {
	case f.sample < 0 || f.sample > 1_000_000:
		return usagef("--sample: %d is not from 0 to 1000000", f.sample)
	case f.settle <= 0 || f.settle > time.Hour:
		return usagef("--settle: %v is not above 0 and up to 1h", f.settle)
	case f.workers < 1 || f.workers > 1000:
		return usagef("--workers: %d is not from 1 to 1000", f.workers)
	}
	return nil
}

type verified struct {
	verify.Result
	Equal   bool          `json:"equal"`
	Seconds float64       `json:"seconds"`
	Took    time.Duration `json:"-"`
}

func (a *app) verify(ctx context.Context, s *verifySettings, f verifyFlags) error {
	db, err := a.openDatabase(s.Database)
	if err != nil {
		return err
	}
	bar := a.newBar(-1, "comparing", "orders")
	var written error
	began := time.Now()
	result, err := verify.Run(ctx, verify.Options{
		DB: db.pool, API: f.api, Token: s.API.Token.Reveal(), Sample: f.sample, Settle: f.settle, Workers: f.workers,
		Found: func(d verify.Difference) {
			bar.line()
			written = errors.Join(written, a.writeDifference(d))
		},
		Progress: bar.set,
	})
	bar.end()
	outcome := func() verified {
		took := time.Since(began)
		return verified{result, result.Equal(), took.Seconds(), took.Round(100 * time.Millisecond)}
	}
	if err != nil {
		if result.Checked > 0 {
			a.say("%s so far", summary("verified", outcome()))
		}
		var api *verify.APIError
		switch errors.As(err, &api); {
		case api != nil && api.Refused:
			return fmt.Errorf("%w: set ORDERHUB_API_TOKEN to a token with the scopes orders:read and orders:personal", err)
		case api != nil:
			return fmt.Errorf("%w: start it, or say where it is with --api", err)
		}
		return db.explain(err)
	}
	return errors.Join(written, a.endComparison("verified", outcome(), result.Equal()))
}

func (a *app) writeDifference(d verify.Difference) error {
	line := fmt.Sprintf("%-7s  %s", d.Kind, dlqview.Clean(d.UID))
	if len(d.Paths) > 0 {
		line += "  " + strings.Join(d.Paths, ", ")
	}
	return a.print(d, line+"\n")
}

// endComparison reports a comparison: a line for programs, one for people, and the exit code.
func (a *app) endComparison(template string, result any, equal bool) error {
	err := a.print(result, "")
	a.say("%s", summary(template, result))
	if err == nil && !equal {
		err = failed()
	}
	return err
}

// maxUnsettled is how many orders that differ are compared again. If more differ, it is
// not for changes in flight.
const maxUnsettled = 1000

type compared struct {
	Checked   int64         `json:"checked"`
	Missing   int64         `json:"missing"`
	Extra     int64         `json:"extra"`
	Different int64         `json:"different"`
	Equal     bool          `json:"equal"`
	Seconds   float64       `json:"seconds"`
	Took      time.Duration `json:"-"`
}

type comparison struct {
	*app
	database config.Database
	source   *sourceFlags
	codec    *model.Codec
	result   compared
}

func (a *app) verifyAgainst(ctx context.Context, s *verifySettings, f *verifyFlags) error {
	reading := s.Rules.Options() // the worker normalizes what it stores
	reading.MaxRecordBytes, reading.MaxItems, reading.RejectUnknown, reading.CheckSums = 1<<30, 1<<20, false, false
	c := &comparison{app: a, database: s.Database, source: &f.against, codec: model.New(reading)}
	began := time.Now()
	var suspects []verify.Difference
	report := func(d verify.Difference) error {
		if len(suspects) < maxUnsettled {
			suspects = append(suspects, d)
			return nil
		}
		return c.found(d)
	}
	bar := a.newBar(-1, "comparing", "orders")
	err := c.walk(ctx, nil, bar, report)
	if n := len(suspects); err == nil && n > 0 && n < maxUnsettled {
		uids := make([]string, n)
		for i, d := range suspects {
			uids[i] = d.UID
		}
		suspects = nil
		if err = retry.Sleep(ctx, f.settle); err == nil {
			err = c.walk(ctx, uids, bar, report)
		}
	}
	for _, d := range suspects {
		if err == nil {
			err = c.found(d)
		}
	}
	bar.end()
	if err != nil {
		return err
	}
	took := time.Since(began)
	c.result.Equal, c.result.Seconds, c.result.Took = c.result.Missing+c.result.Extra+c.result.Different == 0, took.Seconds(), took.Round(100*time.Millisecond)
	return a.endComparison("compared", c.result, c.result.Equal)
}

// walk compares all orders, or those of the uids, as both databases are now.
func (c *comparison) walk(ctx context.Context, uids []string, bar bar, found func(verify.Difference) error) error {
	theirs, err := c.openSource(ctx, c.source, "--against")
	if err != nil {
		return err
	}
	defer theirs.db.Close()
	if uids == nil {
		c.sayPlan(theirs)
	}
	if err := theirs.unusable(); err != nil {
		return err
	}
	ours, err := c.openOurs(ctx)
	if err != nil {
		return err
	}
	defer ours.db.Close()
	var next [2]func() (verify.Order, error)
	for i, side := range []*otherSource{theirs, ours} {
		reader, err := side.db.Read(ctx, side.plan, otherdb.Range{Only: uids})
		if err != nil {
			return side.explain(err)
		}
		next[i] = func() (verify.Order, error) {
			order, err := reader.Next(ctx)
			if errors.Is(err, io.EOF) {
				return verify.Order{}, io.EOF
			}
			if err != nil {
				return verify.Order{}, side.explain(err)
			}
			return c.decode(order), nil
		}
	}
	looked, err := verify.Databases(func() (verify.Order, error) {
		bar.add(1)
		return next[0]()
	}, next[1], found)
	if uids == nil {
		c.result.Checked = looked
	}
	return err
}

// openOurs reads Orderhub's own database in the same way.
func (c *comparison) openOurs(ctx context.Context) (*otherSource, error) {
	db, err := c.openDatabase(c.database)
	if err != nil {
		return nil, err
	}
	if _, err = migrations.CheckUsable(ctx, db.pool.DB, migrations.Viewer); err != nil {
		return nil, db.explain(err)
	}
	return c.openSource(ctx, &sourceFlags{url: c.database.URL.Reveal(), given: &otherdb.Mapping{}}, db.setting)
}

// decode reads an order as far as it is one.
func (c *comparison) decode(order otherdb.Order) verify.Order {
	decoded, err := c.codec.Decode(order.JSON)
	read := verify.Order{UID: order.UID, Order: decoded.Order}
	var refused *model.RecordError
	if errors.As(err, &refused) {
		for _, f := range mask.Errors(refused.Errors) {
			read.Wrong = append(read.Wrong, fmt.Sprintf("%s [%s]", f.Path, f.Rule))
		}
	}
	return read
}

func (c *comparison) found(d verify.Difference) error {
	switch d.Kind {
	case verify.Missing:
		c.result.Missing++
	case verify.Extra:
		c.result.Extra++
	default:
		c.result.Different++
	}
	if !model.IsOrderUID(d.UID) {
		d.UID = mask.Name
	}
	return c.writeDifference(d)
}
