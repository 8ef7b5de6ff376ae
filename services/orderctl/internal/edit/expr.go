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
	"time"
	_ "time/tzdata" // zones, also where the machine has none

	"github.com/tailscale/hujson"

	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// An expression computes a value from a letter's own: lower(.), copy(order_uid),
// replace(text(.), ' ', '-'). The first argument of a function is a value: the one at the
// path that is set (.), one at a path from the letter's top, in which items[] is the same
// item as in the path that is set, a text, or what another function gives. The others
// are options: texts in ' or ", without escapes, or words.
type expression struct {
	function string // empty: text is a path, or "." for the path that is set
	apply    compute
	value    *expression // of a function
	text     string
	constant bool // text is a text
}

var callLike = regexp.MustCompile(`(?s)^[a-z][a-z0-9_]*\s*\(.*\)$`)

// parseExpression reads an expression. A text that does not look like one is to be set as
// it stands.
func parseExpression(text string) (e *expression, is bool, err error) {
	text = strings.TrimSpace(text)
	if !callLike.MatchString(text) {
		return nil, false, nil
	}
	p := &expressionParser{rest: text}
	e, err = p.value(0)
	if err == nil && p.rest != "" {
		err = fmt.Errorf("nothing may follow the last ), not %q", p.rest)
	}
	if err != nil {
		err = fmt.Errorf("%w; the functions are %s; a text that looks like one stands in double quotation marks", err, strings.Join(functionNames(), ", "))
	}
	return e, true, err
}

type expressionParser struct{ rest string }

const maxNestedCalls = 20

var wordAt = regexp.MustCompile(`^[^\s,()'"]+`)

// word reads a quoted text or a word, with the white space after it.
func (p *expressionParser) word() (text string, quoted bool, err error) {
	if p.rest != "" && (p.rest[0] == '\'' || p.rest[0] == '"') {
		text, rest, closed := strings.Cut(p.rest[1:], p.rest[:1])
		if !closed {
			return "", true, fmt.Errorf("the text %s is not closed", p.rest)
		}
		p.skip(rest)
		return text, true, nil
	}
	text = wordAt.FindString(p.rest)
	if p.skip(p.rest[len(text):]); text == "" {
		return "", false, fmt.Errorf("an argument is missing before %q", p.rest)
	}
	return text, false, nil
}

// value reads a call, a path or a text.
func (p *expressionParser) value(depth int) (*expression, error) {
	text, quoted, err := p.word()
	switch {
	case err != nil:
		return nil, err
	case quoted:
		return &expression{text: text, constant: true}, nil
	case !strings.HasPrefix(p.rest, "("):
		if text != "." {
			_, err = parsePath(text)
		}
		return &expression{text: text}, err
	case depth == maxNestedCalls:
		return nil, errors.New("the functions are nested too deep")
	}
	f, known := functions[text]
	if !known {
		return nil, fmt.Errorf("there is no function %q", text)
	}
	p.skip(p.rest[1:])
	e := &expression{function: text}
	if e.value, err = p.value(depth + 1); err != nil {
		return nil, err
	}
	var options []string
	for strings.HasPrefix(p.rest, ",") {
		p.skip(p.rest[1:])
		option, _, err := p.word()
		if err != nil {
			return nil, err
		}
		options = append(options, option)
	}
	if !strings.HasPrefix(p.rest, ")") {
		return nil, fmt.Errorf("%s: a ) is missing", text)
	}
	p.skip(p.rest[1:])
	if n := len(options); n < f.least || n > f.most {
		return nil, fmt.Errorf("write %s", f.usage)
	}
	if e.apply, err = f.with(options); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return e, nil
}

func (p *expressionParser) skip(rest string) { p.rest = strings.TrimLeft(rest, " \t\r\n") }

type term struct {
	kind termKind
	text string
}

type termKind int

const (
	rawTerm  termKind = iota // the bytes of the whole value, JSON or not
	jsonTerm                 // JSON that is no string
	textTerm                 // the text of a JSON string
)

func termOf(v hujson.ValueTrimmed) term {
	if literal, is := v.(hujson.Literal); is && literal.Kind() == '"' {
		return term{textTerm, literal.String()}
	}
	return term{jsonTerm, strings.TrimSpace(hujson.Value{Value: v}.String())}
}

func (t term) json() (hujson.ValueTrimmed, error) {
	if t.kind == textTerm {
		return hujson.String(t.text), nil
	}
	v, err := parse([]byte(t.text))
	return v.Value, err
}

// eval computes an expression for the place at a pointer; nil: the whole value.
func (e *expression) eval(s *state, pointer []string) (term, error) {
	switch {
	case e.constant:
		return term{textTerm, e.text}, nil
	case e.function != "":
		of, err := e.value.eval(s, pointer)
		if err != nil {
			return term{}, err
		}
		result, err := e.apply(of)
		if err != nil {
			return term{}, fmt.Errorf("%s: %w", e.function, err)
		}
		return result, nil
	case e.text == "." && pointer == nil:
		return term{rawTerm, string(s.bytes())}, nil
	}
	doc, err := s.json()
	if err != nil {
		return term{}, err
	}
	if e.text != "." {
		if pointer, err = sameItem(e.text, pointer); err != nil {
			return term{}, err
		}
	}
	at, err := find(doc, pointer)
	if err != nil {
		return term{}, err
	}
	return termOf(at.Value), nil
}

// moves reports whether the value comes from another path, or may, of the whole value,
// be moved within it.
func (e *expression) moves(whole bool) bool {
	if e.function == "" {
		return !e.constant && e.text != "."
	}
	return whole && e.function == "replace" || e.value.moves(whole)
}

// readsMasked reports whether the value comes from another path whose values are masked.
func (e *expression) readsMasked() bool {
	if e.function != "" {
		return e.value.readsMasked()
	}
	path, err := parsePath(e.text)
	return !e.constant && e.text != "." && (err != nil || !mask.Shows(path))
}

// sameItem is the pointer of a path in which [] stands for the item that is set.
func sameItem(path string, set []string) ([]string, error) {
	tokens, err := parsePath(path)
	for i, token := range tokens {
		if token != eachElement {
			continue
		}
		if i >= len(set) || !slices.Equal(tokens[:i], set[:i]) {
			return nil, fmt.Errorf("%s: [] stands for an item only where items of the same array are set", path)
		}
		tokens[i] = set[i]
	}
	return tokens, err
}

// compute makes a value of another. Its errors never quote a value.
type compute func(term) (term, error)

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
