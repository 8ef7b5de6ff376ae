package cache

import (
	"sync"
	"time"
)

// outage keeps the log from being flooded while something stays away. It
// belongs to one goroutine.
type outage struct {
	since    time.Time // zero: there is none
	reported time.Time
	text     string
}

// news tells whether a failure is worth a line: it is the first, or another one
// than before, or the last line is long ago.
func (o *outage) news(text string, now time.Time) bool {
	if o.since.IsZero() {
		o.since = now
	}
	if text == o.text && now.Sub(o.reported) < outageReminder {
		return false
	}
	o.text, o.reported = text, now
	return true
}

// over ends the outage and returns how long it was, 0 if there was none.
func (o *outage) over() time.Duration {
	if o.since.IsZero() {
		return 0
	}
	took := time.Since(o.since)
	*o = outage{}
	return took
}

// throttle lets two kinds of reports through at their intervals, the first of
// the log's after a whole interval. It is safe for concurrent use.
type throttle struct {
	mu                  sync.Mutex
	log, health         time.Duration
	lastLog, lastHealth time.Time
}

func newThrottle(log, health time.Duration) *throttle {
	return &throttle{log: log, health: health, lastLog: time.Now()}
}

func (t *throttle) due(now time.Time) (log, health bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if log = now.Sub(t.lastLog) >= t.log; log {
		t.lastLog = now
	}
	if health = now.Sub(t.lastHealth) >= t.health; health {
		t.lastHealth = now
	}
	return log, health
}
