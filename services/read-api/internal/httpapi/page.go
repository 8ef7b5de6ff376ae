package httpapi

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

// PageOrders is the web page's source of orders.
type PageOrders struct {
	orders *orders.Orders
	last   atomic.Pointer[lastList]
}

// lastList is the last list of the newest orders that could be read.
type lastList struct {
	canonical [][]byte
	asked     int
	at        time.Time
}

// NewPageOrders returns a source that reads what the API reads.
func NewPageOrders(o *orders.Orders) *PageOrders { return &PageOrders{orders: o} }

// Get implements page.Orders.
func (p *PageOrders) Get(ctx context.Context, uid string) (page.Found, error) {
	answer, err := p.orders.Get(ctx, uid, false)
	if err != nil || !answer.Found {
		return page.Found{}, err
	}
	found := page.Found{Canonical: answer.Bytes()}
	if answer.Outdated > 0 {
		found.StaleSince = time.Now().Add(-answer.Outdated)
	}
	return found, nil
}

// List implements page.Orders. While the newest orders cannot be read, it returns the
// last list with its time: people are better served with that than with nothing.
func (p *PageOrders) List(ctx context.Context, query page.Query) (page.List, error) {
	q := readQuery(query.Filters.Encode(), filterNames...)
	filter := q.filter()
	if q.refused != nil {
		return page.List{}, &page.RefusedError{Detail: q.refused.Detail()}
	}
	var after *orders.Key
	if query.Cursor != "" {
		key, err := decodeCursor(filter, query.Cursor)
		if err != nil {
			detail := "The address names a part of the list, but that name was cut off or changed."
			if errors.Is(err, errOtherFilter) {
				detail = "The address names a part of a list with other filters."
			}
			return page.List{}, &page.RefusedError{Cursor: true, Detail: detail}
		}
		after = &key
	}
	limit := min(query.Limit, orders.MaxLimit)
	newest := len(query.Filters) == 0 && after == nil
	began := time.Now()
	found, err := p.orders.List(ctx, filter, after, limit, false)
	if err != nil {
		last := p.last.Load()
		if !newest || last == nil {
			return page.List{}, err
		}
		return page.List{Canonical: last.canonical[:min(limit, len(last.canonical))], StaleSince: last.at}, nil
	}
	if last := p.last.Load(); newest && (last == nil || last.asked <= limit || began.Sub(last.at) > keepLonger) {
		p.last.Store(&lastList{canonical: found.Orders, asked: limit, at: began})
	}
	list := page.List{Canonical: found.Orders}
	if outdated := p.orders.Outdated(began); outdated > 0 {
		list.StaleSince = began.Add(-outdated)
	}
	if found.Next != nil {
		list.Next = encodeCursor(filter, *found.Next)
	}
	return list, nil
}

// keepLonger is how long a longer list is preferred to a newer one.
const keepLonger = 10 * time.Second

// Suggest implements page.Orders.
func (p *PageOrders) Suggest(ctx context.Context, text string, personal bool) ([]page.Suggestion, error) {
	found, err := p.orders.Suggest(ctx, text, personal, false)
	if err != nil {
		return nil, err
	}
	suggestions := make([]page.Suggestion, len(found))
	for i, s := range found {
		suggestions[i] = page.Suggestion{Kind: string(s.Kind), Value: s.Value, Orders: s.Orders}
	}
	return suggestions, nil
}
