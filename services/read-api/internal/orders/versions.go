package orders

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// ErrNoVersions is returned on a schema that is older than version 9, which keeps none.
var ErrNoVersions = errors.New("the schema keeps no versions")

// Version is an order as it was, or as it is now. It was that from Since up to ReplacedAt.
type Version struct {
	Number     int64
	Since      *time.Time   // nil: not recorded
	ReplacedAt *time.Time   // nil: it is the present one
	Stamp      *model.Stamp // of its record; nil: made by hand
	Canonical  []byte
}

// Past is what is known of an order, with some of its versions.
type Past struct {
	orderdb.Past
	Stored   bool
	Selected []Version // the newest first; the present one is numbered after the others
	More     bool      // there are older ones
}

// Known tells whether there is anything about the order.
func (p *Past) Known() bool { return p.Stored || p.Versions > 0 || p.DeletedAt != nil }

// Mask masks personal data in the selected versions.
func (p *Past) Mask() {
	for i := range p.Selected {
		p.Selected[i].Canonical = model.AppendMasked(nil, p.Selected[i].Canonical)
	}
}

// Which selects versions: by their numbers, or by the moment that they are of, or else the
// newest ones.
type Which struct {
	Numbers []int64
	AsOf    *time.Time
	Before  int64 // only those with smaller numbers; 0: all
	Limit   int
}

// Versions reads versions of an order from the database, at one moment. An error is
// ErrNoVersions, ErrUnavailable, or ctx's.
func (l *Lists) Versions(ctx context.Context, uid string, which Which) (Past, error) {
	var past Past
	absent := false
	err := l.read(ctx, "versions", nil, func(ctx context.Context, tx bun.Tx) error {
		known, err := orderdb.ReadPast(ctx, tx, uid)
		if absent = err == nil && known == nil; err != nil || absent {
			return err
		}
		past.Past = *known
		return past.read(ctx, tx, uid, which)
	})
	if absent {
		err = ErrNoVersions
	}
	return past, err
}

func (p *Past) read(ctx context.Context, tx bun.Tx, uid string, which Which) error {
	stored, err := orderdb.Read(ctx, tx, []string{uid})
	if err != nil {
		return err
	}
	var present orderdb.Stored
	if present, p.Stored = stored[uid]; p.Stored {
		v := Version{Number: p.Newest + 1, Since: p.StoredAt, Stamp: present.Stamp, Canonical: model.AppendCanonical(nil, present.Order)}
		if p.UpdatedAt != nil {
			v.Since = p.UpdatedAt
		}
		if which.hasPresent(v) {
			p.Selected = append(p.Selected, v)
		}
	}
	rows, err := orderdb.ReadVersions(ctx, tx, uid, which.earlier)
	if err != nil {
		return err
	}
	for _, row := range rows {
		canonical, err := row.Canonical()
		if err != nil {
			return fmt.Errorf("version %d of order %s: %w", row.Number, uid, err)
		}
		p.Selected = append(p.Selected, Version{Number: row.Number, Since: row.Since, ReplacedAt: &row.ReplacedAt, Stamp: row.Stamp(), Canonical: canonical})
	}
	if p.More = which.Limit > 0 && len(p.Selected) > which.Limit; p.More {
		p.Selected = p.Selected[:which.Limit]
	}
	return nil
}

// hasPresent tells whether the order as it is now is selected.
func (w Which) hasPresent(v Version) bool {
	switch {
	case w.Numbers != nil:
		return slices.Contains(w.Numbers, v.Number)
	case w.AsOf != nil:
		return v.Since != nil && !v.Since.After(*w.AsOf)
	}
	return w.Before == 0 || v.Number < w.Before
}

// earlier selects earlier versions. With a limit it selects one more, if there is one.
func (w Which) earlier(q *bun.SelectQuery) *bun.SelectQuery {
	switch {
	case w.Numbers != nil:
		q.Where("version IN (?)", bun.List(w.Numbers))
	case w.AsOf != nil:
		q.Where("since <= ?0 AND replaced_at > ?0", *w.AsOf)
	case w.Before > 0:
		q.Where("version < ?", w.Before)
	}
	if w.Limit > 0 {
		q.Limit(int64(w.Limit) + 1)
	}
	return q.Order("version DESC")
}
