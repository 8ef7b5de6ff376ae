package model

import (
	"strconv"
	"unicode/utf8"
)

// AppendCanonical appends the order's canonical JSON to dst. The package
// documentation specifies the form.
//
// Every order has one, also one that doesn't validate: a missing part is null,
// and what is not UTF-8 becomes U+FFFD.
func AppendCanonical(dst []byte, o *Order) []byte {
	return appendObject(dst, o, orderFields)
}

func appendDelivery(dst []byte, o *Order) []byte {
	if o.Delivery == nil {
		return append(dst, "null"...)
	}
	return appendObject(dst, o.Delivery, deliveryFields)
}

func appendPayment(dst []byte, o *Order) []byte {
	if o.Payment == nil {
		return append(dst, "null"...)
	}
	return appendObject(dst, o.Payment, paymentFields)
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
			dst = appendText(dst, *f.text(v))
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

// appendText appends s as a JSON string with the shortest escapes.
func appendText(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0 // s[:done] is appended
	for i := 0; i < len(s); {
		c := s[i]
		if class[c] == plain {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[done:i]...)
				dst = utf8.AppendRune(dst, utf8.RuneError)
				done = i + 1
			}
			i += size
			continue
		}
		dst = append(dst, s[done:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
		i++
		done = i
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}
