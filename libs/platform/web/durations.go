package web

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderhub/orderhub/libs/platform/metric"
)

// Durations measures requests by route and status, and counts those in flight. Looking
// a label up costs more than a hit of the API does, so each series is looked up once.
type Durations struct {
	histogram *prometheus.HistogramVec
	routes    map[string]*series // by gin's path; not changed once requests come in
	none      *series            // of addresses without a route
	inFlight  atomic.Int64
}

// knownCodes have series from the start: of these one answer matters.
var knownCodes = []int{http.StatusOK, http.StatusInternalServerError, http.StatusServiceUnavailable}

// NewDurations registers the metrics.
func NewDurations(metrics prometheus.Registerer) *Durations {
	d := &Durations{routes: map[string]*series{}, histogram: metric.Histograms(metrics,
		"orderhub_http_request_duration_seconds", "Time from a request's header read to its answer written.",
		[]float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}, []string{"route", "code"})}
	d.none = &series{histogram: d.histogram, route: "none"}
	metric.GaugeOf(metrics, "orderhub_http_requests_in_flight", "Requests that are being answered, without streams.", d.inFlight.Load)
	return d
}

// Add measures a path as a route of this name, unless it was added before. All routes
// are added before the first request.
func (d *Durations) Add(path, name string) {
	if _, added := d.routes[path]; added {
		return
	}
	d.routes[path] = &series{histogram: d.histogram, route: name}
	for _, code := range knownCodes {
		d.routes[path].of(code)
	}
}

// Measure is a handler that measures those after it. Routes that were not added are
// not measured.
func (d *Durations) Measure(c *gin.Context) {
	s := d.none
	if path := c.FullPath(); path != "" {
		s = d.routes[path]
	}
	if s == nil {
		return
	}
	start := time.Now()
	d.inFlight.Add(1)
	defer d.inFlight.Add(-1) // also of a handler that gives up half an answer
	c.Next()
	metric.Observe(c.Request.Context(), s.of(c.Writer.Status()), time.Since(start).Seconds())
}

type series struct {
	histogram *prometheus.HistogramVec
	route     string
	known     [600]atomic.Pointer[prometheus.Observer] // by status
}

func (s *series) of(status int) prometheus.Observer {
	slot := &s.known[min(max(status, 0), len(s.known)-1)]
	if known := slot.Load(); known != nil {
		return *known
	}
	observer := s.histogram.WithLabelValues(s.route, strconv.Itoa(status))
	slot.Store(&observer)
	return observer
}
