package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// ErrLongCount is joined with ErrUnavailable where a list has more orders than can be counted
// within readTimeout.
var ErrLongCount = errors.New("the orders cannot be counted in time")

// sampled is how many rows are examined for an estimate.
const sampled = 4000

// Count tells how many orders a filter's list has, and whether that is exact, from where List
// has it, unless memory has too many to be counted. With exactly it always is, or an error,
// which is ErrUnavailable or ctx's. Otherwise a bounded number is examined: what they say about
// the others is an estimate, unless there are none.
func (l *Lists) Count(ctx context.Context, filter Filter, exactly, fresh bool) (n int64, exact bool, err error) {
	tooMany := false
	err = l.answer(ctx, fresh, func() (ok bool) {
		n, exact, ok = l.index.count(filter)
		tooMany = ok && exactly && !exact
		return ok && !tooMany
	}, func() error {
		n, exact, err = l.countStored(ctx, filter, exactly)
		if tooMany && errors.Is(err, ErrUnindexed) { // memory will not have it soon
			err = errors.Join(ErrUnavailable, ErrLongCount)
		}
		return err
	})
	return n, exact, err
}

func (l *Lists) countStored(ctx context.Context, filter Filter, exactly bool) (n int64, exact bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select { // one at a time: lists must not wait for them
	case l.counting <- struct{}{}:
		defer func() { <-l.counting }()
	case <-ctx.Done():
		return 0, false, errors.Join(ErrUnavailable, ErrLongCount)
	}
	count := countSample
	if exactly {
		count = countAll
	}
	err = l.read(ctx, "count", []string{filter.searched()}, func(ctx context.Context, tx bun.Tx) error {
		if none, err := filter.hopeless(ctx, tx); none || err != nil {
			exact = true
			return err
		}
		n, exact, err = count(ctx, tx, filter)
		return err
	})
	if refused, is := errors.AsType[*pgconn.PgError](err); exactly && (errors.Is(err, context.DeadlineExceeded) || is && refused.Code == "57014") {
		err = errors.Join(err, ErrLongCount)
	}
	return n, exact, err
}

func countAll(ctx context.Context, tx bun.Tx, f Filter) (n int64, exact bool, err error) {
	if _, err := tx.ExecContext(ctx, countSettings); err != nil {
		return 0, false, fmt.Errorf("prepare to count: %w", err)
	}
	query := tx.NewSelect().Model((*orderdb.Order)(nil)).ColumnExpr("count(*)")
	f.along(query, nil)
	matches, _ := f.matching()
	if err := f.join(tx, query).Where("?", matches).Scan(ctx, &n); err != nil {
		return 0, false, fmt.Errorf("count orders: %w", err)
	}
	return n, true, nil
}

// countSample multiplies the share of the sample that matches with what the planner thinks of
// the index's part.
func countSample(ctx context.Context, tx bun.Tx, f Filter) (n int64, exact bool, err error) {
	matches, rows := f.matching()
	most := int64(sampled / max(rows, 1))
	sample, _ := f.examined(tx, nil)
	counts := tx.NewSelect().TableExpr("(?) AS o", sample.Column(f.compared()...).Limit(most)).ColumnExpr("count(*) AS examined, count(*) FILTER (WHERE ?) AS matched", matches)
	var of struct{ Examined, Matched int64 }
	if err := f.join(tx, counts).Scan(ctx, &of); err != nil {
		return 0, false, fmt.Errorf("count a sample: %w", err)
	}
	if of.Examined < most {
		return of.Matched, true, nil
	}
	part := tx.NewSelect().Model((*orderdb.Order)(nil)).ColumnExpr("1")
	f.along(part, nil)
	var text []byte
	if err := tx.NewRaw("EXPLAIN (FORMAT JSON) ?", part).Scan(ctx, &text); err != nil {
		return 0, false, fmt.Errorf("estimate a count: %w", err)
	}
	var plans [1]struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		} `json:"Plan"`
	}
	if err := json.Unmarshal(text, &plans); err != nil {
		return 0, false, fmt.Errorf("estimate a count: %w", err)
	}
	return int64(max(plans[0].Plan.Rows, float64(most)) * float64(of.Matched) / float64(most)), false, nil
}
