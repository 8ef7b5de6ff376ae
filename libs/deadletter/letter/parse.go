package letter

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseStatus reads open, resolved or any.
func ParseStatus(text string) (Status, error) {
	switch status := Status(text); status {
	case Open, Resolved, Any:
		return status, nil
	}
	return "", fmt.Errorf("open, resolved or any, not %q", text)
}

// ParseWhen reads a moment as people give it: how long ago it was, as 2h or 30d,
// a date, or RFC 3339. An empty text is the zero time.
func ParseWhen(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := ParseAge(text); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("an age such as 2h or 30d, a date such as 2026-01-31, or RFC 3339, not %q", text)
}

// ParseAge is time.ParseDuration with days, and without negative values.
func ParseAge(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		const most = 100 * 365
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n <= most) {
			return 0, fmt.Errorf("%q is no number of days", text)
		}
		return time.Duration(n * 24 * float64(time.Hour)), nil
	}
	age, err := time.ParseDuration(text)
	if err == nil && age < 0 {
		err = fmt.Errorf("%q is negative", text)
	}
	return age, err
}

// ParseOffsets reads an offset or a range of them: 5, 100-200, 100- or -200. A
// nil bound is none.
func ParseOffsets(text string) (low, high *int64, err error) {
	if text == "" {
		return nil, nil, nil
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	bound := func(text string) *int64 {
		if text == "" || err != nil {
			return nil
		}
		n, wrong := strconv.ParseInt(text, 10, 64)
		if wrong != nil || n < 0 {
			err = fmt.Errorf("an offset, or a range such as 100-200, 100- or -200, not %q", text)
			return nil
		}
		return &n
	}
	low, high = bound(from), bound(to)
	return low, high, err
}
