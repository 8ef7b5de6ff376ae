package edit

import (
	"encoding/json"
	"strconv"
	"strings"
)

// equal compares JSON by what it says: numbers by their worth, objects whatever
// the order of their names.
func equal(a, b []byte) bool {
	a, b = a[space(a, 0):], b[space(b, 0):]
	switch {
	case kind(a[0]) != kind(b[0]):
		return false
	case a[0] == '{':
		return equalObjects(a, b)
	case a[0] == '[':
		as, bs := elements(a, 0), elements(b, 0)
		if len(as) != len(bs) {
			return false
		}
		for i := range as {
			if !equal(a[as[i].start:as[i].end], b[bs[i].start:bs[i].end]) {
				return false
			}
		}
		return true
	case a[0] == '"':
		var one, two string
		return json.Unmarshal(a[:valueEnd(a, 0)], &one) == nil && json.Unmarshal(b[:valueEnd(b, 0)], &two) == nil && one == two
	}
	return number(string(a[:valueEnd(a, 0)])) == number(string(b[:valueEnd(b, 0)]))
}

// kind tells the types of values apart: by the first byte, but for numbers.
func kind(first byte) byte {
	if first == '-' || first >= '0' && first <= '9' {
		return '0'
	}
	return first
}

func equalObjects(a, b []byte) bool {
	as, bs := members(a, 0), members(b, 0)
	if len(as) != len(bs) {
		return false
	}
	for _, m := range as {
		other, err := lookUp(bs, m.name)
		if err != nil || other == nil || !equal(a[m.start:m.end], b[other.start:other.end]) {
			return false
		}
	}
	return true
}

// number writes a number so that equal ones are written alike. Literals stay as
// they are, and so does a number whose exponent is beyond all reason.
func number(text string) string {
	if kind(text[0]) != '0' {
		return text
	}
	digits, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	scale := int64(0)
	if exponent != "" {
		var err error
		if scale, err = strconv.ParseInt(strings.TrimPrefix(exponent, "+"), 10, 32); err != nil {
			return text
		}
	}
	digits, negative := strings.CutPrefix(digits, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	scale -= int64(len(fraction))
	digits = strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	if scale += int64(len(digits) - len(short)); short == "" {
		return "0"
	}
	if negative {
		short = "-" + short
	}
	return short + "e" + strconv.FormatInt(scale, 10)
}
