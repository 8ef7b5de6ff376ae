package model

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A fault ends the reading of a record: what follows it cannot be trusted.
type fault struct {
	reason  Reason
	rule    string // "" means the reason
	offset  int
	path    string // of the innermost known field around the fault
	message string
}

// A scanner reads the JSON text of a record. Its methods begin and end at s.pos, and
// return a fault at the first violation of strict JSON.
//
// It is not jsontext, which everything else here uses for JSON: the reasons of dead
// letters are part of their contract, each with its place in the record, and their
// messages must not quote the record, as jsontext's errors do. jsontext has no limit of
// depth to set and accepts NUL. And decoding is the worker's hottest path.
type scanner struct {
	data []byte
	pos  int
	// scratch holds the last string that had escapes.
	scratch []byte
}

// Classes of bytes inside a JSON string.
const (
	plain   uint8 = iota // an ordinary ASCII character
	special              // a quotation mark or a backslash
	control
	wide // part of a character beyond ASCII
)

var class = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c < ' ':
			t[c] = control
		case c == '"', c == '\\':
			t[c] = special
		case c >= utf8.RuneSelf:
			t[c] = wide
		}
	}
	return t
}()

// isPlain reports whether a text has only plain bytes.
func isPlain(text string) bool {
	for i := range len(text) {
		if class[text[i]] != plain {
			return false
		}
	}
	return true
}

func (s *scanner) fault(reason Reason, offset int, message string) *fault {
	return &fault{reason: reason, offset: offset, message: message}
}

// unexpected is the fault of an unexpected byte at s.pos, or of the record's end.
func (s *scanner) unexpected(wanted string) *fault {
	if s.pos >= len(s.data) {
		return s.fault(ReasonNotJSON, len(s.data), "the record ends, but "+wanted+" is expected")
	}
	return s.fault(ReasonNotJSON, s.pos, wanted+" is expected here")
}

// start moves to the record's first value. RFC 8259 allows readers to ignore a byte order
// mark in front of it.
func (s *scanner) start() {
	if bytes.HasPrefix(s.data, []byte(ByteOrderMark)) {
		s.pos = len(ByteOrderMark)
	}
	s.space()
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\n', '\t', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek returns the byte at s.pos, or 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// next moves to the next element of an object or array, or reports that it has ended.
// It leaves s.pos at the element, or after the closing bracket.
func (s *scanner) next(first bool, closing byte) (end bool, f *fault) {
	s.space()
	if s.peek() == closing {
		s.pos++
		return true, nil
	}
	if first {
		return false, nil
	}
	if s.peek() != ',' {
		return false, s.unexpected("a comma or " + string(closing))
	}
	s.pos++
	s.space()
	return false, nil
}

const wantedName = "a name in quotation marks"

// name reads a member's name and the colon, and leaves s.pos at its value. The bytes are
// valid until the next call of a method.
func (s *scanner) name() ([]byte, *fault) {
	if s.peek() != '"' {
		return nil, s.unexpected(wantedName)
	}
	name, f := s.str()
	if f != nil {
		return nil, f
	}
	s.space()
	if s.peek() != ':' {
		return nil, s.unexpected("a colon")
	}
	s.pos++
	s.space()
	return name, nil
}

// str reads a string and returns its text without escapes. The bytes are part of the
// record or of s.scratch.
func (s *scanner) str() ([]byte, *fault) {
	data, start := s.data, s.pos+1
	out, copied := s.scratch[:0], start // data[start:copied] is in out, without escapes
	for i := start; i < len(data); {
		switch c := data[i]; {
		case class[c] == plain:
			i++
		case c == '"':
			s.pos = i + 1
			if copied == start {
				return data[start:i], nil
			}
			out = append(out, data[copied:i]...)
			s.scratch = out
			return out, nil
		case class[c] == wide:
			size, f := s.character(i)
			if f != nil {
				return nil, f
			}
			i += size
		case c == '\\':
			r, size, f := s.escape(i)
			if f != nil {
				return nil, f
			}
			out = utf8.AppendRune(append(out, data[copied:i]...), r)
			i += size
			copied = i
		default:
			return nil, s.control(i)
		}
	}
	s.pos = len(data)
	return nil, s.unexpected("the end of the string")
}

// character checks the character beyond ASCII at i and returns its length.
func (s *scanner) character(i int) (int, *fault) {
	r, size := utf8.DecodeRune(s.data[i:])
	if r == utf8.RuneError && size == 1 {
		return 0, s.fault(ReasonInvalidUTF8, i, "this string is not UTF-8")
	}
	return size, nil
}

func (s *scanner) control(i int) *fault {
	if s.data[i] == 0 {
		return s.nul(i)
	}
	return s.fault(ReasonNotJSON, i, "control characters in a string must be escaped")
}

func (s *scanner) nul(i int) *fault {
	return s.fault(ReasonNUL, i, "a string must not contain the character NUL")
}

// escape reads the escape at i and returns its character and its length.
func (s *scanner) escape(i int) (rune, int, *fault) {
	if i+1 < len(s.data) {
		switch c := s.data[i+1]; c {
		case '"', '\\', '/':
			return rune(c), 2, nil
		case 'b':
			return '\b', 2, nil
		case 'f':
			return '\f', 2, nil
		case 'n':
			return '\n', 2, nil
		case 'r':
			return '\r', 2, nil
		case 't':
			return '\t', 2, nil
		case 'u':
			return s.unicodeEscape(i)
		}
	}
	return 0, 0, s.fault(ReasonNotJSON, i, "this is not a JSON escape")
}

// unicodeEscape reads \uXXXX, or a pair of surrogates, at i.
func (s *scanner) unicodeEscape(i int) (rune, int, *fault) {
	r, ok := hex4(s.data[i+2:])
	switch {
	case !ok:
		return 0, 0, s.fault(ReasonNotJSON, i, "\\u must be followed by four hexadecimal digits")
	case r == 0:
		return 0, 0, s.nul(i)
	case !utf16.IsSurrogate(r):
		return r, 6, nil
	}
	if rest := s.data[i+6:]; r < 0xDC00 && len(rest) >= 2 && rest[0] == '\\' && rest[1] == 'u' {
		low, ok := hex4(rest[2:])
		if !ok {
			return 0, 0, s.fault(ReasonNotJSON, i+6, "\\u must be followed by four hexadecimal digits")
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 12, nil
		}
	}
	return 0, 0, s.fault(ReasonLoneSurrogate, i, "half of a surrogate pair is not a character")
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	r, err := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(r), err == nil
}

// num skips a number and reports whether it is written as an integer.
func (s *scanner) num() (integer bool, f *fault) {
	if s.peek() == '-' {
		s.pos++
	}
	switch c := s.peek(); {
	case c == '0':
		s.pos++
	case c >= '1' && c <= '9':
		s.digits()
	default:
		return false, s.unexpected("a digit")
	}
	integer = true
	if s.peek() == '.' {
		integer = false
		s.pos++
		if !s.digits() {
			return false, s.unexpected("a digit")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		integer = false
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return false, s.unexpected("a digit")
		}
	}
	return integer, nil
}

func (s *scanner) digits() (some bool) {
	for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
		s.pos++
		some = true
	}
	return some
}

func (s *scanner) literal(word string) *fault {
	if end := s.pos + len(word); end > len(s.data) || string(s.data[s.pos:end]) != word {
		return s.unexpected("a JSON value")
	}
	s.pos += len(word)
	return nil
}

// skip skips any value and checks it as strictly as the order itself. depth is the
// number of objects and arrays around it.
func (s *scanner) skip(depth int) *fault {
	switch c := s.peek(); c {
	case '"':
		_, f := s.str()
		return f
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	case '{':
		return s.skipElements(depth+1, '}')
	case '[':
		return s.skipElements(depth+1, ']')
	default:
		if c == '-' || c-'0' <= 9 {
			_, f := s.num()
			return f
		}
		return s.unexpected("a JSON value")
	}
}

// skipElements skips the rest of an object or array that begins at s.pos.
func (s *scanner) skipElements(depth int, closing byte) *fault {
	if depth > MaxDepth {
		return s.tooDeep()
	}
	s.pos++
	var names nameSet
	for first := true; ; first = false {
		if end, f := s.next(first, closing); end || f != nil {
			return f
		}
		if closing == '}' {
			at := s.pos
			name, f := s.name()
			if f != nil {
				return f
			}
			if !names.add(name) {
				return s.duplicate(at)
			}
		}
		if f := s.skip(depth); f != nil {
			return f
		}
	}
}

func (s *scanner) tooDeep() *fault {
	return s.fault(ReasonTooDeep, s.pos, "objects and arrays are nested deeper than "+strconv.Itoa(MaxDepth)+" levels")
}

func (s *scanner) duplicate(at int) *fault {
	return s.fault(ReasonDuplicateName, at, "the object has this name twice")
}

// A nameSet is the set of an object's names so far.
type nameSet map[string]struct{}

// add adds a name and reports whether it is new.
func (n *nameSet) add(name []byte) bool {
	if _, seen := (*n)[string(name)]; seen {
		return false
	}
	if *n == nil {
		*n = make(nameSet)
	}
	(*n)[string(name)] = struct{}{}
	return true
}
