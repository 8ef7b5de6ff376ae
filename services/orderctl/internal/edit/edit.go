// Package edit changes single places of a JSON value and leaves every other byte
// as it is: the digits of numbers, escapes, white space and the order of names.
//
// The tree is hujson's, which keeps all of that. Its Patch is not used: it compares
// numbers as float64, which takes different ids beyond 2^53 for equal, picks the
// first of two members of one name without a word, and adds members without the
// white space that their neighbours have.
package edit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"
)

// An Edit changes a value.
type Edit interface {
	apply(doc *hujson.Value) error
}

// Errors of Apply.
var (
	ErrNotJSON   = errors.New("the value is no JSON: edit it by hand")
	ErrUnchanged = errors.New("the edit changes nothing")

	errAbsent = errors.New("is not there")
)

// Apply makes edits, one after another, and gives the new value: all of them are
// made, or none. A value that they leave as it was is ErrUnchanged.
func Apply(value []byte, edits ...Edit) ([]byte, error) {
	doc, err := parse(value)
	if err != nil {
		return nil, ErrNotJSON
	}
	for _, e := range edits {
		if err := e.apply(&doc); err != nil {
			return nil, err
		}
	}
	edited := doc.Pack()
	if string(edited) == string(value) {
		return nil, ErrUnchanged
	}
	return edited, nil
}

// parse reads plain JSON; hujson alone would take comments too.
func parse(value []byte) (hujson.Value, error) {
	if !json.Valid(value) {
		return hujson.Value{}, ErrNotJSON
	}
	return hujson.Parse(value)
}

// set puts a value at a path.
type set struct {
	path  []string // eachElement stands for all elements of an array
	value hujson.ValueTrimmed
}

const eachElement = "[]"

// ParseSet reads path=value. The path is as failures name it (items[2].price);
// items[].price is that of each item. The value is JSON, or else a text. What is
// not there yet is added, if what is around it is there.
func ParseSet(assignment string) (Edit, error) {
	path, text, ok := strings.Cut(assignment, "=")
	if !ok {
		return nil, fmt.Errorf("%q is not path=value", assignment)
	}
	tokens, err := parsePath(path)
	if err != nil {
		return nil, err
	}
	if value, err := parse([]byte(text)); err == nil {
		return set{tokens, value.Value}, nil
	}
	return set{tokens, hujson.String(text)}, nil
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

func (s set) apply(doc *hujson.Value) error { return setAt(doc, nil, s.path, s.value) }

// setAt sets what rest leads to from the value at a pointer.
func setAt(doc *hujson.Value, pointer, rest []string, value hujson.ValueTrimmed) error {
	for i, token := range rest {
		if token != eachElement {
			continue
		}
		path := append(append([]string{}, pointer...), rest[:i]...)
		at, err := find(doc, path)
		if err != nil {
			return err
		}
		array, is := at.Value.(*hujson.Array)
		if !is {
			return fmt.Errorf("%s: is no array", shown(path))
		}
		for n := range array.Elements {
			if err := setAt(doc, append(path, strconv.Itoa(n)), rest[i+1:], value); err != nil {
				return err
			}
		}
		return nil
	}
	whole := append(append([]string{}, pointer...), rest...)
	at, err := find(doc, whole)
	if errors.Is(err, errAbsent) {
		return add(doc, whole, value)
	}
	if err != nil {
		return err
	}
	at.Value = value
	return nil
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
