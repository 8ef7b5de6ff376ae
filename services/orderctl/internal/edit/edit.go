// Package edit changes single places of a JSON value and leaves every other byte
// as it is: the digits of numbers, escapes, white space and the order of names.
//
// The tree is hujson's, which keeps all of that. Its Patch is not used: it compares
// numbers as float64, which takes different ids beyond 2^53 for equal, picks the
// first of two members of one name without a word, and adds members without the
// white space that their neighbours have.
package edit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"

	"github.com/orderhub/orderhub/services/orderctl/internal/mask"

	"github.com/orderhub/orderhub/libs/model"
)

// An Edit changes a value.
type Edit interface {
	apply(s *state) error
	// moves reports whether values get to other places.
	moves() bool
}

// Errors of Apply.
var (
	ErrNotJSON   = errors.New("the value is no JSON: mend it as a whole first, as in --set '.=strip(.)', or by hand")
	ErrUnchanged = errors.New("the edit changes nothing")

	errAbsent = errors.New("is not there")
)

// Apply makes edits, one after another, and gives the new value: all of them are
// made, or none. A value that they leave as it was is ErrUnchanged, with the reason.
func Apply(value []byte, edits ...Edit) ([]byte, error) {
	s := &state{raw: value}
	for _, e := range edits {
		if err := e.apply(s); err != nil {
			return nil, err
		}
	}
	edited := s.bytes()
	if string(edited) == string(value) {
		err := ErrUnchanged
		if len(s.unchanged) > 0 {
			err = fmt.Errorf("%w: %s", err, strings.Join(s.unchanged[:min(len(s.unchanged), maxReasons)], "; "))
		}
		return nil, err
	}
	return edited, nil
}

// maxReasons bounds how many places are named that stay as they were.
const maxReasons = 5

// state is a value that is being edited: bytes, or JSON with the mark before it.
type state struct {
	raw  []byte
	mark string
	doc  *hujson.Value // nil: raw
	// unchanged says why edits left places as they were.
	unchanged []string
}

func (s *state) json() (*hujson.Value, error) {
	if s.doc == nil {
		text, marked := bytes.CutPrefix(s.raw, []byte(byteOrderMark))
		doc, err := parse(text)
		if err != nil {
			return nil, ErrNotJSON
		}
		if s.doc, s.mark = &doc, ""; marked {
			s.mark = byteOrderMark
		}
	}
	return s.doc, nil
}

func (s *state) bytes() []byte {
	if s.doc == nil {
		return s.raw
	}
	return append([]byte(s.mark), s.doc.Pack()...)
}

func (s *state) left(format string, args ...any) {
	s.unchanged = append(s.unchanged, fmt.Sprintf(format, args...))
}

// parse reads plain JSON; hujson alone would take comments too.
func parse(value []byte) (hujson.Value, error) {
	if !json.Valid(value) {
		return hujson.Value{}, ErrNotJSON
	}
	return hujson.Parse(value)
}

type set struct {
	path     []string // eachElement stands for all elements of an array; nil: the whole value
	value    hujson.ValueTrimmed
	bare     bool        // the value is a number, true or false without quotation marks
	computed *expression // instead of value
}

const (
	eachElement = "[]"
	wholeValue  = "."
)

// ParseSet reads path=value. The path is as failures name it (items[2].price);
// items[].price is that of each item, and . is the value as a whole, which need not be
// JSON. The value is an expression (see Functions), JSON, or else a text; a bare number is
// a text where an order has texts. What is not there yet is added, if what is around it is
// there.
func ParseSet(assignment string) (Edit, error) {
	path, text, ok := strings.Cut(assignment, "=")
	if !ok {
		return nil, fmt.Errorf("%q is not path=value", assignment)
	}
	s := set{value: hujson.String(text)}
	if path = strings.TrimSpace(path); path != wholeValue {
		var err error
		if s.path, err = parsePath(path); err != nil {
			return nil, err
		}
	}
	e, is, err := parseExpression(text)
	if err != nil {
		return nil, err
	}
	if value, wrong := parse([]byte(text)); is {
		s.computed = e
	} else if wrong == nil {
		s.value = value.Value
		s.bare = strings.ContainsRune("0tf", rune(value.Value.Kind()))
	} else if path == wholeValue {
		return nil, errors.New("the whole value becomes JSON, or what a function gives, such as strip(.)")
	}
	return s, nil
}

// ParseSets reads assignments, one a line.
func ParseSets(text string) (edits []Edit, err error) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		e, err := ParseSet(line)
		if err != nil {
			return nil, err
		}
		edits = append(edits, e)
	}
	return edits, nil
}

var (
	wholePath = regexp.MustCompile(`^[^.\[\]]+(\[\d*\])*(\.[^.\[\]]+(\[\d*\])*)*$`)
	pathToken = regexp.MustCompile(`\[\d*\]|[^.\[\]]+`)
)

// parsePath reads payment.amount, items[2].price and items[].price.
func parsePath(path string) ([]string, error) {
	if !wholePath.MatchString(path) {
		return nil, fmt.Errorf("%q is no path such as payment.amount or items[2].price", path)
	}
	tokens := pathToken.FindAllString(path, -1)
	for i, token := range tokens {
		if token != eachElement {
			tokens[i] = strings.Trim(token, "[]")
		}
	}
	return tokens, nil
}

func (e set) apply(s *state) error {
	if e.path != nil {
		return e.at(s, nil, e.path)
	}
	becomes := term{rawTerm, strings.TrimSpace(hujson.Value{Value: e.value}.String())}
	if e.computed != nil {
		var err error
		if becomes, err = e.computed.eval(s, nil); err != nil {
			return err
		}
	}
	if becomes.kind == textTerm {
		becomes.text = hujson.Value{Value: hujson.String(becomes.text)}.String()
	}
	if becomes.text == string(s.bytes()) {
		s.left("the value is like that already")
	}
	s.raw, s.doc = []byte(becomes.text), nil
	return nil
}

func (e set) moves() bool { return e.computed != nil && e.computed.moves(e.path == nil) }

// Tells reports whether what becomes of edited values may tell something about data that
// is masked: an edit that reads or replaces it changes nothing where the guess is right.
func Tells(edits []Edit) bool {
	return slices.ContainsFunc(edits, func(e Edit) bool {
		s, is := e.(set)
		if !is || s.path == nil {
			return !is || s.computed == nil || s.moves()
		}
		return !mask.Shows(s.path) || s.computed != nil && s.computed.readsMasked()
	})
}

// at sets what rest leads to from the value at a pointer.
func (e set) at(s *state, pointer, rest []string) error {
	doc, err := s.json()
	if err != nil {
		return err
	}
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
		if len(array.Elements) == 0 {
			s.left("%s has no elements", shown(path))
		}
		for n := range array.Elements {
			if err := e.at(s, append(path, strconv.Itoa(n)), rest[i+1:]); err != nil {
				return err
			}
		}
		return nil
	}
	whole := append(append([]string{}, pointer...), rest...)
	value, err := e.valueAt(s, whole)
	if err != nil {
		return fmt.Errorf("%s: %w", shown(whole), err)
	}
	at, err := find(doc, whole)
	if errors.Is(err, errAbsent) {
		return add(doc, whole, value)
	}
	if err != nil {
		return err
	}
	if before := (hujson.Value{Value: at.Value}); before.String() == (hujson.Value{Value: value}).String() {
		hint := ""
		if e.bare {
			hint = fmt.Sprintf(`; for a text write %s='"…"'`, shown(whole))
		}
		s.left("%s is like that already%s", shown(whole), hint)
	}
	at.Value = value
	return nil
}

// valueAt is what becomes of the value at a pointer.
func (e set) valueAt(s *state, pointer []string) (hujson.ValueTrimmed, error) {
	value := hujson.Value{Value: e.value}
	switch {
	case e.computed != nil:
		computed, err := e.computed.eval(s, pointer)
		if err != nil {
			return nil, err
		}
		return computed.json()
	case e.bare && model.IsText(shown(pointer)):
		return hujson.String(value.String()), nil
	}
	clone := value.Clone() // of several items each has its own
	return clone.Value, nil
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
