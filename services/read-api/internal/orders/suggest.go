package orders

import (
	"context"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/migrations"
)

// MaxSuggestions is the most that Suggest gives.
const MaxSuggestions = 10

// MaxSuggestedOrders is up to how many orders are counted for a suggestion.
const MaxSuggestedOrders = 100

// SuggestionKind says what a suggestion's value is.
type SuggestionKind string

// The kinds.
const (
	SuggestedOrder       SuggestionKind = "order" // the value is an order_uid
	SuggestedTrackNumber SuggestionKind = "track_number"
	SuggestedCustomer    SuggestionKind = "customer"
)

// Suggestion is something that somebody who typed a text may look for.
type Suggestion struct {
	Kind  SuggestionKind
	Value string
	// Orders is how many orders the value has, MaxSuggestedOrders for that many or
	// more. It is 1 for an order.
	Orders int
}

// Suggest returns what a text may be, or the beginning of: first what it is as it
// stands, then orders whose uid begins with it. It looks at no more rows than it may
// return, where List would look. Without personal no customer is looked for. An error is
// ErrUnavailable, perhaps ErrUnindexed, or ctx's.
func (l *Lists) Suggest(ctx context.Context, text string, personal, fresh bool) (found []Suggestion, err error) {
	err = l.answer(ctx, fresh, func() (ok bool) {
		if found, ok = l.index.suggest(text, personal); ok {
			l.answered.Add(1)
		}
		return ok
	}, func() error {
		found, err = l.suggestStored(ctx, text, personal)
		return err
	})
	return arrange(found, text), err
}

func (l *Lists) suggestStored(ctx context.Context, text string, personal bool) ([]Suggestion, error) {
	indexes := []string{migrations.TrackNumberIndex}
	if personal {
		indexes = append(indexes, migrations.CustomerIndex)
	}
	var found []Suggestion
	err := l.read(ctx, "suggest", indexes, func(ctx context.Context, tx bun.Tx) error {
		query := ordersWith(tx, SuggestedTrackNumber, "track_number", text)
		if personal {
			query.UnionAll(ordersWith(tx, SuggestedCustomer, "customer_id", text))
		}
		if model.IsOrderUID(text) { // else it is not the beginning of a uid either
			last := len(text) - 1
			after := text[:last] + string(text[last]+1) // a uid is ASCII, and sorted by bytes
			uids := tx.NewSelect().Model((*orderdb.Order)(nil)).ColumnExpr("? AS kind, order_uid AS value, 1 AS orders", SuggestedOrder).
				Where("order_uid >= ? AND order_uid < ?", text, after).Order("order_uid").Limit(MaxSuggestions)
			query = uids.UnionAll(query)
		}
		if err := query.Scan(ctx, &found); err != nil {
			return fmt.Errorf("suggest: %w", err)
		}
		return nil
	})
	return found, err
}

// arrange puts first what a text is as it stands.
func arrange(found []Suggestion, text string) []Suggestion {
	var whole, begun []Suggestion
	for _, s := range found {
		switch {
		case s.Orders == 0:
		case s.Value == text:
			whole = append(whole, s)
		default:
			begun = append(begun, s)
		}
	}
	whole = append(whole, begun...)
	return whole[:min(len(whole), MaxSuggestions)]
}

// suggest is what Suggest finds, as of the last round. It returns false if only the database
// has it.
func (x *index) suggest(text string, personal bool) (found []Suggestion, ok bool) {
	ok = x.search(Filter{}, func(s *finder) {
		if !model.IsOrderUID(text) { // else it is not the beginning of a uid either
			return
		}
		s.byUID.walk(s.uidSpot(text), s.byUID.end(), false, nil, func(item item) bool {
			uid := s.uid(s.row(item.handle()))
			if !strings.HasPrefix(uid, text) || len(found) == MaxSuggestions {
				return false
			}
			found = append(found, Suggestion{SuggestedOrder, strings.Clone(uid), 1})
			return true
		})
	})
	count := func(kind SuggestionKind, f Filter) {
		orders := 0
		ok = ok && x.search(f, func(s *finder) {
			s.narrowest().rows(func(r *row) bool {
				if _, _, matches := s.match(r); matches {
					orders++
				}
				return orders < MaxSuggestedOrders && !s.lost
			})
		})
		found = append(found, Suggestion{kind, text, orders})
	}
	count(SuggestedTrackNumber, Filter{TrackNumber: text})
	if personal {
		count(SuggestedCustomer, Filter{CustomerID: text})
	}
	return found, ok
}

// ordersWith counts the orders that have a text in a column, up to
// MaxSuggestedOrders. The column's index has hashes.
func ordersWith(tx bun.Tx, kind SuggestionKind, column bun.Ident, text string) *bun.SelectQuery {
	some := tx.NewSelect().Model((*orderdb.Order)(nil)).ColumnExpr("1").
		Where("hashtextextended(?0, 0) = hashtextextended(?1, 0) AND ?0 = ?1", column, text).Limit(MaxSuggestedOrders)
	return tx.NewSelect().ColumnExpr("? AS kind, ? AS value, count(*)::int AS orders", kind, text).TableExpr("(?) AS t", some)
}
