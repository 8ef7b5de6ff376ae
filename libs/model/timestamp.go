package model

import (
	"strconv"
	"time"
)

// parseTime reads an RFC 3339 time strictly: upper-case T and Z, a point
// before the fraction, no leap second, no hour 24, offsets up to 23:59. What
// is finer than a microsecond is cut. time.Parse is laxer in each of these.
func parseTime(s string) (time.Time, bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return time.Time{}, false
	}
	century, ok0 := twoDigits(s[0:])
	years, ok1 := twoDigits(s[2:])
	month, ok2 := twoDigits(s[5:])
	day, ok3 := twoDigits(s[8:])
	hour, ok4 := twoDigits(s[11:])
	minute, ok5 := twoDigits(s[14:])
	second, ok6 := twoDigits(s[17:])
	year := century*100 + years
	if !ok0 || !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 ||
		month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	micros, rest, ok := parseFraction(s[19:])
	if !ok {
		return time.Time{}, false
	}
	offset, ok := parseOffset(rest)
	if !ok {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second-offset, micros*1000, time.UTC), true
}

// parseFraction reads a point and digits, if there is a point, and gives the
// microseconds and what follows.
func parseFraction(s string) (micros int, rest string, ok bool) {
	if s == "" || s[0] != '.' {
		return 0, s, true
	}
	i := 1
	for scale := 100_000; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		micros += int(s[i]-'0') * scale
		scale /= 10
	}
	return micros, s[i:], i > 1
}

// parseOffset reads Z or ±hh:mm and gives the seconds east of UTC.
func parseOffset(s string) (seconds int, ok bool) {
	if s == "Z" {
		return 0, true
	}
	if len(s) != len("+00:00") || (s[0] != '+' && s[0] != '-') || s[3] != ':' {
		return 0, false
	}
	hours, ok1 := twoDigits(s[1:])
	minutes, ok2 := twoDigits(s[4:])
	if !ok1 || !ok2 || hours > 23 || minutes > 59 {
		return 0, false
	}
	seconds = (hours*60 + minutes) * 60
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

func twoDigits(s string) (n int, ok bool) {
	tens, ones := s[0]-'0', s[1]-'0'
	return int(tens)*10 + int(ones), tens <= 9 && ones <= 9
}

func daysIn(year, month int) int {
	switch {
	case month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0):
		return 29
	case month == 2:
		return 28
	case month == 4 || month == 6 || month == 9 || month == 11:
		return 30
	}
	return 31
}

// toMicrosecond gives t as orders keep times.
func toMicrosecond(t time.Time) time.Time {
	return t.UTC().Truncate(time.Microsecond)
}

// appendTime appends t in UTC as RFC 3339, with only the digits of the
// fraction that it needs, up to microseconds.
func appendTime(dst []byte, t time.Time) []byte {
	t = toMicrosecond(t)
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	if year < 0 || year > 9999 { // breaks a rule, and still has to be shown
		dst = strconv.AppendInt(dst, int64(year), 10)
	} else {
		dst = appendTwoDigits(appendTwoDigits(dst, year/100), year%100)
	}
	dst = appendTwoDigits(append(dst, '-'), int(month))
	dst = appendTwoDigits(append(dst, '-'), day)
	dst = appendTwoDigits(append(dst, 'T'), hour)
	dst = appendTwoDigits(append(dst, ':'), minute)
	dst = appendTwoDigits(append(dst, ':'), second)
	if micros := t.Nanosecond() / 1000; micros != 0 {
		dst = append(dst, '.')
		for scale := 100_000; micros != 0; scale /= 10 {
			dst = append(dst, byte('0'+micros/scale))
			micros %= scale
		}
	}
	return append(dst, 'Z')
}

func appendTwoDigits(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}
