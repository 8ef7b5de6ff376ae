package httpapi

import (
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// list answers GET and HEAD of the orders, newest first.
func (a *api) list(c *gin.Context) {
	request, refused := parseList(c.Request.URL.RawQuery)
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
	send(c, jsonType, appendPage(nil, request.filter, page))
}

// send answers with a body, or with 304 where the client has it.
func send(c *gin.Context, contentType []string, body []byte) {
	sendTagged(c, contentType, cache.ETag(body), body)
}

func sendTagged(c *gin.Context, contentType []string, tag string, body []byte) {
	h := c.Writer.Header()
	h["Cache-Control"] = revalidate
	h["Etag"] = []string{tag}
	if matches(c.Request.Header["If-None-Match"], tag) {
		c.Status(http.StatusNotModified)
		return
	}
	h["X-Content-Type-Options"] = nosniff
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.Data(http.StatusOK, contentType[0], body)
}

// appendPage writes {"orders":[…],"next_cursor":"…"}; at the end of the list
// there is no next_cursor.
func appendPage(dst []byte, filter orders.Filter, page orders.Page) []byte {
	dst = append(dst, `{"orders":[`...)
	for i, body := range page.Orders {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, body...)
	}
	dst = append(dst, ']')
	if page.Next != nil {
		dst = append(dst, `,"next_cursor":"`...)
		dst = append(dst, encodeCursor(filter, *page.Next)...)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}
