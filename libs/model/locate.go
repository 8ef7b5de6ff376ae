package model

import (
	"bytes"
	"unicode/utf8"
)

// Locate returns for each failure its place in the record, in bytes from the start: that
// of the field's value, or of the nearest existing value around it. It reads the record
// once, as far as it is valid.
func Locate(record []byte, failures []FieldError) []int64 {
	paths := make([]string, len(failures))
	for i, f := range failures {
		paths[i] = f.Path
	}
	l := locate(record, paths...)
	offsets := make([]int64, len(failures))
	for i, f := range failures {
		path := f.Path
		for l.places[path] < 0 {
			path = parentPath(path)
		}
		offsets[i] = int64(l.places[path])
	}
	return offsets
}

// A locator records where the values of wanted paths begin.
type locator struct {
	scanner
	places map[string]int // -1 until found
	twice  bool           // some path has several places, as several names are shown as ?
}

// locate reads the record, as far as it is valid.
func locate(record []byte, paths ...string) *locator {
	l := &locator{scanner: scanner{data: record}, places: make(map[string]int)}
	for _, path := range paths {
		for ; path != ""; path = parentPath(path) {
			l.places[path] = -1
		}
	}
	l.start()
	l.places[""] = l.pos
	_ = l.value("", 0) // places before a fault are valid
	return l
}

// value skips the value at path.
func (l *locator) value(path string, depth int) *fault {
	at, wanted := l.places[path]
	if !wanted {
		return l.skip(depth) // nothing in it is wanted either
	}
	l.twice = l.twice || path != "" && at >= 0
	l.places[path] = l.pos
	switch l.peek() {
	case '{':
		return l.elements(path, depth+1, '}')
	case '[':
		return l.elements(path, depth+1, ']')
	}
	return l.skip(depth)
}

func (l *locator) elements(path string, depth int, closing byte) *fault {
	if depth > MaxDepth {
		return l.tooDeep()
	}
	l.pos++
	for i := 0; ; i++ {
		end, f := l.next(i == 0, closing)
		if end || f != nil {
			return f
		}
		at := path + indexPath(i)
		if closing == '}' {
			name, f := l.name()
			if f != nil {
				return f
			}
			if at = shownName(name); path != "" {
				at = path + "." + at
			}
		}
		if f := l.value(at, depth); f != nil {
			return f
		}
	}
}

// LineColumn converts a place in a record to line and column, both from 1. The column
// counts characters. For a place outside the record it returns the nearest one.
func LineColumn(record []byte, offset int64) (line, column int) {
	before := record[:min(max(offset, 0), int64(len(record)))]
	line = 1 + bytes.Count(before, []byte("\n"))
	return line, 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}
