package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendCanonical appends the order's canonical JSON to dst. The package
// documentation specifies the form.
//
// Every order has one, even if it is not valid: a missing part is null, and bytes that are
// not UTF-8 become U+FFFD.
func AppendCanonical(dst []byte, o *Order) []byte {
	return appendObject(dst, o, orderFields)
}

func appendItems(dst []byte, o *Order) []byte {
	if len(o.Items) == 0 {
		return append(dst, "null"...)
	}
	for i := range o.Items {
		if i == 0 {
			dst = append(dst, '[')
		} else {
			dst = append(dst, ',')
		}
		dst = appendObject(dst, &o.Items[i], itemFields)
	}
	return append(dst, ']')
}

func appendObject[T any](dst []byte, v *T, fields []field[T]) []byte {
	for i := range fields {
		f := &fields[i]
		if f.unknown != nil {
			dst = f.unknown(v).appendMembers(dst)
			continue
		}
		if i == 0 {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, f.member...)
		switch {
		case f.text != nil:
			if s := *f.text(v); isPlain(s) {
				dst = append(append(append(dst, '"'), s...), '"')
			} else {
				dst, _ = jsontext.AppendQuote(dst, s) // bytes that are not UTF-8 are replaced, with an error
			}
		case f.number != nil:
			dst = strconv.AppendInt(dst, *f.number(v), 10)
		case f.time != nil:
			dst = append(dst, '"')
			dst = appendTime(dst, *f.time(v))
			dst = append(dst, '"')
		default:
			dst = f.part.append(dst, v)
		}
	}
	return append(dst, '}')
}

// DeliveryText returns a text of the delivery in an order's canonical JSON, by its name there. It
// shares the bytes, and reads no more of them than it has to. ok is false where there is no
// delivery, or the text has escapes: then decode the order.
func DeliveryText(canonical []byte, name string) (text []byte, ok bool) {
	// A name with its quotes is never inside a text, which has escapes before quotes.
	_, delivery, found := bytes.Cut(canonical, []byte(`,"delivery":{`))
	_, text, there := bytes.Cut(delivery, []byte(`"`+name+`":"`))
	end := bytes.IndexByte(text, '"')
	if !found || !there || end < 0 || bytes.IndexByte(text[:end], '\\') >= 0 {
		return nil, false
	}
	return text[:end], true
}

// The first byte that a hash covers says what of an order it covers. It changes when the
// canonical form of existing orders would change.
const (
	HashVersion     = 1 // of a [ContentHash]: no unknown fields
	HashVersionKept = 2 // of a [KeptHash]: the unknown fields as well
)

// Hash identifies an order's content.
type Hash [sha256.Size]byte

// String returns the hash as 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ContentHash is the SHA-256 of the byte HashVersion followed by the canonical JSON of an
// order without its unknown fields.
func ContentHash(canonical []byte) Hash { return hashOf(HashVersion, canonical) }

// KeptHash is the SHA-256 of the byte HashVersionKept followed by the canonical JSON of an
// order whose unknown fields are kept.
func KeptHash(canonical []byte) Hash { return hashOf(HashVersionKept, canonical) }

func hashOf(version byte, canonical []byte) (sum Hash) {
	h := sha256.New()
	h.Write([]byte{version})
	h.Write(canonical)
	h.Sum(sum[:0]) // on the stack
	return sum
}

// Diff returns the paths at which two orders differ, in the order of the canonical JSON,
// without values. It is empty if and only if their canonical JSON is the same.
//
// A part that only one of them has is named as a whole (delivery). Items are
// compared by position; if one order has more of them, items itself is named
// as well, before the items that both have.
func Diff(a, b *Order) []string {
	return diffObject(nil, "", a, b, orderFields)
}

// ValueAt is the JSON at a path of an order, as [Diff] names paths; nil where there is none, or
// several, since names that could be data are all "?".
func ValueAt(o *Order, path string) []byte {
	canonical := AppendCanonical(nil, o)
	l := locate(canonical, path)
	at := l.places[path]
	if at < 0 || l.twice {
		return nil
	}
	value, _ := jsontext.NewDecoder(bytes.NewReader(canonical[at:])).ReadValue() // canonical JSON is valid
	return value
}

func diffItems(paths []string, a, b *Order) []string {
	if len(a.Items) != len(b.Items) {
		paths = append(paths, "items")
	}
	for i := range min(len(a.Items), len(b.Items)) {
		if a.Items[i] != b.Items[i] {
			paths = diffObject(paths, itemPath(i)+".", &a.Items[i], &b.Items[i], itemFields)
		}
	}
	return paths
}

func diffObject[T any](paths []string, prefix string, a, b *T, fields []field[T]) []string {
	for i := range fields {
		f := &fields[i]
		same := true
		switch {
		case f.text != nil:
			same = *f.text(a) == *f.text(b)
		case f.number != nil:
			same = *f.number(a) == *f.number(b)
		case f.time != nil:
			same = toMicrosecond(*f.time(a)).Equal(toMicrosecond(*f.time(b)))
		case f.unknown != nil:
			paths = f.unknown(a).diff(paths, prefix, *f.unknown(b))
		default:
			paths = f.part.diff(paths, a, b)
		}
		if !same {
			paths = append(paths, prefix+f.name)
		}
	}
	return paths
}
