package model

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of the unknown fields that are kept of a record.
const (
	// MaxKeptFields is how many an object of the record may have.
	MaxKeptFields = 64
	// MaxKeptBytes is how long their canonical form may be, of the whole record.
	MaxKeptBytes = 64 << 10
	// maxDigits is how long a number among them may be without exponent. The largest
	// float64 has 309 digits.
	maxDigits = 512
)

// Unknown are the fields that an order, or a part of it, does not have, as a JSON object
// in the canonical form that the package documentation specifies. "" means that they were
// not kept, {} that there are none.
type Unknown string

// noUnknown is the Unknown of an order that was read with KeepUnknown and has none.
const noUnknown Unknown = "{}"

// StoredUnknown returns the canonical form of what a database has as the unknown fields of
// a P, or of the JSON of a P. Fields that a P has are left out.
func StoredUnknown[P any](stored []byte) Unknown {
	if stored = bytes.TrimLeft(stored, " \t\r\n"); len(stored) == 0 || stored[0] != '{' {
		return ""
	}
	object, _ := canonicalUnknown(stored) // a database has no exponents
	known := knownNames[reflect.TypeFor[P]()]
	kept := []byte{'{'}
	for name, value := range object.Fields() {
		if !known[name] {
			kept = appendMember(kept, name, value)
		}
	}
	return Unknown(append(kept, '}'))
}

// ReadCanonical returns the order with this canonical JSON, also one that lacks a part, with
// its unknown fields.
func ReadCanonical(canonical []byte) (*Order, error) {
	var o Order
	var parts struct {
		Delivery jsontext.Value   `json:"delivery"`
		Payment  jsontext.Value   `json:"payment"`
		Items    []jsontext.Value `json:"items"`
	}
	if err := errors.Join(json.Unmarshal(canonical, &o), json.Unmarshal(canonical, &parts)); err != nil {
		return nil, err
	}
	o.UnknownFields = StoredUnknown[Order](canonical)
	if o.Delivery != nil {
		o.Delivery.UnknownFields = StoredUnknown[Delivery](parts.Delivery)
	}
	if o.Payment != nil {
		o.Payment.UnknownFields = StoredUnknown[Payment](parts.Payment)
	}
	for i := range o.Items {
		o.Items[i].UnknownFields = StoredUnknown[Item](parts.Items[i])
	}
	return &o, nil
}

func appendMember(object []byte, name, value string) []byte {
	if len(object) > 1 {
		object = append(object, ',')
	}
	object, _ = jsontext.AppendQuote(object, name)
	return append(append(object, ':'), value...)
}

// knownNames are those of the fields of the order and its parts.
var knownNames = func() map[reflect.Type]map[string]bool {
	all := map[reflect.Type]map[string]bool{}
	for path, target := range ruleTargets {
		if all[target.parent] == nil {
			all[target.parent] = map[string]bool{}
		}
		all[target.parent][path[strings.LastIndexByte(path, '.')+1:]] = true
	}
	return all
}()

// Fields are names and values, in canonical form.
func (u Unknown) Fields() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		if len(u) <= len(noUnknown) {
			return
		}
		object := jsontext.NewDecoder(strings.NewReader(string(u)))
		_, _ = object.ReadToken() // canonical JSON has no errors
		for object.PeekKind() == jsontext.KindString {
			name, _ := object.ReadToken()
			text := name.String()
			if value, err := object.ReadValue(); err != nil || !yield(text, string(value)) {
				return
			}
		}
	}
}

// appendMembers appends the fields to an object that has others and is not closed yet.
func (u Unknown) appendMembers(object []byte) []byte {
	if len(u) <= len(noUnknown) {
		return object
	}
	return append(append(object, ','), u[1:len(u)-1]...)
}

// diff appends the paths of the fields that differ. Names that could be data are "?".
func (u Unknown) diff(paths []string, prefix string, other Unknown) []string {
	if u == other {
		return paths
	}
	values := maps.Collect(other.Fields())
	var differs []string
	for name, value := range u.Fields() {
		if there, ok := values[name]; !ok || there != value {
			differs = append(differs, name)
		}
		delete(values, name)
	}
	for name := range values {
		differs = append(differs, name)
	}
	slices.Sort(differs)
	for i, name := range differs {
		differs[i] = prefix + shownName([]byte(name))
	}
	return append(paths, slices.Compact(differs)...)
}

// WithoutUnknown returns the order without its unknown fields, or the order itself if it
// has none.
func (o *Order) WithoutUnknown() *Order {
	if o.UnknownFields == "" && (o.Delivery == nil || o.Delivery.UnknownFields == "") && (o.Payment == nil || o.Payment.UnknownFields == "") &&
		!slices.ContainsFunc(o.Items, func(i Item) bool { return i.UnknownFields != "" }) {
		return o
	}
	bare := *o
	bare.UnknownFields = ""
	if o.Delivery != nil {
		delivery := *o.Delivery
		delivery.UnknownFields, bare.Delivery = "", &delivery
	}
	if o.Payment != nil {
		payment := *o.Payment
		payment.UnknownFields, bare.Payment = "", &payment
	}
	bare.Items = slices.Clone(o.Items)
	for i := range bare.Items {
		bare.Items[i].UnknownFields = ""
	}
	return &bare
}

// BothKept returns two orders as they are compared: without unknown fields, unless those of
// both were kept.
func BothKept(a, b *Order) (comparedA, comparedB *Order) {
	if a.UnknownFields == "" || b.UnknownFields == "" {
		return a.WithoutUnknown(), b.WithoutUnknown()
	}
	return a, b
}

// keepUnknown keeps the unknown members of an object, each of them after a comma. The
// order itself has {} without any, so that it says that they were kept.
func (d *decoder) keepUnknown(to *Unknown, members []byte, names, start int) {
	if len(members) == 0 {
		if d.container == "" {
			*to = noUnknown
		}
		return
	}
	members[0] = '{'
	kept, ok := canonicalUnknown(append(members, '}'))
	d.kept += len(kept)
	switch {
	case names > MaxKeptFields:
		d.failShape(start, d.path(""), ReasonUnknownField, "has "+strconv.Itoa(names)+" unknown fields; "+strconv.Itoa(MaxKeptFields)+" can be kept")
	case d.kept > MaxKeptBytes:
		d.failShape(start, d.path(""), ReasonUnknownField, "has unknown fields beyond the "+strconv.Itoa(MaxKeptBytes)+" bytes that can be kept of a record")
	case !ok:
		d.failShape(start, d.path(""), ReasonUnknownField, fmt.Sprintf("has an unknown field with a number of more than %d digits", maxDigits))
	default:
		*to = kept
	}
}

// canonicalUnknown returns the canonical form of a valid JSON object. It reports whether
// all numbers have at most maxDigits; longer ones stay as they are.
func canonicalUnknown(object []byte) (u Unknown, ok bool) {
	ok = true
	plain := make([]byte, 0, len(object))
	for i := 0; i < len(object); {
		end := i + 1
		switch c := object[i]; {
		case c == '"':
			for object[end] != '"' {
				if object[end] == '\\' {
					end++
				}
				end++
			}
			end++
			plain = append(plain, object[i:end]...)
		case c == '-' || isDigit(c):
			for strings.IndexByte("+-.eE0123456789", object[end]) >= 0 {
				end++
			}
			number, fits := plainNumber(string(object[i:end]))
			plain, ok = append(plain, number...), ok && fits
		default:
			plain = append(plain, c)
		}
		i = end
	}
	sorted, err := jsontext.AppendFormat(nil, plain, jsontext.ReorderRawObjects(true))
	if err != nil {
		panic("model: unknown fields are no JSON: " + err.Error()) // they were read as JSON before
	}
	return Unknown(sorted), ok
}

// plainNumber writes a JSON number without exponent, as PostgreSQL's numeric does: the
// digits that follow the point stay, also if they are 0, and 0 has no sign.
func plainNumber(number string) (plain string, fits bool) {
	rest, negative := strings.CutPrefix(number, "-")
	mantissa, exponent := rest, 0
	if at := strings.IndexAny(rest, "eE"); at >= 0 {
		var err error
		if exponent, err = strconv.Atoi(rest[at+1:]); err != nil || max(exponent, -exponent) > maxDigits {
			return number, false
		}
		mantissa = rest[:at]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits, point := whole+fraction, len(whole)+exponent
	if point < 1 {
		digits, point = strings.Repeat("0", 1-point)+digits, 1
	}
	digits += strings.Repeat("0", max(point-len(digits), 0))
	plain = strings.TrimLeft(digits[:point-1], "0") + digits[point-1:point]
	if plain[0] == '0' { // digits[:point-1] was zeros
		plain = plain[len(plain)-1:]
	}
	if point < len(digits) {
		plain += "." + digits[point:]
	}
	if negative && strings.Trim(plain, "0.") != "" {
		plain = "-" + plain
	}
	return plain, len(plain) <= maxDigits
}
