package auth

import (
	"math"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	// maxCallers are told apart at a time. Beyond that, who asked longest ago begins anew.
	maxCallers = 10_000
	// refusedSeconds is for how many seconds' refusals an address may come at once.
	refusedSeconds = 10
)

// allowance is what a caller, or an address, may still do.
type allowance struct {
	requests *rate.Limiter
	streams  atomic.Int64 // open now
}

func newAllowance(perSecond, burst int) *allowance {
	limit := rate.Limit(perSecond)
	if perSecond == 0 {
		limit = rate.Inf
	}
	return &allowance{requests: rate.NewLimiter(limit, burst)}
}

// allowanceOf returns the allowance of a caller, whatever credentials it brings.
func (g *Guard) allowanceOf(id string) *allowance {
	return remembered(g.allowances, id, newAllowance(g.settings.Rate, g.settings.Burst))
}

// strangers returns the allowance for refused requests of the client's address.
func (g *Guard) strangers(c *gin.Context) *allowance {
	addr, _ := netip.ParseAddr(c.ClientIP())
	if addr = addr.Unmap(); addr.Is6() {
		network, _ := addr.Prefix(64) // whoever has one address has all of these
		addr = network.Addr()
	}
	return remembered(g.allowances, "address "+addr.String(), newAllowance(g.settings.RefusedRate, refusedSeconds*g.settings.RefusedRate))
}

// remembered returns the value of a key, which is fresh where there was none.
func remembered[V any](cache *lru.Cache[string, V], key string, fresh V) V {
	if before, found, _ := cache.PeekOrAdd(key, fresh); found {
		cache.Get(key) // it is in use
		return before
	}
	return fresh
}

// charge takes a cost off the caller's allowance, and tells the client what is left. It
// answers where that is too little.
func (g *Guard) charge(c *gin.Context, a *allowance, cost int) {
	if a == nil || g.settings.Rate == 0 {
		return
	}
	perSecond, burst, now := float64(g.settings.Rate), g.settings.Burst, time.Now()
	cost = min(cost, burst)
	allowed := a.requests.AllowN(now, cost)
	left := a.requests.TokensAt(now)
	seconds := func(tokens float64) int { return max(1, int(math.Ceil(tokens/perSecond))) }
	h := c.Writer.Header()
	h["Ratelimit-Policy"] = g.policy
	h["Ratelimit"] = []string{`"requests";r=` + strconv.Itoa(max(0, int(left))) + ";t=" + strconv.Itoa(seconds(float64(burst)-left))}
	if !allowed {
		g.tooMany(c, "rate", "This caller asks more often than it may; the RateLimit headers say how often.", seconds(float64(cost)-left))
	}
}

func (g *Guard) tooMany(c *gin.Context, reason, detail string, seconds int) {
	c.Header("Retry-After", strconv.Itoa(seconds))
	g.refuse(c, reason, TooMany.New(detail))
}

// Stream is a handler, to follow Require, for answers that stay open: it limits how many
// of them a caller has at a time.
func (g *Guard) Stream() gin.HandlerFunc {
	return func(c *gin.Context) {
		caller := CallerOf(c)
		if a := caller.allowance; a != nil && g.settings.Streams > 0 {
			defer a.streams.Add(-1)
			if a.streams.Add(1) > int64(g.settings.Streams) {
				g.tooMany(c, "streams", "This caller has as many streams open as it may. Close one, or wait until one ends.", 10)
				return
			}
		}
		if caller.Kind == KindJWT {
			g.open.Store(c.Request, caller)
			defer g.open.Delete(c.Request)
		}
		c.Next()
	}
}
