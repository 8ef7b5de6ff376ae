package httpapi

import (
	"math"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// Stats is the answer of /api/v1/stats.
type Stats struct {
	Orders           int64     `json:"orders"`                      // in memory
	OrdersTotal      *int64    `json:"orders_total,omitempty"`      // orders in all; nil: not known
	Bytes            int64     `json:"bytes"`                       // of memory that those in memory take, with their index
	JSONBytes        int64     `json:"json_bytes"`                  // the same orders as JSON
	BudgetBytes      int64     `json:"budget_bytes"`                // CACHE_BYTES; 0: no limit
	MemoryLimitBytes int64     `json:"memory_limit_bytes"`          // GOMEMLIMIT; 0: no limit
	Compression      string    `json:"compression"`                 // CACHE_COMPRESSION
	CompressionRatio float64   `json:"compression_ratio"`           // bytes of JSON in a byte of memory
	DictionaryBytes  int64     `json:"dictionary_bytes"`            // 0: none, or none yet
	Synced           bool      `json:"synced"`                      // the cache has been filled
	Complete         bool      `json:"complete"`                    // it holds every order
	Evicted          int64     `json:"evicted"`                     // orders that did not fit since the last snapshot
	Hits             int64     `json:"hits"`                        // look-ups that memory answered
	Misses           int64     `json:"misses"`                      // look-ups that it didn't
	StalenessSeconds float64   `json:"staleness_seconds"`           // since the last complete round of reading changes began
	LastTailBeganAt  time.Time `json:"last_tail_began_at,omitzero"` // the same as a time
	Rounds           int64     `json:"rounds"`
	Changes          int64     `json:"changes"` // orders put or deleted by rounds
	Relists          int64     `json:"relists"` // snapshots after the first one
	RestoredOrders   int64     `json:"restored_orders"`
	RestoreSeconds   float64   `json:"restore_seconds"`
	ReadThroughs     int64     `json:"read_throughs"` // orders that the database was asked for
}

// coarse are the bits that sizes are without for callers who see masks: they are multiples
// of 64 KiB.
const coarse = 1<<16 - 1

func (a *api) stats(c *gin.Context) {
	h := c.Writer.Header()
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = nosniff
	s := a.Stats()
	if !a.Access.Personal(c) { // exact sizes would tell how long the personal values of an order that changes are
		s.Bytes, s.JSONBytes, s.CompressionRatio = s.Bytes&^coarse, s.JSONBytes&^coarse, math.Round(s.CompressionRatio*10)/10
	}
	c.JSON(http.StatusOK, s)
}
