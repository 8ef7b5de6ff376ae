// Package jsonsplit cuts a file into the JSON values that are to become
// records: one object, an array of objects, or one object after another (JSON
// lines), pretty-printed or not. It reads as it goes, so a file may be larger
// than memory, and it knows the line and column of every value.
package jsonsplit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxValueBytes is the size of the largest value that is read, white space
// included: larger than any record, and small enough for memory.
const MaxValueBytes = 16 << 20

// Value is one value of the file.
type Value struct {
	// Raw is the value as it stands in the file, valid until the next call.
	// Where Broken is set it is the text up to where reading resumes.
	Raw []byte
	// Line and Column of the first byte, from 1; columns count characters.
	Line, Column int
	// Broken says why this is not JSON; nil if it is.
	Broken *Fault
}

// Fault is a place at which a file is not JSON.
type Fault struct {
	Line, Column int
	Message      string
}

// ErrUTF16 says that a file is in an encoding that JSON has not.
var ErrUTF16 = errors.New("the file is in UTF-16: save it as UTF-8 (in PowerShell: Out-File -Encoding utf8)")

// ErrTooLarge says that a value does not end within MaxValueBytes.
var ErrTooLarge = fmt.Errorf("a JSON value is larger than %d MiB", MaxValueBytes>>20)

// Splitter reads values. It is for one goroutine.
type Splitter struct {
	src     io.Reader
	srcErr  error
	started bool

	// window holds the bytes that were read and not yet passed; line and
	// column are those of its first byte.
	window       []byte
	line, column int

	// The decoder is fed lead, and then from window[fed:]. Its offset 0 is
	// window[origin].
	dec    *jsontext.Decoder
	lead   []byte
	fed    int
	origin int
}

// New returns a Splitter that reads from r.
func New(r io.Reader) *Splitter {
	s := &Splitter{src: r, line: 1, column: 1, dec: new(jsontext.Decoder)}
	s.restart(false)
	return s
}

// Next returns the next value, or io.EOF after the last. Text that is not JSON
// is returned as a broken value; reading resumes at the next line that begins
// like the broken value's line.
func (s *Splitter) Next() (Value, error) {
	if !s.started {
		s.started = true
		if err := s.skipByteOrderMark(); err != nil {
			return Value{}, err
		}
	}
	for {
		kind, array := s.dec.PeekKind(), s.inArray()
		if kind == '[' && !array || kind == ']' && array {
			if _, err := s.dec.ReadToken(); err != nil {
				return s.failed(err)
			}
			continue
		}
		raw, err := s.dec.ReadValue()
		if err != nil {
			return s.failed(err)
		}
		s.pass(s.origin + int(s.dec.InputOffset()) - len(raw))
		value := Value{Raw: raw, Line: s.line, Column: s.column}
		s.pass(len(raw))
		return value, nil
	}
}

func (s *Splitter) inArray() bool { return s.dec.StackDepth() > 0 }

func (s *Splitter) failed(err error) (Value, error) {
	if s.srcErr != nil && !errors.Is(s.srcErr, io.EOF) {
		return Value{}, s.srcErr
	}
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return Value{}, io.EOF // the decoder's clean end
	}
	return s.broken(syntax)
}

// broken returns what cannot be read, and prepares to read on after it.
func (s *Splitter) broken(syntax *jsontext.SyntacticError) (Value, error) {
	array := s.inArray()
	fault := s.origin + int(syntax.ByteOffset)
	start := s.origin + int(s.dec.InputOffset())
	for start < len(s.window) && strings.IndexByte(between, s.window[start]) >= 0 {
		start++
	}
	indent := s.indentation(start)
	s.pass(start)
	fault = max(fault-start, 0)

	end, err := s.resume(indent)
	if err != nil {
		return Value{}, err
	}
	raw := bytes.TrimRight(s.window[:end], between)
	because := reason(syntax)
	if fault > len(raw) {
		fault, because = len(raw), "the value does not end"
	}
	last := end == len(s.window)
	if array && last {
		because += "; nothing after it was read"
	}
	value := Value{Raw: bytes.Clone(raw), Line: s.line, Column: s.column, Broken: &Fault{Message: because}}
	value.Broken.Line, value.Broken.Column = advance(s.line, s.column, raw[:fault])
	s.pass(end)
	s.restart(array && !last)
	return value, nil
}

// between is what may stand between two values.
const between = " \t\r\n,"

// indentation is the white space before window[at] if it begins the line.
func (s *Splitter) indentation(at int) string {
	begin := bytes.LastIndexByte(s.window[:at], '\n') + 1
	lead := s.window[begin:at]
	if begin == 0 && s.column > 1 || len(bytes.Trim(lead, " \t")) > 0 {
		return ""
	}
	return string(lead)
}

// resume finds where to read on after a broken value at the window's start: at
// the next line that begins with the same indentation and a brace, or, where
// the value is no object at all, at the next line. Without one it is the end of
// the file.
func (s *Splitter) resume(indent string) (int, error) {
	mark := []byte("\n" + indent + "{")
	if len(s.window) > 0 && s.window[0] != '{' {
		mark = []byte("\n")
	}
	for from := 0; ; {
		if at := bytes.Index(s.window[from:], mark); at >= 0 {
			return from + at + 1, nil
		}
		from = max(from, len(s.window)-len(mark)+1)
		if err := s.read(); errors.Is(err, io.EOF) {
			return len(s.window), nil
		} else if err != nil {
			return 0, err
		}
	}
}

// reason is the decoder's reason without what it says of places in its stream.
func reason(syntax *jsontext.SyntacticError) string {
	if errors.Is(syntax.Err, io.ErrUnexpectedEOF) {
		return "the value does not end"
	}
	return strings.TrimPrefix(syntax.Err.Error(), "jsontext: ")
}

// pass leaves n bytes of the window behind.
func (s *Splitter) pass(n int) {
	s.line, s.column = advance(s.line, s.column, s.window[:n])
	s.window = s.window[n:]
	s.fed -= n
	s.origin -= n
}

// restart has a new decoder read from the window's start, inside an array if
// the broken value was in one.
func (s *Splitter) restart(array bool) {
	s.fed, s.origin, s.lead = 0, 0, nil
	if array {
		s.lead, s.origin = []byte("["), -1
	}
	// An order's own rules are for libs/model to tell.
	s.dec.Reset((*feed)(s), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// feed is the Splitter as the decoder's source.
type feed Splitter

func (f *feed) Read(p []byte) (int, error) {
	s := (*Splitter)(f)
	if len(s.lead) > 0 {
		n := copy(p, s.lead)
		s.lead = s.lead[n:]
		return n, nil
	}
	if s.fed == len(s.window) {
		if err := s.read(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.window[s.fed:])
	s.fed += n
	return n, nil
}

// read adds to the window; it returns an error only if it added nothing.
func (s *Splitter) read() error {
	if s.srcErr != nil {
		return s.srcErr
	}
	if len(s.window) > MaxValueBytes {
		s.srcErr = ErrTooLarge
		return s.srcErr
	}
	have := len(s.window)
	s.window = slices.Grow(s.window, readSize)
	for len(s.window) == have && s.srcErr == nil {
		var n int
		n, s.srcErr = s.src.Read(s.window[have : have+readSize])
		s.window = s.window[:have+n]
	}
	if len(s.window) > have {
		return nil
	}
	return s.srcErr
}

const readSize = 64 << 10

// skipByteOrderMark passes the mark that some editors put ahead of UTF-8.
func (s *Splitter) skipByteOrderMark() error {
	for len(s.window) < 3 {
		if err := s.read(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	switch {
	case bytes.HasPrefix(s.window, []byte("\xFF\xFE")), bytes.HasPrefix(s.window, []byte("\xFE\xFF")):
		return ErrUTF16
	case bytes.HasPrefix(s.window, []byte("\xEF\xBB\xBF")):
		s.window = s.window[3:]
	}
	return nil
}

// advance is the line and column after text that begins at line and column.
func advance(line, column int, text []byte) (int, int) {
	if n := bytes.Count(text, []byte("\n")); n > 0 {
		line += n
		column = 1
		text = text[bytes.LastIndexByte(text, '\n')+1:]
	}
	return line, column + utf8.RuneCount(text)
}
