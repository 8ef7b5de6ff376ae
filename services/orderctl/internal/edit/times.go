package edit

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones, also where the machine has none
)

// commonTime are the forms of a moment that cannot be mistaken: RFC 3339 with a space
// instead of T, without colons in the offset, without seconds or zone, and the like.
var commonTime = regexp.MustCompile(`^(\d{4})-?(\d{2})-?(\d{2})[Tt ]\s*(\d{2}):?(\d{2})(?::?(\d{2})(?:[.,](\d{1,9}))?)?\s*(?:([Zz]|UTC|GMT)|([+-]\d{2}):?(\d{2})?)?$`)

var hasOffset = regexp.MustCompile(`Z07|-07`)

var errNoTime = errors.New("it is no time of a common form: name the layout, as in time(., '02.01.2006 15:04', Europe/Berlin)")

// toTime gives RFC 3339, in the offset that the time has. Options are Go's layout, or
// nothing for the common forms and for seconds to nanoseconds since 1970, and a zone.
func toTime(options []string) (compute, error) {
	layout, zone, err := timeOptions(options)
	return func(v term) (term, error) {
		at, err := readTime(strings.TrimSpace(v.text), layout, zone)
		return term{textTerm, at.Format(time.RFC3339Nano)}, err
	}, err
}

// timeOptions are a layout, a zone, or both.
func timeOptions(options []string) (layout string, zone *time.Location, err error) {
	if len(options) > 0 {
		layout = options[0]
	}
	if len(options) > 1 {
		zone, err = time.LoadLocation(options[1])
	} else if z, wrong := time.LoadLocation(layout); wrong == nil && layout != "" && layout != "Local" {
		layout, zone = "", z
	}
	if err == nil && layout != "" && time.Unix(0, 0).UTC().Format(layout) == layout {
		err = fmt.Errorf("%q is no layout, which is how 2006-01-02 15:04:05 would be written, and no zone", layout)
	}
	return layout, zone, err
}

func readTime(text, layout string, zone *time.Location) (time.Time, error) {
	if layout == "" {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return sinceEpoch(n)
		}
		m := commonTime.FindStringSubmatch(text)
		if m == nil {
			return time.Time{}, errNoTime
		}
		fraction, offset := "", ""
		if m[7] != "" {
			fraction = "." + m[7]
		}
		switch {
		case m[8] != "":
			offset = "Z"
		case m[9] != "":
			offset = m[9] + ":" + cmp.Or(m[10], "00")
		}
		text = m[1] + "-" + m[2] + "-" + m[3] + "T" + m[4] + ":" + m[5] + ":" + cmp.Or(m[6], "00") + fraction + offset
		if layout = "2006-01-02T15:04:05"; offset != "" {
			layout = time.RFC3339
		}
	}
	named, in := strings.Contains(layout, "MST"), time.UTC
	if named {
		in = cmp.Or(zone, time.UTC)
	}
	at, err := time.ParseInLocation(layout, text, in)
	name, offset := at.Zone()
	switch {
	case err != nil:
		return at, errors.New("it is no time of that layout, or there is no such day")
	case hasOffset.MatchString(layout):
		return at, nil
	case named: // a name that nobody knows gets the offset 0
		if offset == 0 && at.Location() != zone && name != "UTC" && name != "GMT" {
			return at, fmt.Errorf("its zone's name means one offset only at a place: name that, as in time(., '%s', Europe/Berlin)", layout)
		}
		return at, nil
	case zone == nil:
		return at, errors.New("it has no zone: name one, as in time(., Europe/Berlin)")
	}
	return inZone(at, zone)
}

// inZone reads a clock's time in a zone. When clocks are set it may not exist, or exist
// twice.
func inZone(clock time.Time, zone *time.Location) (time.Time, error) {
	at := time.Date(clock.Year(), clock.Month(), clock.Day(), clock.Hour(), clock.Minute(), clock.Second(), clock.Nanosecond(), zone)
	same := func(t time.Time) bool { return t.Format(time.DateTime) == clock.Format(time.DateTime) }
	if !same(at) || same(at.Add(time.Hour)) || same(at.Add(-time.Hour)) {
		return at, errors.New("its clock was set at that time, so that it can mean two moments or none: set it by itself")
	}
	return at, nil
}

// sinceEpoch takes seconds, milliseconds, microseconds or nanoseconds, by how many they
// are. What is no year of shops is a number of another kind, such as 202405291000.
func sinceEpoch(n int64) (time.Time, error) {
	for _, at := range []time.Time{time.Unix(n, 0), time.UnixMilli(n), time.UnixMicro(n), time.Unix(0, n)} {
		if at = at.UTC(); at.Year() >= 1990 && at.Year() < 2100 {
			return at, nil
		}
	}
	return time.Time{}, errNoTime
}

func toUnix(v term) (term, error) {
	at, err := readTime(strings.TrimSpace(v.text), "", nil)
	return term{jsonTerm, strconv.FormatInt(at.Unix(), 10)}, err
}
