package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// stalenessHeader marks an answer that may be out of date: the seconds since the
// cache last had everything that was committed. Answers without it are current
// to within CACHE_MAX_STALENESS.
const stalenessHeader = "X-Orderhub-Staleness"

// Header values that never change. They are put into the header map as they are,
// so that a hit makes no garbage; nobody writes to them.
var (
	jsonType = []string{"application/json"}
	nosniff  = []string{"nosniff"}
	// Clients may keep an answer, but ask with its ETag whether it still holds.
	revalidate = []string{"no-cache"}
	noStore    = []string{"no-store"}
)

// maxPreparedLength is up to which length a Content-Length is prepared. Nearly
// all orders are shorter.
const maxPreparedLength = 16 << 10

func decimals(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = strconv.Itoa(i)
	}
	return texts
}

// headerValues are the header values of one answer. net/http copies them when
// the header is written, so they can be used again afterwards.
type headerValues struct{ etag, length [1]string }

var headerPool = sync.Pool{New: func() any { return new(headerValues) }}

// order answers GET and HEAD of one order. On a hit it allocates nothing.
func (a *api) order(c *gin.Context) {
	uid := c.Param("order_uid")
	if !model.IsOrderUID(uid) {
		a.problem(c, problemUID, "The address has no valid order_uid: 1 to 64 characters of A-Z, a-z, 0-9, '-', '_' and '.'.")
		return
	}
	answer, err := a.Orders.Get(c.Request.Context(), uid, wantsFresh(c.Request.Header))
	switch {
	case err != nil:
		a.unavailable(c, err)
	case !answer.Found:
		a.problem(c, problemNotFound, "No order with order_uid "+uid+" is stored.")
	default:
		a.writeOrder(c, answer)
	}
}

func (a *api) writeOrder(c *gin.Context, answer orders.Answer) {
	values := headerPool.Get().(*headerValues)
	values.etag[0] = answer.ETag()
	h := c.Writer.Header()
	h["Etag"] = values.etag[:]
	h["Cache-Control"] = revalidate
	h["X-Content-Type-Options"] = nosniff
	if answer.Staleness > 0 {
		h.Set(stalenessHeader, strconv.FormatFloat(answer.Staleness.Seconds(), 'f', 3, 64))
	}
	if matches(c.Request.Header["If-None-Match"], values.etag[0]) {
		c.Writer.WriteHeader(http.StatusNotModified)
		c.Writer.WriteHeaderNow()
		headerPool.Put(values)
		return
	}
	if n := answer.Len(); n < len(a.lengths) {
		values.length[0] = a.lengths[n]
	} else {
		values.length[0] = strconv.Itoa(n)
	}
	h["Content-Type"] = jsonType
	h["Content-Length"] = values.length[:]
	c.Writer.WriteHeader(http.StatusOK)
	c.Writer.WriteHeaderNow()
	headerPool.Put(values)
	if c.Request.Method == http.MethodHead {
		return
	}
	// A client that hung up needs no answer.
	if answer.InPlace() {
		_, _ = c.Writer.Write(answer.Bytes())
		return
	}
	answer.View(func(canonical []byte) { _, _ = c.Writer.Write(canonical) })
}

// unavailable answers what can't be known now. The reason is for the log: the
// state of the database is nothing to tell strangers, and it is logged where it
// changes.
func (a *api) unavailable(c *gin.Context, err error) {
	if !errors.Is(err, orders.ErrUnavailable) && c.Request.Context().Err() != nil {
		c.Abort() // the client has gone
		return
	}
	a.Log.Debug("answered with 503", zap.String("route", c.FullPath()), zap.Error(err))
	a.problem(c, problemUnavailable, "The database can't be asked now, and the answer is not in memory. Try again in a moment.")
}

// wantsFresh tells whether the client demands that the database be asked.
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

// matches tells whether If-None-Match names a tag. Its comparison is the weak
// one (RFC 9110, 13.1.2), so a W/ prefix doesn't matter.
func matches(lines []string, etag string) bool {
	for _, line := range lines {
		for line != "" {
			line = strings.TrimLeft(line, " \t,")
			if strings.HasPrefix(line, "*") {
				return true
			}
			line = strings.TrimPrefix(line, "W/")
			if strings.HasPrefix(line, etag) {
				return true
			}
			// On to the next tag: past this one's quotes, within which commas are
			// ordinary.
			if !strings.HasPrefix(line, `"`) {
				_, line, _ = strings.Cut(line, ",")
				continue
			}
			_, rest, closed := strings.Cut(line[1:], `"`)
			if !closed {
				break
			}
			line = rest
		}
	}
	return false
}

// Stats is the answer of /api/v1/stats.
type Stats struct {
	Orders           int64     `json:"orders"`                      // in memory
	Bytes            int64     `json:"bytes"`                       // of memory that they take
	BudgetBytes      int64     `json:"budget_bytes"`                // CACHE_BYTES; 0: no limit
	Compression      string    `json:"compression"`                 // CACHE_COMPRESSION
	Synced           bool      `json:"synced"`                      // the cache has been filled
	Complete         bool      `json:"complete"`                    // it holds every order
	Evicted          int64     `json:"evicted"`                     // orders that did not fit since the last snapshot
	StalenessSeconds float64   `json:"staleness_seconds"`           // since the last complete round of reading changes began
	LastTailBeganAt  time.Time `json:"last_tail_began_at,omitzero"` // the same as a time
	Rounds           int64     `json:"rounds"`
	Changes          int64     `json:"changes"` // orders put or deleted by rounds
	Relists          int64     `json:"relists"` // snapshots after the first one
	RestoredOrders   int64     `json:"restored_orders"`
	RestoreSeconds   float64   `json:"restore_seconds"`
	ReadThroughs     int64     `json:"read_throughs"` // orders that the database was asked for
}

func (a *api) stats(c *gin.Context) {
	h := c.Writer.Header()
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = nosniff
	c.JSON(http.StatusOK, a.Stats())
}
