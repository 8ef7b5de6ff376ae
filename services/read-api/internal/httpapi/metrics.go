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

// of measures a route's requests.
func (d durations) of(route string) *routeDurations {
	return &routeDurations{histogram: d.histogram, route: route}
}

// routeDurations looks each status up once: to look a label up costs more than a
// hit does.
type routeDurations struct {
	histogram *prometheus.HistogramVec
	route     string
	known     [600]atomic.Pointer[measure] // by status
}

func (d *routeDurations) with(status int) *measure {
	status = min(max(status, 0), len(d.known)-1)
	m := d.known[status].Load()
	if m == nil {
		m = &measure{d.histogram.WithLabelValues(d.route, strconv.Itoa(status))}
		d.known[status].Store(m)
	}
	return m
}

// handler measures those after it.
func (d *routeDurations) handler(c *gin.Context) {
	start := time.Now()
	c.Next()
	d.with(c.Writer.Status()).since(start)
}

// measure takes the times of a route's answers with one status.
type measure struct{ observer prometheus.Observer }

func (m *measure) since(start time.Time) { m.observer.Observe(time.Since(start).Seconds()) }
