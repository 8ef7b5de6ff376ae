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

	"github.com/orderhub/orderhub/libs/model"
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
	src source
	dec *jsontext.Decoder // nil before the first call of Next
	// line and column are those of the decoder's unread text.
	line, column int
}

// New returns a Splitter that reads from r.
func New(r io.Reader) *Splitter {
	return &Splitter{src: source{r: r}, line: 1, column: 1}
}

// Next returns the next value, or io.EOF after the last. Text that is not JSON
// is returned as a broken value; reading resumes at the next line that begins
// like the broken value's line.
func (s *Splitter) Next() (Value, error) {
	if s.dec == nil {
		if err := s.begin(); err != nil {
			return Value{}, err
		}
	}
	s.src.left = MaxValueBytes
	for {
		kind, inArray := s.dec.PeekKind(), s.dec.StackDepth() > 0
		unread := s.dec.UnreadBuffer()
		line, column := advance(s.line, s.column, unread[:gap(unread)])
		if kind == '[' && !inArray || kind == ']' && inArray {
			if _, err := s.dec.ReadToken(); err != nil {
				return s.failed(err)
			}
			s.line, s.column = line, column+1
			continue
		}
		raw, err := s.dec.ReadValue()
		if err != nil {
			return s.failed(err)
		}
		s.line, s.column = advance(line, column, raw)
		return Value{Raw: raw, Line: line, Column: column}, nil
	}
}

// begin leaves out the mark that some editors put ahead of UTF-8.
func (s *Splitter) begin() error {
	head := make([]byte, len(model.ByteOrderMark))
	s.src.left = len(head)
	n, _ := io.ReadFull(&s.src, head) // the source keeps its error
	if bytes.HasPrefix(head, []byte("\xFF\xFE")) || bytes.HasPrefix(head, []byte("\xFE\xFF")) {
		return ErrUTF16
	}
	s.dec = new(jsontext.Decoder)
	s.resume(bytes.TrimPrefix(head[:n], []byte(model.ByteOrderMark)), false)
	return nil
}

// resume has the decoder read text, and the source after that, inside an array if the
// text is.
func (s *Splitter) resume(text []byte, inArray bool) {
	if inArray {
		text = slices.Concat([]byte("["), text)
	}
	s.src.unread = slices.Concat(text, s.src.unread)
	// An order's own rules are for libs/model to tell.
	s.dec.Reset(&s.src, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if inArray {
		_, _ = s.dec.ReadToken() // the bracket above
	}
}

// failed returns what cannot be read as a broken value.
func (s *Splitter) failed(err error) (Value, error) {
	if s.src.err != nil && !errors.Is(s.src.err, io.EOF) {
		return Value{}, s.src.err
	}
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return Value{}, io.EOF // the decoder's clean end
	}
	inArray := s.dec.StackDepth() > 0
	text := bytes.Clone(s.dec.UnreadBuffer())
	fault := int(syntax.ByteOffset - s.dec.InputOffset())
	start := gap(text)
	if !inArray && bytes.HasPrefix(text[start:], []byte(model.ByteOrderMark)) { // where files were joined
		start += len(model.ByteOrderMark)
		s.pass(text[:start])
		s.resume(text[start:], false)
		return s.Next()
	}
	indent := s.indentation(text[:start])
	s.pass(text[:start])
	text, fault = text[start:], max(fault-start, 0)

	end, text, err := s.endOf(text, indent)
	if err != nil {
		return Value{}, err
	}
	raw := bytes.TrimRight(text[:end], between)
	because := strings.TrimPrefix(syntax.Err.Error(), "jsontext: ")
	if errors.Is(syntax.Err, io.ErrUnexpectedEOF) || fault > len(raw) {
		fault, because = min(fault, len(raw)), "the value does not end"
	}
	last := end == len(text)
	if inArray && last {
		because += "; nothing after it was read"
	}
	value := Value{Raw: raw, Line: s.line, Column: s.column, Broken: &Fault{Message: because}}
	value.Broken.Line, value.Broken.Column = advance(s.line, s.column, raw[:fault])
	s.pass(text[:end])
	s.resume(text[end:], inArray && !last)
	return value, nil
}

// between is what may stand between two values.
const between = " \t\r\n,"

func gap(text []byte) int { return len(text) - len(bytes.TrimLeft(text, between)) }

// indentation is the white space at the end of a gap between values, if the next one
// begins its line.
func (s *Splitter) indentation(gap []byte) string {
	begin := bytes.LastIndexByte(gap, '\n') + 1
	if begin == 0 && s.column > 1 || bytes.ContainsAny(gap[begin:], "\r,") {
		return ""
	}
	return string(gap[begin:])
}

// endOf finds where to read on after a broken value at the start of text: at the next
// line that begins with the same indentation and a brace, or, where the value is no
// object at all, at the next line. Without one it is the end of the file. It returns the
// text with what had to be read for that.
func (s *Splitter) endOf(text []byte, indent string) (int, []byte, error) {
	mark := []byte("\n" + indent + "{")
	if len(text) > 0 && text[0] != '{' {
		mark = []byte("\n")
	}
	chunk := make([]byte, 64<<10)
	for from := 0; ; {
		if at := bytes.Index(text[from:], mark); at >= 0 {
			return from + at + 1, text, nil
		}
		from = max(from, len(text)-len(mark)+1)
		n, err := s.src.Read(chunk)
		text = append(text, chunk[:n]...)
		if n == 0 && errors.Is(err, io.EOF) {
			return len(text), text, nil
		}
		if n == 0 && err != nil {
			return 0, nil, err
		}
	}
}

func (s *Splitter) pass(text []byte) { s.line, s.column = advance(s.line, s.column, text) }

// advance is the line and column after text that begins at line and column.
func advance(line, column int, text []byte) (int, int) {
	if n := bytes.Count(text, []byte("\n")); n > 0 {
		line += n
		column = 1
		text = text[bytes.LastIndexByte(text, '\n')+1:]
	}
	return line, column + utf8.RuneCount(text)
}

// source is the file, with what was put back before it.
type source struct {
	r      io.Reader
	unread []byte
	left   int   // how many bytes may be read of the file until the next value
	err    error // of reading the file
}

func (s *source) Read(p []byte) (n int, err error) {
	if len(s.unread) > 0 {
		n = copy(p, s.unread)
		s.unread = s.unread[n:]
		return n, nil
	}
	if s.err == nil && s.left <= 0 {
		s.err = ErrTooLarge
	}
	if s.err != nil {
		return 0, s.err
	}
	n, s.err = s.r.Read(p)
	s.left -= n
	return n, s.err
}
