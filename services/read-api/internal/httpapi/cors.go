package httpapi

import (
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
)

// Header values for pages of other origins.
const (
	corsMethods = "GET, HEAD"
	corsHeaders = "Accept, Cache-Control, If-None-Match, Last-Event-ID"
	corsExposed = "Age, Content-Length, ETag, Retry-After, " + stalenessHeader
	corsMaxAge  = "600" // seconds for which a browser need not ask again
)

// cors lets pages of these origins read answers; "*" is any. No cookie or login
// goes with it: the API knows none.
func cors(origins []string) gin.HandlerFunc {
	anyOrigin := slices.Contains(origins, "*")
	return func(c *gin.Context) {
		h := c.Writer.Header()
		origin := c.GetHeader("Origin")
		if anyOrigin {
			h.Set("Access-Control-Allow-Origin", "*")
		} else {
			h.Add("Vary", "Origin")
			if origin == "" || !slices.Contains(origins, origin) {
				return
			}
			h.Set("Access-Control-Allow-Origin", origin)
		}
		h.Set("Access-Control-Expose-Headers", corsExposed)
		if c.Request.Method == http.MethodOptions && c.GetHeader("Access-Control-Request-Method") != "" {
			h.Del("Allow")
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", corsHeaders)
			h.Set("Access-Control-Max-Age", corsMaxAge)
			c.AbortWithStatus(http.StatusNoContent)
		}
	}
}
