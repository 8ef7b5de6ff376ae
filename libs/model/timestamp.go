package model

import (
	"strings"
	"time"
)

// parseTime reads an RFC 3339 time strictly: capital T and Z, a point before the
// fraction, no leap second, no hour 24, offsets up to 23:59. Digits beyond the
// microsecond are cut. time.Parse is less strict about the length of the hour, the
// fraction's comma, and the offset.
func parseTime(s string) (time.Time, bool) {
	const hourEnd, offset = len("2006-01-02T15"), len("+23:59")
	if len(s) <= hourEnd || s[hourEnd] != ':' || strings.IndexByte(s, ',') >= 0 {
		return time.Time{}, false
	}
	if !strings.HasSuffix(s, "Z") {
		if zone := s[len(s)-offset:]; zone[1:3] > "23" || zone[4] > '5' {
			return time.Time{}, false
		}
	}
	t, err := time.Parse(time.RFC3339, s)
	return toMicrosecond(t), err == nil
}

// toMicrosecond returns t as orders keep times.
func toMicrosecond(t time.Time) time.Time {
	return t.UTC().Truncate(time.Microsecond)
}

// appendTime appends t in UTC as RFC 3339, with only the digits of the fraction that it
// needs, up to microseconds.
func appendTime(dst []byte, t time.Time) []byte {
	return toMicrosecond(t).AppendFormat(dst, time.RFC3339Nano)
}
