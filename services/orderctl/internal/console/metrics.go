package console

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// otherReason stands for the reasons of letters that other systems wrote: their number
// is not bounded.
const otherReason = "other"

// backlog is the open letters of a reason.
type backlog struct {
	open   int
	oldest time.Time // when the first of them failed
}

// openByReason counts the open letters of a list. It has all reasons that are known.
func openByReason(l *list) map[string]*backlog {
	reasons := map[string]*backlog{otherReason: {}}
	for _, reason := range deadletter.Reasons() {
		reasons[reason] = &backlog{}
	}
	for ref := range withStatus(l, letter.Open) {
		w := reasons[ref.Reason]
		if w == nil {
			w = reasons[otherReason]
		}
		if w.open++; w.open == 1 || ref.FailedAt.Before(w.oldest) {
			w.oldest = ref.FailedAt
		}
	}
	return reasons
}

var (
	openLetters = prometheus.NewDesc("orderhub_letters_open", "Open dead letters, by reason.", []string{"reason"}, nil)
	oldestOpen  = prometheus.NewDesc("orderhub_letters_oldest_seconds", "Time since the oldest open letter failed, 0 without one, by reason.", []string{"reason"}, nil)
)

func (l *live) Describe(to chan<- *prometheus.Desc) {
	to <- openLetters
	to <- oldestOpen
}

// Collect implements prometheus.Collector. While the topics cannot be read, the letters
// are those that were known last, and grow older.
func (l *live) Collect(to chan<- prometheus.Metric) {
	known := l.state().List
	if known == nil {
		known = &list{reasons: openByReason(&list{})}
	}
	for reason, w := range known.reasons {
		age := 0.0
		if w.open > 0 {
			age = max(0, l.now().Sub(w.oldest).Seconds())
		}
		to <- prometheus.MustNewConstMetric(openLetters, prometheus.GaugeValue, float64(w.open), reason)
		to <- prometheus.MustNewConstMetric(oldestOpen, prometheus.GaugeValue, age, reason)
	}
}
