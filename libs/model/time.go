package model

import (
	"regexp"
	"strings"
	"time"
)

const messageTime = "must be an RFC 3339 time, such as 2021-11-26T06:22:19Z"

// isoTime is a time that resembles RFC 3339: date, separator, hours and minutes, seconds,
// fraction, space, zone, zone name.
var isoTime = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(?:(\D)\d{2}:\d{2}(:\d{2})?([.,]\d*)?( ?)([Zz]|[+-][\d:]+|[A-Za-z][A-Za-z/_ +-]*)?( ?\[.*\]| [A-Za-z]+)?)?$`)

// timeForms are common forms of a time that are not RFC 3339.
var timeForms = []struct {
	form    *regexp.Regexp
	problem string
}{
	{regexp.MustCompile(`^-?\d{14}$`), "this is a date and a time without hyphens, T and colons"},
	{regexp.MustCompile(`^\d{8}$`), "this is a date without hyphens, and without a time"},
	{regexp.MustCompile(`^-?\d{9,10}$`), "this is a Unix time in seconds"},
	{regexp.MustCompile(`^-?\d{12,13}$`), "this is a Unix time in milliseconds"},
	{regexp.MustCompile(`^-?\d{15,16}$`), "this is a Unix time in microseconds"},
	{regexp.MustCompile(`^-?\d{18,19}$`), "this is a Unix time in nanoseconds"},
	{regexp.MustCompile(`^\[\d{4}, ?\d`), "this is an array of year, month, day and so on, as Java's Jackson writes dates unless WRITE_DATES_AS_TIMESTAMPS is off"},
	{regexp.MustCompile(`^-?\d+([.,]\d+)?([eE][+-]?\d+)?$`), "this is a number"},
	{regexp.MustCompile(`^\d{8}[Tt ]\d{4}`), "the hyphens of the date and the colons of the time are missing"},
	{regexp.MustCompile(`^\d{4}[/.]\d{1,2}[/.]\d{1,2}`), "year, month and day must be joined by hyphens"},
	{regexp.MustCompile(`^\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}`), "the date must be year-month-day"},
	{regexp.MustCompile(`^\d{4}-(W\d{2}|\d{3}\b)`), "the date must be year-month-day, not a week or a day of the year"},
	{regexp.MustCompile(`^([A-Za-z]{3}, ?)?\d{1,2} [A-Za-z]{3} \d{4}`), "this is a date as in e-mails (RFC 2822)"},
	{regexp.MustCompile(`^[A-Za-z]{3} [A-Za-z]{3} +\d`), "this is a date in words, as JavaScript's Date.toString writes it"},
	{regexp.MustCompile(`^\\?/Date\(`), "this is Microsoft's form /Date(…)/"},
	{regexp.MustCompile(`^\d{4}-\d{2}$`), "the day and the time are missing"},
	{regexp.MustCompile(`^\d{4}-\d{1,2}-\d{1,2}`), "month, day, hour, minute and second have two digits each"},
}

// timeMessage says what is wrong with a text that is not an RFC 3339 time, without
// quoting it.
func timeMessage(s string) string {
	problem := timeProblem(s)
	if problem == "" {
		return messageTime
	}
	return messageTime + ": " + problem
}

func timeProblem(s string) string {
	if s == "" {
		return "it is empty"
	}
	if hidden := hiddenIn(s); hidden != "" {
		return hidden
	}
	if m := isoTime.FindStringSubmatch(s); m != nil {
		return strings.Join(isoProblems(m), "; ")
	}
	for _, f := range timeForms {
		if f.form.MatchString(s) {
			return f.problem
		}
	}
	return ""
}

// isoProblems lists what is wrong with the parts of isoTime.
func isoProblems(m []string) (problems []string) {
	separator, seconds, fraction, gap, zone, name := m[1], m[2], m[3], m[4], m[5], m[6]
	add := func(wrong bool, problem string) {
		if wrong {
			problems = append(problems, problem)
		}
	}
	if separator == "" {
		return []string{"this is a date without a time and a zone"}
	}
	digits := strings.Count(zone, "") - 1 - strings.Count(zone, ":")
	offset := zone != "" && (zone[0] == '+' || zone[0] == '-')
	add(separator == " ", "T must stand between date and time, not a space")
	add(separator != " " && separator != "T" && separator != "t", "T must stand between date and time")
	add(seconds == "", "the seconds are missing")
	add(strings.HasPrefix(fraction, ","), "the fraction must follow a point, not a comma")
	add(fraction == "." || fraction == ",", "digits must follow the point")
	add(zone == "" && name == "", "the zone is missing: Z for UTC, or an offset such as +03:00")
	add(gap != "" && zone != "", "no space may stand before the zone")
	add(offset && digits == 5 && zone[3] != ':', "the offset must have a colon, as in +03:00, not +0300")
	add(offset && digits != 5, "the offset must have hours and minutes, as in +03:00")
	add(zone != "" && !offset && len(zone) > 1, "the zone must be Z or an offset such as +03:00, not a name")
	add(name != "", "the zone's name after the offset must be left out")
	if problems == nil {
		return []string{"there is no such month, day, hour, minute, second or offset"}
	}
	return problems
}

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
