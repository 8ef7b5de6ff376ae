package httpapi

import (
	"context"
	"errors"

	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

// Timeline implements page.Orders. It is of the newest versions, and empty on a schema that
// keeps none.
func (p *PageOrders) Timeline(ctx context.Context, uid string, masked bool) (events []page.Event, err error) {
	past, err := p.orders.Versions(ctx, uid, orders.Which{Limit: defaultLimit})
	if errors.Is(err, orders.ErrNoVersions) {
		return nil, nil
	}
	if masked {
		past.Mask()
	}
	if past.DeletedAt != nil {
		events = append(events, page.Event{At: *past.DeletedAt, What: "Deleted"})
	}
	received := past.StoredAt
	for i := 1; i < len(past.Selected) && err == nil; i++ {
		newer, older := past.Selected[i-1], past.Selected[i]
		changed := page.Event{At: *older.ReplacedAt, What: "Changed"}
		if changed.Changes, err = shownChanges(older, newer); newer.ReplacedAt == nil && received != nil && received.After(changed.At) {
			events = append(events, page.Event{At: *received, What: "Received again", Changes: changed.Changes})
			changed, received = page.Event{At: changed.At, What: "Deleted"}, nil
		}
		events = append(events, changed)
	}
	if err != nil || past.More || len(past.Selected) == 0 {
		return events, err
	}
	oldest := past.Selected[len(past.Selected)-1]
	if oldest.ReplacedAt == nil && past.UpdatedAt != nil { // by SQL, which leaves no version
		events = append(events, page.Event{At: *past.UpdatedAt, What: "Changed by hand"})
	}
	if received == nil { // the row that had the time is gone
		received = oldest.Since
	}
	if received != nil {
		events = append(events, page.Event{At: *received, What: "Received"})
	}
	return events, nil
}

func shownChanges(older, newer orders.Version) (all []page.Change, err error) {
	found, err := differences(older.Canonical, newer.Canonical)
	for _, d := range found {
		all = append(all, page.Change{Path: d.Path, Before: string(d.Before), After: string(d.After)})
	}
	return all, err
}
