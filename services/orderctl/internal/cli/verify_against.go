package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb/verify"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
	"github.com/orderhub/orderhub/services/orderctl/internal/otherdb"
)

// maxUnsettled is how many orders that differ are compared again. If more differ, it is
// not for changes in flight.
const maxUnsettled = 1000

// compared is what verify --against ends with.
type compared struct {
	Checked   int64   `json:"checked"`
	Missing   int64   `json:"missing"`
	Extra     int64   `json:"extra"`
	Different int64   `json:"different"`
	Equal     bool    `json:"equal"`
	Seconds   float64 `json:"seconds"`
}

// comparison of another service's database with ours.
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
	c.result.Equal, c.result.Seconds = c.result.Missing+c.result.Extra+c.result.Different == 0, time.Since(began).Seconds()
	if err := a.print(c.result, ""); err != nil {
		return err
	}
	a.say("compared %s in %s: %d missing, %d extra, %d different", plural(int(c.result.Checked), "order"),
		time.Since(began).Round(100*time.Millisecond), c.result.Missing, c.result.Extra, c.result.Different)
	if !c.result.Equal {
		return failed()
	}
	return nil
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
	db, err := openDatabase(c.database)
	if err != nil {
		return nil, err
	}
	err = migrations.Check(ctx, db.pool.DB)
	if err := errors.Join(db.explain(err), db.pool.Close()); err != nil {
		return nil, err
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
