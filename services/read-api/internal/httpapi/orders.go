package httpapi

import (
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// listRequest is what a list was asked for.
type listRequest struct {
	filter orders.Filter
	after  *orders.Key
	limit  int
}

const defaultLimit = 20

func readList(q *query) (listRequest, *problem.Error) {
	r := listRequest{limit: defaultLimit, filter: q.filter()}
	q.read("limit", limitInto(&r.limit))
	q.read("sort", sortInto(&r.filter.Sort))
	if text, given := q.values["cursor"]; given && q.refused == nil {
		key, err := decodeCursor(r.filter, text)
		if err != nil {
			return r, invalidCursor.New("cursor: " + err.Error() + ".")
		}
		r.after = &key
	}
	return r, q.refused
}

// list answers GET and HEAD of the orders.
func (a *api) list(c *gin.Context) {
	request, refused := readList(a.readFilter(c, "limit", "cursor", "sort"))
	if refused != nil {
		a.problem(c, refused)
		return
	}
	read := a.Orders.List
	if wantsFresh(c.Request.Header) {
		read = a.Orders.ListFresh
	}
	page, err := read(c.Request.Context(), request.filter, request.after, request.limit)
	if err != nil {
		a.unavailable(c, err)
		return
	}
	personal := a.Access.Personal(c)
	if personal && !a.Access.Looked(c, access.Show, page.UIDs...) {
		return
	}
	a.send(c, jsonType[0], appendPage(nil, request.filter, page, !personal))
}

// send answers with a body that clients may keep but must revalidate each time.
func (a *api) send(c *gin.Context, contentType string, body []byte) {
	c.Writer.Header()["Cache-Control"] = a.cacheable
	web.Send(c, http.StatusOK, contentType, cache.ETag(body), body)
}

// sendJSON sends a value that has a JSON form.
func (a *api) sendJSON(c *gin.Context, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	a.send(c, jsonType[0], body)
}

// appendPage writes {"orders":[…],"next_cursor":"…"}; at the end of the list
// there is no next_cursor.
func appendPage(dst []byte, filter orders.Filter, page orders.Page, masked bool) []byte {
	dst = append(dst, `{"orders":[`...)
	for i, body := range page.Orders {
		if i > 0 {
			dst = append(dst, ',')
		}
		if masked {
			dst = model.AppendMasked(dst, body)
		} else {
			dst = append(dst, body...)
		}
	}
	dst = append(dst, ']')
	if page.Next != nil {
		dst = append(dst, `,"next_cursor":"`...)
		dst = append(dst, encodeCursor(filter, *page.Next)...)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}
