package web

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// requestIDHeader is the header of every answer that names the request. A trusted proxy
// may choose the name, by the same header of the request.
const requestIDHeader = "X-Request-Id"

// maxRequestID is the longest id that a proxy may choose.
const maxRequestID = 128

// RequestID returns the id of the request that c is about: that of the header
// X-Request-Id of its answer, of the log's lines about it, and of the audit log.
func RequestID(c *gin.Context) string { return c.Writer.Header().Get(requestIDHeader) }

// Log returns a logger whose lines name the request that c is about, and its trace where
// that is recorded.
func Log(c *gin.Context, log *zap.Logger) *zap.Logger {
	return log.With(zap.String("request_id", RequestID(c)), tracing.Field(c.Request.Context()))
}

// idBlock are request ids that were made together, so that a request allocates none.
type idBlock struct {
	first uint64
	used  atomic.Int64
	ids   [256]string
}

var (
	processID = rand.Text()[:10] // of this process's request ids
	ids       atomic.Pointer[idBlock]
)

func init() { ids.Store(newIDs(0)) }

func newIDs(first uint64) *idBlock {
	b := &idBlock{first: first}
	var text strings.Builder
	text.Grow(len(b.ids) * (len(processID) + len("-1y2p0ij32e8e7"))) // the largest
	one := []byte(processID + "-")
	for i := range b.ids {
		from := text.Len()
		text.Write(strconv.AppendUint(one, first+uint64(i), 36))
		b.ids[i] = text.String()[from:] // Grow has made room for all: it stays where it is
	}
	return b
}

// nextID is the header's value with an id that no other request of this process has.
func nextID() []string {
	for {
		b := ids.Load()
		if n := b.used.Add(1) - 1; n < int64(len(b.ids)) {
			return b.ids[n : n+1 : n+1]
		}
		ids.CompareAndSwap(b, newIDs(b.first+uint64(len(b.ids))))
	}
}

// name is the handler that gives a request its id. Behind has set that of a proxy.
func name(c *gin.Context) {
	if h := c.Writer.Header(); h[requestIDHeader] == nil {
		h[requestIDHeader] = nextID()
	}
}

// takeID uses the id that a proxy has chosen, if it is one.
func takeID(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(requestIDHeader)
	if id != "" && len(id) <= maxRequestID && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == "" {
		w.Header()[requestIDHeader] = []string{id}
	}
}

// logRequests is a handler that logs requests, at most so many a second. Addresses are
// not logged: people write names into them.
func logRequests(log *zap.Logger, perSecond int) gin.HandlerFunc {
	lines := rate.NewLimiter(rate.Limit(perSecond), perSecond)
	return func(c *gin.Context) {
		start := time.Now()
		defer func() { // also of a handler that gives up half an answer
			if lines.Allow() {
				Log(c, log).Info("request", zap.String("method", c.Request.Method), zap.String("route", c.FullPath()), zap.Int("status", c.Writer.Status()),
					zap.Int("bytes", max(0, c.Writer.Size())), zap.Duration("duration_seconds", time.Since(start)))
			}
		}()
		c.Next()
	}
}
