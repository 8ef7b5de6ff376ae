package orders

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
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
// return. Without personal no customer is looked for. An error is ErrUnavailable, or ctx's.
func (l *Lists) Suggest(ctx context.Context, text string, personal bool) ([]Suggestion, error) {
	var whole, begun []Suggestion
	err := l.read(ctx, "suggest", func(ctx context.Context, tx bun.Tx) error {
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
		var found []Suggestion
		if err := query.Scan(ctx, &found); err != nil {
			return fmt.Errorf("suggest: %w", err)
		}
		for _, s := range found {
			switch {
			case s.Orders == 0:
			case s.Value == text:
				whole = append(whole, s)
			default:
				begun = append(begun, s)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	whole = append(whole, begun...)
	return whole[:min(len(whole), MaxSuggestions)], nil
}

// ordersWith counts the orders that have a text in a column, up to
// MaxSuggestedOrders. The column's index has hashes.
func ordersWith(tx bun.Tx, kind SuggestionKind, column bun.Ident, text string) *bun.SelectQuery {
	some := tx.NewSelect().Model((*orderdb.Order)(nil)).ColumnExpr("1").
		Where("hashtextextended(?0, 0) = hashtextextended(?1, 0) AND ?0 = ?1", column, text).Limit(MaxSuggestedOrders)
	return tx.NewSelect().ColumnExpr("? AS kind, ? AS value, count(*)::int AS orders", kind, text).TableExpr("(?) AS t", some)
}
