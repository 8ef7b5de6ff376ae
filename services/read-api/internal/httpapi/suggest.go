package httpapi

import (
	"encoding/json"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// suggestion is a completion of a typed text.
type suggestion struct {
	Kind   orders.SuggestionKind `json:"kind"`
	Value  string                `json:"value"`
	Orders int                   `json:"orders,omitempty"` // of a track number or a customer
}

// suggest answers GET and HEAD with completions of a text.
func (a *api) suggest(c *gin.Context) {
	q := readQuery(c.Request.URL.RawQuery, "q")
	var text string
	if !q.read("q", textInto(&text)) {
		q.refuse("The parameter \"q\" is missing.")
	}
	if q.refused != nil {
		a.problem(c, q.refused)
		return
	}
	found, err := a.Orders.Suggest(c.Request.Context(), text)
	if err != nil {
		a.unavailable(c, err)
		return
	}
	answer := make([]suggestion, len(found))
	for i, s := range found {
		answer[i] = suggestion{Kind: s.Kind, Value: s.Value}
		if s.Kind != orders.SuggestedOrder {
			answer[i].Orders = s.Orders
		}
	}
	body, err := json.Marshal(map[string][]suggestion{"suggestions": answer})
	if err != nil {
		panic(err) // strings and numbers
	}
	send(c, jsonType[0], body)
}
