package httpapi

import (
	"slices"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/platform/pasted"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// suggestion is a completion of a typed text.
type suggestion struct {
	Kind   orders.SuggestionKind `json:"kind"`
	Value  string                `json:"value"`
	Orders int                   `json:"orders,omitempty"` // of a track number or a customer
}

// suggest answers GET and HEAD with completions of a text, in the first of its readings
// that has any.
func (a *api) suggest(c *gin.Context) {
	q := readQuery(c.Request.URL.RawQuery, "q")
	var readings []string
	if !read(q, "q", &readings, readingsOf) {
		q.refuse("The parameter \"q\" is missing.")
	}
	if q.refused != nil {
		a.problem(c, q.refused)
		return
	}
	fresh := wantsFresh(c.Request.Header)
	var found []orders.Suggestion
	for i := 0; i < len(readings) && len(found) == 0; i++ {
		var err error
		if found, err = a.Orders.Suggest(c.Request.Context(), readings[i], a.Access.Personal(c), fresh); err != nil {
			a.unavailable(c, err)
			return
		}
	}
	customer := slices.ContainsFunc(found, func(s orders.Suggestion) bool { return s.Kind == orders.SuggestedCustomer })
	if customer && !a.Access.Looked(c, access.Search) {
		return
	}
	answer := make([]suggestion, len(found))
	for i, s := range found {
		answer[i] = suggestion{Kind: s.Kind, Value: s.Value}
		if s.Kind != orders.SuggestedOrder {
			answer[i].Orders = s.Orders
		}
	}
	a.sendJSON(c, map[string][]suggestion{"suggestions": answer})
}

// readingsOf keeps those readings of a pasted text that may be searched for: an
// address may be longer than what it names.
func readingsOf(typed string) (readings []string, err error) {
	_, refused := shortText(typed)
	if refused != nil && utf8.RuneCountInString(typed) <= maxFilterText {
		return nil, refused
	}
	for _, reading := range pasted.Readings(typed) {
		if _, err := shortText(reading); err == nil {
			readings = append(readings, reading)
		}
	}
	if len(readings) > 0 {
		return readings, nil
	}
	return nil, refused
}
