package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/rs/cors"

	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// crossOrigin lets pages of these origins read answers; "*" allows any. No cookie goes
// with their requests; with auth they may send a credential of their own. (gin-contrib/cors would refuse the requests
// of other origins, which are fine where no page of theirs reads the answer.)
func crossOrigin(origins []string, auth bool) gin.HandlerFunc {
	headers := []string{"Accept", "Cache-Control", "If-None-Match", "Last-Event-ID", tracing.Header}
	if auth {
		headers = append(headers, "Authorization")
	}
	policy := cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead},
		AllowedHeaders: headers,
		ExposedHeaders: []string{"Age", "Content-Length", "ETag", "Retry-After", "X-Request-Id", stalenessHeader},
		MaxAge:         600, // seconds for which a browser need not ask again
	})
	return func(c *gin.Context) {
		policy.HandlerFunc(c.Writer, c.Request)
		if c.Request.Method == http.MethodOptions && c.GetHeader("Access-Control-Request-Method") != "" {
			c.Abort() // a preflight is answered
		}
	}
}
