package edit

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"
)

// compute makes a value of another. Its errors never quote a value.
type compute func(term) (term, error)

// function is what expressions call.
type function struct {
	usage       string
	what        string // for --help
	least, most int    // options
	// with gives what the function does with options, or says what is wrong with them.
	with func(options []string) (compute, error)
}

// functions by name.
var functions = map[string]function{
	"text":    {usage: "text(.)", what: "a number, true or false as a text", with: plainly(toText)},
	"number":  {usage: "number(.)", what: "a text as the number that it says", with: plainly(toNumber)},
	"integer": {usage: "integer(.)", what: "a number without point and exponent: 250000.0 as 250000", with: func([]string) (compute, error) { return times([]string{"1"}) }},
	"times":   {usage: "times(., 100)", what: "a number multiplied exactly, as from major to minor units", least: 1, most: 1, with: times},
	"lower":   {usage: "lower(.)", what: "in lower case", with: plainly(onText(strings.ToLower))},
	"upper":   {usage: "upper(.)", what: "in upper case", with: plainly(onText(strings.ToUpper))},
	"trim":    {usage: "trim(.)", what: "without white space around", with: plainly(onText(strings.TrimSpace))},
	"replace": {usage: "replace(., 'pattern', 'with')", what: "what matches a pattern (RE2) replaced; $1 is its first group", least: 2, most: 2, with: replace},
	"copy":    {usage: "copy(delivery.name)", what: "the value at another path", with: plainly(func(v term) (term, error) { return v, nil })},
	"time":    {usage: "time(., 'layout', 'zone')", what: "a time as RFC 3339: of a common form, or of a layout as Go has them, such as\n      '02.01.2006 15:04'; the zone, such as Europe/Berlin, is of times without one", most: 2, with: toTime},
	"unix":    {usage: "unix(date_created)", what: "a time as seconds since 1970", with: plainly(toUnix)},
	"json":    {usage: "json(.)", what: "JSON in a text as the value itself; the whole value without comments and commas\n      at the end", with: plainly(toJSON)},
	"unwrap":  {usage: "unwrap(.) or unwrap(., payload.after)", what: "the order inside of an envelope, a string or an array, or what is at a path", most: 1, with: unwrap},
	"strip":   {usage: "strip(.), strip(., 5), strip(., registry) or strip(., invisible)", what: "without so many bytes in front, a schema registry's prefix, or the characters that\n      nobody sees, also behind and between", most: 1, with: strip},
	"decode":  {usage: "decode(.), decode(., base64) or decode(., windows-1251)", what: "decompressed (gzip, zlib, zstd), or in UTF-8 (from utf-16, base64, windows-1251\n      and the like)", most: 1, with: decode},
}

// plainly is of a function without options.
func plainly(c compute) func([]string) (compute, error) {
	return func([]string) (compute, error) { return c, nil }
}

// optional is the one option of a function, or "".
func optional(options []string) string { return strings.Join(options, "") }

func functionNames() []string { return slices.Sorted(maps.Keys(functions)) }

// Functions says what can be computed, a line a function.
func Functions() string {
	var b strings.Builder
	for _, name := range functionNames() {
		f := functions[name]
		fmt.Fprintf(&b, "  %s\n      %s\n", f.usage, f.what)
	}
	return b.String()
}

var errNoText = errors.New("it is no text: use text(.) first")

// onText applies to the text of a string, or to the whole value.
func onText(f func(string) string) compute {
	return func(v term) (term, error) {
		if v.kind == jsonTerm {
			return v, errNoText
		}
		return term{v.kind, f(v.text)}, nil
	}
}

func toText(v term) (term, error) {
	if v.kind == jsonTerm && v.text == "null" {
		return v, errors.New("it is null")
	}
	return term{textTerm, v.text}, nil
}

func toNumber(v term) (term, error) {
	text := strings.TrimSpace(v.text)
	var n json.Number
	if json.Unmarshal([]byte(text), &n) != nil || strings.HasPrefix(text, `"`) || n == "" {
		return v, errors.New("it is no number as JSON has them, with a point and without spaces")
	}
	return term{jsonTerm, text}, nil
}

// maxExponent keeps 1e999999999 from being written out.
const maxExponent = 40

func rational(text string) (*big.Rat, error) {
	_, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	if n, err := strconv.Atoi(cmp.Or(exponent, "0")); err != nil || n > maxExponent || n < -maxExponent || len(text) > 2*maxExponent {
		return nil, errors.New("it is no number of a reasonable size")
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok || strings.Contains(text, "/") {
		return nil, errors.New("it is no number")
	}
	return r, nil
}

// times gives an integer, since an order has no other numbers.
func times(options []string) (compute, error) {
	factor, err := rational(options[0])
	return func(v term) (term, error) {
		n, err := rational(strings.TrimSpace(v.text))
		if err != nil {
			return v, err
		}
		if n.Mul(n, factor); !n.IsInt() {
			return v, errors.New("the result is no whole number")
		}
		return term{jsonTerm, n.Num().String()}, nil
	}, err
}

func replace(options []string) (compute, error) {
	pattern, err := regexp.Compile(options[0])
	return onText(func(text string) string { return pattern.ReplaceAllString(text, options[1]) }), err
}

func toJSON(v term) (term, error) {
	value := strings.TrimPrefix(v.text, byteOrderMark)
	if v.kind == rawTerm {
		standard, err := hujson.Standardize([]byte(value + "\n")) // which ends a comment
		if err != nil {
			return v, errors.New("it is no JSON, even with comments and commas at the end")
		}
		if json.Unmarshal(standard, &value) != nil || !json.Valid([]byte(value)) { // no JSON in a string
			value = strings.TrimSpace(string(standard))
		}
		return term{rawTerm, value}, nil
	}
	if v.kind == textTerm && !json.Valid([]byte(value)) {
		return v, errors.New("the text is no JSON")
	}
	parsed, err := parse([]byte(value))
	return termOf(parsed.Value), err
}
