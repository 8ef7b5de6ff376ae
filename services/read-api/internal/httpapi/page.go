package httpapi

import (
	"context"
	"time"

	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

// PageOrders gives the web page its orders.
type PageOrders struct{ Orders *orders.Orders }

// Get implements page.Orders.
func (p PageOrders) Get(ctx context.Context, uid string) (page.Found, error) {
	answer, err := p.Orders.Get(ctx, uid, false)
	if err != nil || !answer.Found {
		return page.Found{}, err
	}
	found := page.Found{Canonical: answer.Bytes()}
	if answer.Staleness > 0 {
		found.StaleSince = time.Now().Add(-answer.Staleness)
	}
	return found, nil
}

// Newest implements page.Orders.
func (p PageOrders) Newest(ctx context.Context, n int) (page.List, error) {
	list, err := p.Orders.List(ctx, nil, min(n, orders.MaxLimit))
	return page.List{Canonical: list.Orders}, err
}
