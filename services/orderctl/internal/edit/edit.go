// Package edit changes single places of a JSON value and leaves every other byte
// as it is: the digits of numbers, escapes, white space and the order of names.
package edit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// An Edit changes a value.
type Edit interface {
	// apply is given valid JSON, and does not change it.
	apply(doc []byte) ([]byte, error)
}

// Errors of Apply.
var (
	ErrNotJSON   = errors.New("the value is no JSON: edit it by hand")
	ErrUnchanged = errors.New("the edit changes nothing")

	errAbsent = errors.New("is not there")
)

// Apply makes edits, one after another, and gives the new value. A value that
// they leave as it was is ErrUnchanged.
func Apply(value []byte, edits ...Edit) ([]byte, error) {
	if !json.Valid(value) {
		return nil, ErrNotJSON
	}
	doc := value
	for _, e := range edits {
		var err error
		if doc, err = e.apply(doc); err != nil {
			return nil, err
		}
	}
	if string(doc) == string(value) {
		return nil, ErrUnchanged
	}
	return doc, nil
}

// set puts a value at a path.
type set struct {
	path  []string // eachElement stands for all elements of an array
	value []byte
}

const eachElement = "[]"

// ParseSet reads path=value. The path is as failures name it (items[2].price);
// items[].price is that of each item. The value is JSON, or else a text. What is
// not there yet is added, if what is around it is there.
func ParseSet(assignment string) (Edit, error) {
	path, value, ok := strings.Cut(assignment, "=")
	if !ok {
		return nil, fmt.Errorf("%q is not path=value", assignment)
	}
	tokens, err := parsePath(path)
	if err != nil {
		return nil, err
	}
	raw := []byte(value)
	if !json.Valid(raw) {
		raw = text(value)
	}
	return set{tokens, []byte(strings.TrimSpace(string(raw)))}, nil
}

// parsePath reads payment.amount, items[2].price and items[].price.
func parsePath(path string) ([]string, error) {
	wrong := fmt.Errorf("%q is no path such as payment.amount or items[2].price", path)
	var tokens []string
	for part := range strings.SplitSeq(path, ".") {
		name, rest, indexed := strings.Cut(part, "[")
		if name == "" {
			return nil, wrong
		}
		tokens = append(tokens, name)
		for indexed {
			var number string
			number, rest, indexed = strings.Cut(rest, "]")
			if !indexed {
				return nil, wrong
			}
			if number == "" {
				number = eachElement
			} else if n, err := strconv.Atoi(number); err != nil || n < 0 {
				return nil, wrong
			}
			tokens = append(tokens, number)
			if rest == "" {
				break
			}
			if rest, indexed = strings.CutPrefix(rest, "["); !indexed {
				return nil, wrong
			}
		}
	}
	return tokens, nil
}

func (s set) apply(doc []byte) ([]byte, error) { return setAt(doc, nil, s.path, s.value) }

// setAt sets what rest leads to from the value at a pointer.
func setAt(doc []byte, pointer, rest []string, value []byte) ([]byte, error) {
	for i, token := range rest {
		if token != eachElement {
			continue
		}
		array := append(append([]string{}, pointer...), rest[:i]...)
		at, err := find(doc, array)
		if err != nil {
			return nil, err
		}
		if doc[at.start] != '[' {
			return nil, fmt.Errorf("%s: is no array", shown(array))
		}
		for n := range elements(doc, at.start) {
			if doc, err = setAt(doc, append(array, strconv.Itoa(n)), rest[i+1:], value); err != nil {
				return nil, err
			}
		}
		return doc, nil
	}
	whole := append(append([]string{}, pointer...), rest...)
	at, err := find(doc, whole)
	switch {
	case err == nil:
		return splice(doc, at, value), nil
	case errors.Is(err, errAbsent):
		return add(doc, whole, value)
	}
	return nil, err
}

// shown is a pointer for people: items[2].price.
func shown(pointer []string) string {
	if len(pointer) == 0 {
		return "the value"
	}
	var b strings.Builder
	for i, token := range pointer {
		switch _, err := strconv.Atoi(token); {
		case err == nil:
			b.WriteString("[" + token + "]")
		case i > 0:
			b.WriteString("." + token)
		default:
			b.WriteString(token)
		}
	}
	return b.String()
}
