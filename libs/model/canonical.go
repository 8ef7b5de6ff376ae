package model

import (
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
		if i == 0 {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, f.member...)
		switch {
		case f.text != nil:
			dst, _ = jsontext.AppendQuote(dst, *f.text(v)) // bytes that are not UTF-8 are replaced, with an error
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
