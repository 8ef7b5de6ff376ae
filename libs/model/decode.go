package model

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"
)

// A decoder reads one record into an order. It collects the failures of single fields
// and continues; a fault ends it.
type decoder struct {
	scanner
	opts  *Options
	store *storage
	texts strings.Builder // the bytes of the order's strings

	failures []FieldError
	// The first failure of StageDecode; the reason is empty if there is none.
	reason Reason
	offset int
	// unknown are the paths for Decoded, refused counts those in failures.
	unknown []string
	refused int
	kept    int // bytes of unknown fields

	// The place of the reader: "", "delivery", "payment" or "items", and the item.
	container string
	item      int
}

// storage is an order and its parts in one allocation.
type storage struct {
	order    Order
	delivery Delivery
	payment  Payment
}

// textBlock is how much is allocated at once for short strings. A block lives as long
// as any string in it, so it is small.
const textBlock = 512

// unlimited are the options for what was an order once.
var unlimited = Options{MaxItems: math.MaxInt, Rules: new(Rules)}

// FromCanonical returns the order that canonical JSON is of, without its unknown fields. ok
// is false where its date_created is not in the range of a valid order, or a text has a NUL.
func FromCanonical(canonical []byte) (o *Order, ok bool) {
	d := &decoder{scanner: scanner{data: canonical}, opts: &unlimited, store: new(storage)}
	f := d.value()
	return &d.store.order, f == nil && !d.store.order.DateCreated.IsZero()
}

// decode reads the whole record into d.store.
func (d *decoder) decode() *fault {
	d.start()
	start := d.pos
	if start == len(d.data) {
		return d.fault(ReasonEmpty, 0, "the record is empty")
	}
	switch f := d.value(); {
	case f != nil:
		return diagnose(d.data, start, f)
	case len(d.failures) > 0 && d.store.order.lacksParts():
		return wrapped(d.data, start)
	}
	return nil
}

func (d *decoder) value() (f *fault) {
	if d.peek() == '{' {
		f = readObject(d, &d.store.order, orderFields, 1)
	} else {
		f = d.wrongType("", "an object with an order's fields", 0)
	}
	if f != nil {
		return f
	}
	d.space()
	if d.pos < len(d.data) {
		return d.fault(ReasonTrailingData, d.pos, "the JSON value is followed by something else; a record holds one order only")
	}
	return nil
}

// readObject reads the members of the object that begins at d.pos into v.
// depth is the object's own level.
func readObject[T any](d *decoder, v *T, fields []field[T], depth int) *fault {
	start := d.pos
	d.pos++
	unknown := fields[len(fields)-1].unknown
	fields = named(fields)
	var kept []byte
	var seen uint32
	var others nameSet
	guess := 0 // members usually come in the table's order
	for first := true; ; first = false {
		end, f := d.next(first, '}')
		if f != nil {
			return d.within("", f)
		}
		if end {
			break
		}
		at, i := d.pos, guess
		if guess < len(fields) && bytes.HasPrefix(d.data[at:], []byte(fields[guess].member)) { // as canonical JSON has it
			d.pos += len(fields[guess].member)
			d.space()
		} else {
			name, f := d.name()
			if f != nil {
				return d.within("", f)
			}
			if i = indexOf(fields, name); i < 0 {
				shown := shownName(name)
				if !others.add(name) {
					return d.within(shown, d.duplicate(at))
				}
				d.unknownField(shown, at)
				if f := d.skip(depth); f != nil {
					return d.within(shown, f)
				}
				if d.opts.KeepUnknown {
					kept = append(append(kept, ','), d.data[at:d.pos]...)
				}
				continue
			}
		}
		if seen&(1<<i) != 0 {
			return d.within(fields[i].name, d.duplicate(at))
		}
		seen |= 1 << i
		if f := readField(d, v, &fields[i], depth); f != nil {
			return d.within(fields[i].name, f)
		}
		guess = i + 1
	}
	if d.opts.KeepUnknown {
		d.keepUnknown(unknown(v), kept, len(others), start)
	}
	for i := range fields {
		if seen&(1<<i) == 0 && !fields[i].optional && !d.isOptional(fields[i].name) {
			d.fail(d.path(fields[i].name), ruleRequired, messageMissing)
		}
	}
	return nil
}

func indexOf[T any](fields []field[T], name []byte) int {
	for i := range fields {
		if fields[i].name == string(name) {
			return i
		}
	}
	return -1
}

func readField[T any](d *decoder, v *T, f *field[T], depth int) *fault {
	switch {
	case f.text != nil:
		return d.readText(f.name, f.text(v), depth)
	case f.number != nil:
		return d.readNumber(f.name, f.number(v), depth)
	case f.time != nil:
		return d.readTime(f.name, f.time(v), depth)
	default:
		return f.part.read(d, v)
	}
}

// isOptional reports whether the rules accept that a field of the current object is absent
// or null.
func (d *decoder) isOptional(name string) bool {
	return len(d.opts.Rules.optional) > 0 && d.opts.Rules.optional[d.kind(name)]
}

func (d *decoder) readText(name string, to *string, depth int) *fault {
	if d.peek() != '"' {
		if d.peek() == 'n' && d.isOptional(name) {
			return d.literal("null")
		}
		return d.wrongType(d.path(name), "a string", depth)
	}
	b, f := d.str()
	if f != nil {
		return f
	}
	*to = d.keep(b)
	return nil
}

func (d *decoder) readTime(name string, to *time.Time, depth int) *fault {
	if d.peek() != '"' {
		return d.notTime(name, depth)
	}
	b, f := d.str()
	if f != nil {
		return f
	}
	t, ok := ParseTime(string(b))
	if !ok && d.opts.Normalize {
		t, ok = d.opts.Normalizer.Time(string(b))
		t = toMicrosecond(t)
	}
	switch {
	case !ok:
		d.fail(d.path(name), "rfc3339", timeMessage(string(b)))
	case !isInYearRange(t):
		d.fail(d.path(name), "year_range", messageYearRange)
	default:
		*to = t
	}
	return nil
}

// notTime collects the failure of a value that is no string. The usual ones are a Unix
// time, and the array that Java's Jackson writes.
func (d *decoder) notTime(name string, depth int) *fault {
	start := d.pos
	f := d.wrongType(d.path(name), "a string with an RFC 3339 time, such as 2021-11-26T06:22:19Z", depth)
	if f == nil && d.data[start] != '{' {
		if problem := timeProblem(string(d.data[start:d.pos])); problem != "" {
			d.failures[len(d.failures)-1].Message += ": " + problem
		}
	}
	return f
}

func (d *decoder) readNumber(name string, to *int64, depth int) *fault {
	start := d.pos
	if c := d.peek(); c != '-' && c-'0' > 9 {
		if c == 'n' && d.isOptional(name) {
			return d.literal("null")
		}
		return d.wrongType(d.path(name), "an integer", depth)
	}
	integer, f := d.num()
	if f != nil {
		return f
	}
	if !integer {
		d.failShape(start, d.path(name), ReasonWrongType, "must be an integer without decimal point and exponent, such as 100, not 100.0 or 1e2")
		return nil
	}
	n, err := strconv.ParseInt(string(d.data[start:d.pos]), 10, 64)
	if err != nil {
		d.failShape(start, d.path(name), ReasonOutOfRange, "must be an integer that fits 64 bits")
		return nil
	}
	*to = n
	return nil
}

func readItems(d *decoder, o *Order) *fault {
	if d.peek() != '[' {
		return d.wrongType("items", "an array", 1)
	}
	d.pos++
	// Items are objects without others in them. Allocate a few at first, whatever the record holds.
	most, _, _ := bytes.Cut(d.data[d.pos:], []byte("]"))
	o.Items = make([]Item, 0, min(bytes.Count(most, []byte("{")), 32))
	tooMany := false
	for first := true; ; first = false {
		end, f := d.next(first, ']')
		if end || f != nil {
			return d.within("items", f)
		}
		if len(o.Items) < d.opts.MaxItems {
			f = d.readItem(o)
		} else {
			if !tooMany {
				tooMany = true
				d.fail("items", ruleMaxItems, messageMaxItems(d.opts.MaxItems))
			}
			f = d.skip(2)
		}
		if f != nil {
			return d.within("items", f)
		}
	}
}

func (d *decoder) readItem(o *Order) *fault {
	d.item = len(o.Items)
	o.Items = append(o.Items, Item{})
	if d.peek() != '{' {
		return d.wrongType(itemPath(d.item), "an object", 2)
	}
	d.container = "items"
	f := readObject(d, &o.Items[d.item], itemFields, 3)
	d.container = ""
	return f
}

// keep copies a string, so that it does not keep the record in memory.
func (d *decoder) keep(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if d.texts.Cap()-d.texts.Len() < len(b) {
		// Earlier strings keep the old block: a Builder never changes bytes that
		// are written.
		d.texts = strings.Builder{}
		d.texts.Grow(max(len(b), min(textBlock, len(d.data)-d.pos)))
	}
	start := d.texts.Len()
	d.texts.Write(b)
	return d.texts.String()[start:]
}
