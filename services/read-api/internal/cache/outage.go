package cache

import "time"

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
