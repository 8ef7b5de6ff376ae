package httpapi

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

// durations measures requests by route and status.
type durations struct{ histogram *prometheus.HistogramVec }

func newDurations(metrics prometheus.Registerer) durations {
	d := durations{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "orderhub_http_request_duration_seconds",
		Help:    "Time from a request's header read to its answer written.",
		Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"route", "code"})}
	metrics.MustRegister(d.histogram)
	return d
}

// of returns a handler that measures those after it. Looking a label up costs
// more than a hit does, so each status is looked up once.
func (d durations) of(route string) gin.HandlerFunc {
	const codes = 600
	var known [codes]atomic.Pointer[prometheus.Observer]
	return func(c *gin.Context) {
		start := time.Now()
		c.Next()
		code := min(max(c.Writer.Status(), 0), codes-1)
		observer := known[code].Load()
		if observer == nil {
			looked := d.histogram.WithLabelValues(route, strconv.Itoa(code))
			observer = &looked
			known[code].Store(observer)
		}
		(*observer).Observe(time.Since(start).Seconds())
	}
}
