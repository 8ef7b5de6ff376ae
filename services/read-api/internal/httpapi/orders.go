package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

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
	fields []string // that orders have in the answer; nil: all
	count  string   // how the list's orders are to be counted; "" not at all
}

const (
	defaultLimit = 20
	countExact   = "exact"
)

func readList(q *query) (listRequest, *problem.Error) {
	r := listRequest{limit: defaultLimit, filter: q.filter()}
	read(q, "limit", &r.limit, limitOf)
	read(q, "sort", &r.filter.Sort, sortOf)
	read(q, "fields", &r.fields, fieldsOf)
	read(q, "count", &r.count, either(countExact, "estimate"))
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
	request, refused := readList(a.readFilter(c, "limit", "cursor", "sort", "fields", "count"))
	if refused != nil {
		a.problem(c, refused)
		return
	}
	fresh := wantsFresh(c.Request.Header)
	page, err := a.Orders.List(c.Request.Context(), request.filter, request.after, request.limit, fresh)
	if err != nil {
		a.unavailable(c, err)
		return
	}
	var count *counted
	if request.count != "" && request.after == nil {
		count = &counted{}
		count.n, count.exact, err = a.Orders.Count(c.Request.Context(), request.filter, request.count == countExact, fresh)
		if err != nil {
			a.unavailable(c, err)
			return
		}
	}
	personal := a.Access.Personal(c)
	if personal && !a.Access.Looked(c, access.Show, page.UIDs...) {
		return
	}
	body := pageBodies.Get().(*[]byte)
	*body = appendPage((*body)[:0], request, page, count, !personal)
	a.send(c, jsonType[0], *body)
	if cap(*body) <= mostKept {
		pageBodies.Put(body)
	}
}

// pageBodies are buffers of answers: most of what a list leaves behind, and each collection
// of garbage delays some requests by a millisecond or two.
var pageBodies = sync.Pool{New: func() any { return new([]byte) }}

// mostKept is the size of a buffer that is used again: few pages are larger.
const mostKept = 256 << 10

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

// counted is how many orders a list has.
type counted struct {
	n     int64
	exact bool
}

// appendPage writes {"orders":[…],"count":1,"count_exact":true,"next_cursor":"…"}; at the end
// of the list there is no next_cursor.
func appendPage(dst []byte, request listRequest, page orders.Page, count *counted, masked bool) []byte {
	size := 256 // of what is around the orders, about
	for _, body := range page.Orders {
		size += len(body) + 1
	}
	dst = append(slices.Grow(dst, size), `{"orders":[`...)
	for i, body := range page.Orders {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendOrder(dst, body, request.fields, masked)
	}
	dst = append(dst, ']')
	if count != nil {
		dst = fmt.Appendf(dst, `,"count":%d,"count_exact":%t`, count.n, count.exact)
	}
	if page.Next != nil {
		dst = append(dst, `,"next_cursor":"`...)
		dst = append(dst, encodeCursor(request.filter, *page.Next)...)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// appendOrder writes an order's fields, as the caller may see them.
func appendOrder(dst, canonical []byte, fields []string, masked bool) []byte {
	switch {
	case masked && fields == nil:
		return model.AppendMasked(dst, canonical)
	case masked:
		canonical = model.AppendMasked(nil, canonical)
	}
	if fields == nil {
		return append(dst, canonical...)
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(canonical, &whole); err != nil {
		panic(err)
	}
	for i, field := range fields {
		dst = append(fmt.Appendf(dst, `%c"%s":`, "{,"[min(i, 1)], field), whole[field]...)
	}
	return append(dst, '}')
}

// orderFields are the names of an order's fields, in the sequence of its JSON.
var orderFields = func() (names []string) {
	for field := range reflect.TypeFor[model.Order]().Fields() {
		if name := field.Tag.Get("json"); name != "-" {
			names = append(names, name)
		}
	}
	return names
}()

// fieldsOf reads names of fields, and adds order_uid, which answers always have.
func fieldsOf(text string) ([]string, error) {
	asked := strings.Split(text, ",")
	for _, name := range asked {
		if !slices.Contains(orderFields, name) {
			return nil, fmt.Errorf("has %q, which is no field of an order; there are %s", cut(name), strings.Join(orderFields, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(orderFields), func(name string) bool { return name != orderFields[0] && !slices.Contains(asked, name) }), nil
}
