package httpapi

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

// PageOrders gives the web page its orders.
type PageOrders struct {
	orders *orders.Orders
	last   atomic.Pointer[lastList]
}

// lastList is the newest orders as they were known last.
type lastList struct {
	canonical [][]byte
	asked     int
	at        time.Time
}

// NewPageOrders gives the page orders from where the API has them.
func NewPageOrders(o *orders.Orders) *PageOrders { return &PageOrders{orders: o} }

// Get implements page.Orders.
func (p *PageOrders) Get(ctx context.Context, uid string) (page.Found, error) {
	answer, err := p.orders.Get(ctx, uid, false)
	if err != nil || !answer.Found {
		return page.Found{}, err
	}
	found := page.Found{Canonical: answer.Bytes()}
	if answer.Staleness > 0 {
		found.StaleSince = time.Now().Add(-answer.Staleness)
	}
	return found, nil
}

// Newest implements page.Orders. While the list can't be read, it is the one
// that was read last: people are better served with that, and with its time,
// than with nothing.
func (p *PageOrders) Newest(ctx context.Context, n int) (page.List, error) {
	n = min(n, orders.MaxLimit)
	began := time.Now()
	list, err := p.orders.List(ctx, orders.Filter{}, nil, n)
	if err == nil {
		p.last.Store(&lastList{canonical: list.Orders, asked: n, at: began})
		return page.List{Canonical: list.Orders}, nil
	}
	last := p.last.Load()
	if last == nil || last.asked < n {
		return page.List{}, err
	}
	return page.List{Canonical: last.canonical[:min(n, len(last.canonical))], StaleSince: last.at}, nil
}
