package page

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
)

// maxSearch is in characters; no record's text that is searched for is longer.
const maxSearch = 128

// search looks a text up as order_uid, track number and customer. One order is shown,
// several are a list; by is the kind that a person has chosen.
func (p *Page) search(c *gin.Context, v *view, by string) {
	if utf8.RuneCountInString(v.Query) > maxSearch || v.Query == "" || !utf8.ValidString(v.Query) || strings.ContainsRune(v.Query, 0) {
		v.State = invalid
		return
	}
	v.Searched, v.State, v.Similar = true, "", nil
	if by != KindTrackNumber && by != KindCustomer && model.IsOrderUID(v.Query) {
		if p.order(c, v); v.State == found {
			v.leadTo(url.Values{"uid": {v.Query}})
			return
		}
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), listTimeout)
	defer cancel()
	suggestions, err := p.Orders.Suggest(ctx, v.Query, !v.Masked)
	if err != nil {
		p.notKnown(c, "what a search finds", err)
		v.State = unavailable
		return
	}
	customer := slices.ContainsFunc(suggestions, func(s Suggestion) bool { return s.Kind == KindCustomer })
	if customer && !p.Access.Looked(c, access.Search) {
		return
	}
	var lists []Suggestion // exact matches
	for _, suggestion := range suggestions {
		switch {
		case suggestion.Kind == KindOrder && suggestion.Value != v.Query:
			v.Similar = append(v.Similar, suggestion)
		case suggestion.Kind == KindOrder && by == "": // it has just arrived, or was not in memory
			v.leadTo(url.Values{"uid": {v.Query}})
			return
		case suggestion.Kind != KindOrder && (by == "" || by == suggestion.Kind):
			lists = append(lists, suggestion)
		}
	}
	switch {
	case len(lists) == 0 && v.State != unavailable:
		v.State = missing
	case len(lists) == 1:
		p.open(ctx, v, lists[0])
	case len(lists) > 1:
		v.State, v.Choices = choice, lists
	}
}

// open redirects to a list, or to the order where the list has only one.
func (p *Page) open(ctx context.Context, v *view, chosen Suggestion) {
	filters := chosen.filters()
	if chosen.Orders == 1 {
		list, err := p.Orders.List(ctx, Query{Filters: filters, Limit: 1})
		if err == nil && len(list.Canonical) == 1 {
			if o := p.decode(list.Canonical[0], v.Masked); o != nil {
				filters = url.Values{"uid": {o.OrderUID}}
			}
		}
	}
	v.leadTo(filters)
}

func (v *view) leadTo(query url.Values) { v.State, v.Target = elsewhere, query }

// filters select the orders of a suggestion.
func (s Suggestion) filters() url.Values {
	if s.Kind == KindTrackNumber {
		return url.Values{"track_number": {s.Value}}
	}
	return url.Values{"customer_id": {s.Value}}
}

// Address is where the page shows it.
func (s Suggestion) Address() string {
	if s.Kind == KindOrder {
		return address(url.Values{"uid": {s.Value}}, false)
	}
	return address(url.Values{"q": {s.Value}, "by": {s.Kind}}, false)
}

// Words describe the suggestion.
func (s Suggestion) Words() string {
	switch s.Kind {
	case KindTrackNumber:
		return "Track number of " + counted(s.Orders)
	case KindCustomer:
		return "Customer with " + counted(s.Orders)
	}
	return "Order"
}

// manyOrders is the number up to which orders are counted.
const manyOrders = 100

func counted(orders int) string {
	switch {
	case orders == 1:
		return "1 order"
	case orders >= manyOrders:
		return fmt.Sprintf("%d orders or more", manyOrders)
	}
	return fmt.Sprintf("%d orders", orders)
}
