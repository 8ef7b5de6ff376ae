package model

import (
	"bytes"
	"slices"
	"strings"
)

// AppendMasked appends an order's canonical JSON to dst, with a mask in the place of each
// personal value: name, phone, zip, city, address, region and email of the delivery, the
// payment's transaction, and customer_id. The result is the canonical JSON of another order,
// which is valid if the first one is. It says nothing about the values, not even whether
// there are any. A part that is null stays so.
//
// canonical is what AppendCanonical gives, of any order. AppendMasked panics if it is
// anything else, so that nothing personal passes by mistake.
func AppendMasked(dst, canonical []byte) []byte {
	for i := range cuts {
		c := &cuts[i]
		start := mustFind(canonical, c.before) + len(c.before)
		dst = append(dst, canonical[:start]...)
		canonical = canonical[start:]
		if !bytes.HasPrefix(canonical, null) {
			dst = append(dst, c.mask...)
			canonical = canonical[mustFind(canonical, c.after):]
		}
	}
	return append(dst, canonical...)
}

// IsPersonal reports whether a field of the order, the delivery or the payment is personal.
func IsPersonal(name string) bool {
	return isPersonal(orderFields, name) || isPersonal(deliveryFields, name) || isPersonal(paymentFields, name)
}

func isPersonal[T any](fields []field[T], name string) bool {
	return slices.ContainsFunc(fields, func(f field[T]) bool { return f.name == name && f.mask != "" })
}

// A cut replaces what stands between two members of the order or of its parts. The members
// are found without reading what is between them: a comma before a quotation mark that is
// followed by a name, a quotation mark and a colon cannot be within a string, since
// canonical JSON escapes the quotation marks there.
type cut struct{ before, mask, after []byte }

var (
	cuts = newCuts()
	null = []byte("null")
)

func newCuts() (all []cut) {
	for i, f := range orderFields {
		mask, after := f.mask, ""
		if f.part != nil {
			mask, after = f.part.mask, f.part.after
		}
		if mask == "" {
			continue
		}
		if after == "" {
			after = orderFields[i+1].member
		}
		all = append(all, cut{[]byte("," + f.member), []byte(mask), []byte("," + after)})
	}
	return all
}

// maskOf returns the beginning of an object's JSON up to its last personal field, with masks,
// and the member after that: "" if it is the whole object. It is for objects that begin with
// all of their personal fields.
func maskOf[T any](fields []field[T]) (text, after string) {
	var masked []string
	for _, f := range fields {
		if f.mask == "" {
			after = f.member
			break
		}
		masked = append(masked, f.member+f.mask)
	}
	text = "{" + strings.Join(masked, ",")
	if after == "" {
		text += "}"
	}
	return text, after
}

func mustFind(canonical, member []byte) int {
	at := bytes.Index(canonical, member)
	if at < 0 {
		panic("model: AppendMasked was given what is not the canonical JSON of an order")
	}
	return at
}
