package edit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// A span is where a value stands in a document.
type span struct{ start, end int }

// A member is one of an object, with the span of its value.
type member struct {
	name      string
	nameStart int
	span
}

// The document is valid JSON here, which makes finding the end of a value a
// matter of quotes and brackets.

func space(doc []byte, at int) int {
	for at < len(doc) && (doc[at] == ' ' || doc[at] == '\t' || doc[at] == '\r' || doc[at] == '\n') {
		at++
	}
	return at
}

// valueEnd is the end of the value that begins at a place.
func valueEnd(doc []byte, at int) int {
	switch doc[at] {
	case '"':
		return stringEnd(doc, at)
	case '{', '[':
		for depth := 0; ; {
			switch doc[at] {
			case '"':
				at = stringEnd(doc, at)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return at + 1
				}
			}
			at++
		}
	}
	for at < len(doc) && strings.IndexByte(" \t\r\n,:]}", doc[at]) < 0 {
		at++
	}
	return at
}

func stringEnd(doc []byte, at int) int {
	for at++; doc[at] != '"'; at++ {
		if doc[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// members are those of the object that begins at a place.
func members(doc []byte, at int) (all []member) {
	for at = space(doc, at+1); doc[at] != '}'; {
		m := member{nameStart: at}
		end := stringEnd(doc, at)
		_ = json.Unmarshal(doc[at:end], &m.name) // it is valid
		m.start = space(doc, space(doc, end)+1)
		m.end = valueEnd(doc, m.start)
		all = append(all, m)
		if at = space(doc, m.end); doc[at] == ',' {
			at = space(doc, at+1)
		}
	}
	return all
}

// elements are those of the array that begins at a place.
func elements(doc []byte, at int) (all []span) {
	for at = space(doc, at+1); doc[at] != ']'; {
		s := span{at, valueEnd(doc, at)}
		all = append(all, s)
		if at = space(doc, s.end); doc[at] == ',' {
			at = space(doc, at+1)
		}
	}
	return all
}

// root is the span of the document's value, without white space around it.
func root(doc []byte) span {
	start := space(doc, 0)
	return span{start, valueEnd(doc, start)}
}

// lookUp gives the member of an object with a name; nil if it has none.
func lookUp(all []member, name string) (*member, error) {
	var found *member
	for i := range all {
		if all[i].name != name {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("the name %q is there twice: edit the value by hand", name)
		}
		found = &all[i]
	}
	return found, nil
}

// index reads the place of an array's element as JSON Pointer has it.
func index(token string, most int) (int, error) {
	n, err := strconv.Atoi(token)
	if err != nil || n < 0 || strconv.Itoa(n) != token {
		return 0, fmt.Errorf("%q is no place in an array", token)
	}
	if n > most {
		return 0, fmt.Errorf("%w: there is no element %d", errAbsent, n)
	}
	return n, nil
}

// find gives the place of the value at a pointer.
func find(doc []byte, pointer []string) (span, error) {
	at := root(doc)
	for i, token := range pointer {
		next, err := child(doc, at, token)
		if err != nil {
			return at, fmt.Errorf("%s: %w", shown(pointer[:i+1]), err)
		}
		at = next
	}
	return at, nil
}

func child(doc []byte, of span, token string) (span, error) {
	switch doc[of.start] {
	case '{':
		m, err := lookUp(members(doc, of.start), token)
		if err != nil {
			return of, err
		}
		if m == nil {
			return of, errAbsent
		}
		return m.span, nil
	case '[':
		all := elements(doc, of.start)
		n, err := index(token, len(all)-1)
		if err != nil {
			return of, err
		}
		return all[n], nil
	}
	return of, fmt.Errorf("what is around it has no parts")
}

// splice puts text in the place of a span.
func splice(doc []byte, at span, text []byte) []byte {
	out := make([]byte, 0, len(doc)-(at.end-at.start)+len(text))
	out = append(out, doc[:at.start]...)
	out = append(out, text...)
	return append(out, doc[at.end:]...)
}

// add puts a value at a pointer: in the place of an object's member, or as a new
// one after the others, or before an array's element ("-": after the last). White
// space is as with the neighbours.
func add(doc []byte, pointer []string, value []byte) ([]byte, error) {
	if len(pointer) == 0 {
		return splice(doc, root(doc), value), nil
	}
	last := pointer[len(pointer)-1]
	parent, err := find(doc, pointer[:len(pointer)-1])
	if err != nil {
		return nil, err
	}
	switch doc[parent.start] {
	case '{':
		all := members(doc, parent.start)
		m, err := lookUp(all, last)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", shown(pointer), err)
		case m != nil:
			return splice(doc, m.span, value), nil
		}
		name := text(last)
		if len(all) == 0 {
			return splice(doc, span{parent.start + 1, parent.start + 1}, join(name, []byte(":"), value)), nil
		}
		end := all[len(all)-1]
		before := blankBefore(doc, end.nameStart)
		colon := doc[stringEnd(doc, end.nameStart):end.start]
		return splice(doc, span{end.end, end.end}, join([]byte(","), before, name, colon, value)), nil
	case '[':
		all := elements(doc, parent.start)
		n := len(all)
		if last != "-" {
			if n, err = index(last, len(all)); err != nil {
				return nil, fmt.Errorf("%s: %w", shown(pointer), err)
			}
		}
		switch {
		case len(all) == 0:
			return splice(doc, span{parent.start + 1, parent.start + 1}, value), nil
		case n == len(all):
			end := all[n-1]
			return splice(doc, span{end.end, end.end}, join([]byte(","), blankBefore(doc, end.start), value)), nil
		}
		at := all[n].start
		return splice(doc, span{at, at}, join(value, []byte(","), blankBefore(doc, all[max(n, min(1, len(all)-1))].start))), nil
	}
	return nil, fmt.Errorf("%s: what is around it has no parts", shown(pointer))
}

// remove takes the value at a pointer away, with its name and its comma.
func remove(doc []byte, pointer []string) ([]byte, error) {
	if len(pointer) == 0 {
		return nil, fmt.Errorf("the whole value cannot be removed")
	}
	at, err := find(doc, pointer)
	if err != nil {
		return nil, err
	}
	parent, err := find(doc, pointer[:len(pointer)-1])
	if err != nil {
		return nil, err
	}
	var parts []span // from a name, or an element, to the value's end
	if doc[parent.start] == '{' {
		for _, m := range members(doc, parent.start) {
			parts = append(parts, span{m.nameStart, m.end})
		}
	} else {
		parts = elements(doc, parent.start)
	}
	for i, part := range parts {
		switch {
		case part.end != at.end:
		case i+1 < len(parts):
			return splice(doc, span{part.start, parts[i+1].start}, nil), nil
		case i > 0:
			return splice(doc, span{parts[i-1].end, part.end}, nil), nil
		default:
			return splice(doc, part, nil), nil
		}
	}
	return nil, errAbsent
}

// blankBefore is the white space before a place.
func blankBefore(doc []byte, at int) []byte {
	start := at
	for start > 0 && space(doc[:at], start-1) == at {
		start--
	}
	return doc[start:at]
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// text is a JSON string.
func text(s string) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string can be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
