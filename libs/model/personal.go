package model

import (
	"bytes"
	"slices"
)

// AppendMasked appends an order's canonical JSON to dst, with a mask in the place of each
// personal value: name, phone, zip, city, address, region and email of the delivery, the
// payment's transaction, and customer_id. Unknown fields may be personal, too, as may be
// their names: they are left out. The result is the canonical JSON of another order, which
// is valid if the first one is. It says nothing about the values, not even whether there are
// any. A part that is null stays so.
//
// canonical is what AppendCanonical gives, of any order. AppendMasked panics if it is
// anything else, so that nothing personal passes by mistake.
func AppendMasked(dst, canonical []byte) []byte {
	m := masker{scanner: scanner{data: canonical}, out: dst}
	maskObject(&m, orderFields)
	if m.pos != len(canonical) {
		m.refuse()
	}
	return append(m.out, canonical[m.copied:]...)
}

// IsPersonal reports whether a field of the order, the delivery or the payment is personal.
func IsPersonal(name string) bool {
	return isPersonal(orderFields, name) || isPersonal(deliveryFields, name) || isPersonal(paymentFields, name)
}

func isPersonal[T any](fields []field[T], name string) bool {
	return slices.ContainsFunc(fields, func(f field[T]) bool { return f.name == name && f.mask != "" })
}

// A masker reads canonical JSON from its start, so that no text can be taken for a member.
type masker struct {
	scanner
	out    []byte
	copied int // data[:copied] is in out, or left out
}

func (m *masker) refuse() {
	panic("model: AppendMasked was given what is not the canonical JSON of an order")
}

// expect moves behind a text that must be next.
func (m *masker) expect(text string) {
	end := m.pos + len(text)
	if end > len(m.data) || string(m.data[m.pos:end]) != text {
		m.refuse()
	}
	m.pos = end
}

// replace puts a text in the place of what is between here and a place before.
func (m *masker) replace(from int, text string) {
	m.out = append(append(m.out, m.data[m.copied:from]...), text...)
	m.copied = m.pos
}

func maskObject[T any](m *masker, fields []field[T]) {
	before := "{"
	for i := range named(fields) {
		f := &fields[i]
		m.expect(before)
		m.expect(f.member)
		before = ","
		from := m.pos
		switch {
		case f.part != nil && m.peek() == 'n':
			m.expect("null")
		case f.part != nil:
			m.part(f.name)
		case f.number != nil:
			m.pos += bytes.IndexAny(m.data[from:], ",}")
		default:
			m.text()
		}
		if f.mask != "" {
			m.replace(from, f.mask)
		}
	}
	if from := m.pos; m.peek() == ',' {
		m.skipUnknown()
		m.replace(from, "")
	}
	m.expect("}")
}

func (m *masker) part(name string) {
	switch name {
	case "delivery":
		maskObject(m, deliveryFields)
	case "payment":
		maskObject(m, paymentFields)
	default:
		for before := "["; m.peek() != ']'; before = "," {
			m.expect(before)
			maskObject(m, itemFields)
		}
		m.expect("]")
	}
}

// text moves behind a string.
func (m *masker) text() {
	m.expect(`"`)
	for {
		end := bytes.IndexByte(m.data[m.pos:], '"')
		if end < 0 {
			m.refuse()
		}
		content := m.data[m.pos : m.pos+end]
		m.pos += end + 1
		if backslashes := len(content) - len(bytes.TrimRight(content, `\\`)); backslashes%2 == 0 {
			return
		}
	}
}

// skipUnknown moves to the end of an object whose known members were read.
func (m *masker) skipUnknown() {
	for m.peek() == ',' {
		m.pos++
		m.text()
		m.expect(":")
		if m.skip(0) != nil {
			m.refuse()
		}
	}
}
