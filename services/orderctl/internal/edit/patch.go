package edit

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tailscale/hujson"
)

// operation is one of a JSON Patch.
type operation struct {
	Op    string          `json:"op"`
	Path  *string         `json:"path"`
	From  *string         `json:"from"`
	Value json.RawMessage `json:"value"`

	path, from []string
	value      hujson.Value
}

// patch is a JSON Patch, RFC 6902.
type patch []operation

// ParsePatch reads a JSON Patch, RFC 6902: add, remove, replace, move, copy and
// test. All of it is done, or nothing.
func ParsePatch(document []byte) (Edit, error) {
	var p patch
	if err := json.Unmarshal(document, &p); err != nil {
		return nil, fmt.Errorf("is no JSON Patch, which is an array of operations: %w", err)
	}
	for i := range p {
		if err := p[i].check(); err != nil {
			return nil, fmt.Errorf("operation %d: %w", i+1, err)
		}
	}
	if len(p) == 0 {
		return nil, errors.New("has no operations")
	}
	return p, nil
}

func (o *operation) check() (err error) {
	if o.Path == nil {
		return errors.New("path is missing")
	}
	if o.path, err = parsePointer(*o.Path); err != nil {
		return err
	}
	switch o.Op {
	case "add", "replace", "test":
		if o.Value == nil {
			return fmt.Errorf("%s: value is missing", o.Op)
		}
		if o.value, err = parse(o.Value); err != nil {
			return err
		}
	case "remove":
	case "move", "copy":
		if o.From == nil {
			return fmt.Errorf("%s: from is missing", o.Op)
		}
		if o.from, err = parsePointer(*o.From); err != nil {
			return err
		}
		if o.Op == "move" && len(o.path) > len(o.from) && slices.Equal(o.path[:len(o.from)], o.from) {
			return errors.New("move: a value cannot go into itself")
		}
	default:
		return fmt.Errorf("%q is no operation", o.Op)
	}
	return nil
}

// parsePointer reads a JSON Pointer, RFC 6901.
func parsePointer(text string) ([]string, error) {
	pointer := jsontext.Pointer(text)
	if !pointer.IsValid() {
		return nil, fmt.Errorf("%q is no JSON Pointer such as /items/0/price, in which ~0 is a ~ and ~1 a /", text)
	}
	return slices.Collect(pointer.Tokens()), nil
}

func (p patch) moves() bool {
	return slices.ContainsFunc(p, func(o operation) bool { return o.From != nil })
}

func (p patch) apply(s *state) error {
	doc, err := s.json()
	if err != nil {
		return err
	}
	for i := range p {
		if err := p[i].apply(doc); err != nil {
			return fmt.Errorf("operation %d (%s): %w", i+1, p[i].Op, err)
		}
	}
	return nil
}

func (o *operation) apply(doc *hujson.Value) error {
	switch o.Op {
	case "add":
		return add(doc, o.path, o.value.Clone().Value)
	case "remove":
		return remove(doc, o.path)
	case "replace", "test":
		at, err := find(doc, o.path)
		if err != nil {
			return err
		}
		if o.Op == "replace" {
			at.Value = o.value.Clone().Value
		} else if !equal(at.Value, o.value.Value) {
			return fmt.Errorf("%s: is something else", shown(o.path))
		}
		return nil
	}
	at, err := find(doc, o.from)
	if err != nil {
		return err
	}
	value := at.Clone().Value
	if o.Op == "move" {
		if slices.Equal(o.from, o.path) {
			return nil
		}
		if err := remove(doc, o.from); err != nil {
			return err
		}
	}
	return add(doc, o.path, value)
}
