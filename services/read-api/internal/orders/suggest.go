package orders

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
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

// suggestSQL looks at no more rows than it may give: the key is searched from the
// prefix on, and the indexes of single values are searched for the whole text.
const suggestSQL = `
	(SELECT 'order', order_uid, 1 FROM orders WHERE order_uid >= $1 AND order_uid < $2 ORDER BY order_uid LIMIT $3)
	UNION ALL
	(SELECT 'track_number', $4, count(*)::int FROM (SELECT FROM orders
		WHERE hashtextextended(track_number, 0) = hashtextextended($4, 0) AND track_number = $4 LIMIT $5) t)
	UNION ALL
	(SELECT 'customer', $4, count(*)::int FROM (SELECT FROM orders
		WHERE hashtextextended(customer_id, 0) = hashtextextended($4, 0) AND customer_id = $4 LIMIT $5) c)`

// Suggest gives what a text may be, or the beginning of: first what it is as it
// stands, then orders whose uid begins with it. An error is ErrUnavailable, or
// ctx's.
func (l *Lists) Suggest(ctx context.Context, text string) ([]Suggestion, error) {
	// What begins with a text that is no uid is none either.
	from, to := "", ""
	if model.IsOrderUID(text) {
		last := len(text) - 1
		from, to = text, text[:last]+string(text[last]+1) // a uid is ASCII, and sorted by bytes
	}
	var whole, begun []Suggestion
	err := l.read(ctx, func(ctx context.Context, tx bun.Tx) error {
		rows, err := tx.Tx.QueryContext(ctx, suggestSQL, from, to, MaxSuggestions, text, MaxSuggestedOrders)
		if err != nil {
			return fmt.Errorf("suggest: %w", err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var s Suggestion
			if err := rows.Scan(&s.Kind, &s.Value, &s.Orders); err != nil {
				return fmt.Errorf("suggest: %w", err)
			}
			switch {
			case s.Orders == 0:
			case s.Value == text:
				whole = append(whole, s)
			default:
				begun = append(begun, s)
			}
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("suggest: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	whole = append(whole, begun...)
	return whole[:min(len(whole), MaxSuggestions)], nil
}
