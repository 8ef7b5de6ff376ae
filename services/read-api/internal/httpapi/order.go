package httpapi

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// stalenessHeader is on each answer while the orders in memory may be out of date: it has
// the seconds since they were not. An answer that is from memory then also has an Age.
// Without the header, answers are at most CACHE_MAX_STALENESS old.
const stalenessHeader = "X-Orderhub-Staleness"

// Header values that never change, so that a hit need not allocate them. They are
// shared by all answers and never written to.
var (
	jsonType    = []string{"application/json"}
	problemType = []string{problem.ContentType}
	nosniff     = []string{"nosniff"}
	// Clients may keep an answer, but have to ask with its ETag whether it still holds.
	revalidate = []string{"no-cache"}
	// The same where answers depend on who asks: a cache between them must not keep one.
	revalidatePrivately = []string{"private, no-cache"}
	noStore             = []string{"no-store"}
	// lengths are the values of Content-Length up to the length of nearly all orders.
	lengths = decimals(16 << 10)
)

func decimals(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = strconv.Itoa(i)
	}
	return texts
}

// contentLength is the header's value, prepared where it is short.
func contentLength(n int) []string {
	if n < len(lengths) {
		return lengths[n : n+1 : n+1]
	}
	return []string{strconv.Itoa(n)}
}

// minEncoded is the size in bytes from which orders are encoded. A smaller one fits
// into what TCP sends at once (10 segments, RFC 6928), so it would arrive no sooner,
// and encoding would cost more than all the rest of a hit.
const minEncoded = 14 << 10

// scratch is memory for one answer at a time: an HTTP/1.1 connection answers its
// requests one after another, so its scratch belongs to the request in hand until the
// next one is read.
type scratch struct {
	etag   [1]string
	body   []byte // of a 404
	masked cache.Room
}

type scratchKey struct{}

// ConnContext gives a connection its scratch; it is for http.Server. Without it, and
// with HTTP/2, each answer allocates.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, scratchKey{}, new(scratch))
}

func scratchOf(r *http.Request) *scratch {
	if s, ok := r.Context().Value(scratchKey{}).(*scratch); ok && r.ProtoMajor == 1 {
		return s
	}
	return new(scratch)
}

// stale marks the answers that come while the orders in memory may be out of date.
func (a *api) stale(c *gin.Context) {
	if outdated := a.Orders.Outdated(time.Now()); outdated > 0 {
		markStale(c, outdated)
	}
}

func markStale(c *gin.Context, outdated time.Duration) {
	c.Writer.Header().Set(stalenessHeader, strconv.FormatFloat(outdated.Seconds(), 'f', 3, 64))
}

// order answers GET and HEAD of one order. Answers from memory, 404 included, are given
// without an allocation.
func (a *api) order(c *gin.Context) {
	uid := c.Param("order_uid")
	if !a.validUID(c, uid) {
		return
	}
	if strings.Trim(c.Request.URL.RawQuery, "&") != "" {
		a.orderAsOf(c)
		return
	}
	if a.Traces != nil {
		a.linkTo(c.Request.Context(), uid)
	}
	answer, err := a.Orders.Get(c.Request.Context(), uid, wantsFresh(c.Request.Header))
	switch {
	case err != nil:
		a.unavailable(c, err)
	case !answer.Found:
		a.notFound(c, uid)
	case !a.Access.Personal(c):
		answer.Record = answer.Masked(&scratchOf(c.Request).masked)
		a.writeOrder(c, answer)
	case !a.Access.On() || a.Access.Looked(c, access.Show, uid):
		a.writeOrder(c, answer)
	}
}

// validUID answers the request unless the uid of its address can be an order's.
func (a *api) validUID(c *gin.Context, uid string) bool {
	if !model.IsOrderUID(uid) {
		a.problem(c, invalidUID.New("The address has no valid order_uid: 1 to 64 characters of A-Z, a-z, 0-9, '-', '_' and '.', and not '.', '..' or 'stream'."))
		return false
	}
	return true
}

func (a *api) writeOrder(c *gin.Context, answer cache.Lookup) {
	h := c.Writer.Header()
	h["Cache-Control"] = a.cacheable
	if answer.Outdated > 0 {
		markStale(c, answer.Outdated)
		h.Set("Age", strconv.FormatInt(int64(answer.Outdated.Seconds()), 10))
	}
	n := answer.Len()
	if n >= minEncoded {
		h.Add("Vary", "Accept-Encoding")
		if coding := web.Accepted(c.Request.Header); coding != nil {
			writeEncoded(c, answer, coding)
			return
		}
	}
	s := scratchOf(c.Request)
	s.etag[0] = answer.ETag()
	h["Etag"] = s.etag[:]
	if held := c.Request.Header["If-None-Match"]; held != nil && web.Matches(held, s.etag[0]) {
		c.Status(http.StatusNotModified)
		return
	}
	h["X-Content-Type-Options"] = nosniff
	h["Content-Type"] = jsonType
	h["Content-Length"] = contentLength(n)
	c.Status(http.StatusOK)
	if c.Request.Method == http.MethodHead {
		return
	}
	// A client that hung up needs no answer.
	if !answer.Compressed() {
		_, _ = c.Writer.Write(answer.Bytes())
		return
	}
	answer.View(func(canonical []byte) { _, _ = c.Writer.Write(canonical) })
}

// A 404's body, but for the uid and the request's id, which need no escaping.
var notFoundHead, notFoundMiddle, notFoundTail = func() (head, middle, tail []byte) {
	const uid, id = "\x00", "\x01"
	body := orderNotFound.New("No order with order_uid "+uid+" is stored.").JSON("", id)
	head, rest, _ := bytes.Cut(body, []byte(`\u0000`))
	middle, tail, _ = bytes.Cut(rest, []byte(`\u0001`))
	return head, middle, tail
}()

// notFound is web.Problem without its allocations: clients ask often for what is not
// stored yet.
func (a *api) notFound(c *gin.Context, uid string) {
	if web.Prefix(c.Request) != "" {
		a.problem(c, orderNotFound.New("No order with order_uid "+uid+" is stored."))
		return
	}
	s := scratchOf(c.Request)
	s.body = append(append(append(s.body[:0], notFoundHead...), uid...), notFoundMiddle...)
	s.body = append(append(s.body, web.RequestID(c)...), notFoundTail...)
	h := c.Writer.Header()
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = nosniff
	h["Content-Type"] = problemType
	h["Content-Length"] = contentLength(len(s.body))
	c.Status(http.StatusNotFound)
	if c.Request.Method != http.MethodHead {
		_, _ = c.Writer.Write(s.body)
	}
}

// writeEncoded answers with an order that is large enough for it. Its tag is known
// without the work.
func writeEncoded(c *gin.Context, answer cache.Lookup, coding *web.Coding) {
	h := c.Writer.Header()
	tag := coding.Tag(answer.ETag())
	h.Set("ETag", tag)
	if web.Matches(c.Request.Header["If-None-Match"], tag) {
		c.Status(http.StatusNotModified)
		return
	}
	var body []byte
	answer.View(func(canonical []byte) { body = coding.Encode(canonical) })
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Encoding", coding.Name)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.Data(http.StatusOK, jsonType[0], body)
}

// unavailable answers 503. The reason is only logged: strangers need not know the state
// of the database.
func (a *api) unavailable(c *gin.Context, err error) {
	if !errors.Is(err, orders.ErrUnavailable) && c.Request.Context().Err() != nil {
		c.Abort() // the client has gone
		return
	}
	web.Log(c, a.Log).Debug("answered 503", zap.String("route", c.FullPath()), zap.Error(err))
	kind, why := whyUnavailable(err)
	a.problem(c, kind.Wrap(err, why))
}

func whyUnavailable(err error) (kind *problem.Kind, why string) {
	switch {
	case errors.Is(err, orders.ErrLongCount):
		return unavailable, "There are too many orders to be counted in time. Ask with count=estimate, or for fewer orders."
	case errors.Is(err, orders.ErrUnsorted):
		return unavailable, "Memory does not have all orders now, and the database has lists only with the newest first. Try again in a moment, or without sort and no-cache."
	case errors.Is(err, orders.ErrUnindexed):
		return listUnavailable, "Memory cannot answer now, and the database has no index for this. Try again in a moment, without no-cache."
	}
	return unavailable, "The database cannot be reached now, and the answer is not in memory. Try again in a moment."
}

// wantsFresh tells whether the client asks for a read of the database.
func wantsFresh(h http.Header) bool {
	for _, line := range h["Cache-Control"] {
		for directive := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(directive), "no-cache") {
				return true
			}
		}
	}
	return false
}
