package model

import (
	"strings"
	"time"
)

// ParseTime reads an RFC 3339 time strictly: a point before the fraction, no hour 24,
// offsets up to 23:59. T and Z may be lower case. Digits beyond the microsecond are cut.
// A leap second is read as the second after it, as PostgreSQL does. time.Parse is less
// strict about the length of the hour, the fraction's comma, and the offset.
func ParseTime(s string) (time.Time, bool) {
	const hourEnd, second, offset = len("2006-01-02T15"), len("2006-01-02T15:04:"), len("+23:59")
	if len(s) <= second || s[hourEnd] != ':' || strings.IndexByte(s, ',') >= 0 {
		return time.Time{}, false
	}
	if s[10] == 't' || s[len(s)-1] == 'z' {
		s = strings.ToUpper(s)
	}
	leap := strings.HasPrefix(s[second:], "60")
	if leap {
		s = s[:second] + "59" + s[second+2:]
	}
	if !strings.HasSuffix(s, "Z") {
		if zone := s[len(s)-offset:]; zone[1:3] > "23" || zone[4] > '5' {
			return time.Time{}, false
		}
	}
	t, err := time.Parse(time.RFC3339, s)
	t = toMicrosecond(t)
	if leap {
		t = t.Add(time.Second)
		// Leap seconds are inserted at the end of a month in UTC.
		if t.Day() != 1 || t.Hour() != 0 || t.Minute() != 0 || t.Second() != 0 {
			return time.Time{}, false
		}
	}
	return t, err == nil
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
