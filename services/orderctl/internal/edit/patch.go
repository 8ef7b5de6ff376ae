package edit

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tailscale/hujson"
)

type operation struct {
	Op    string          `json:"op"`
	Path  *string         `json:"path"`
	From  *string         `json:"from"`
	Value json.RawMessage `json:"value"`

	path, from []string
	value      hujson.Value
}

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

func find(doc *hujson.Value, pointer []string) (*hujson.Value, error) {
	at := doc
	for i, token := range pointer {
		next, err := child(at, token)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", shown(pointer[:i+1]), err)
		}
		at = next
	}
	return at, nil
}

func child(of *hujson.Value, token string) (*hujson.Value, error) {
	switch part := of.Value.(type) {
	case *hujson.Object:
		i, err := member(part, token)
		if err != nil {
			return nil, err
		}
		return &part.Members[i].Value, nil
	case *hujson.Array:
		i, err := element(token, len(part.Elements)-1)
		if err != nil {
			return nil, err
		}
		return &part.Elements[i], nil
	}
	return nil, errNoParts
}

var errNoParts = fmt.Errorf("what is around it has no parts")

func nameOf(m *hujson.ObjectMember) string {
	literal, _ := m.Name.Value.(hujson.Literal) // a name is nothing else
	return literal.String()
}

func member(object *hujson.Object, name string) (int, error) {
	found := -1
	for i := range object.Members {
		if nameOf(&object.Members[i]) != name {
			continue
		}
		if found >= 0 {
			return 0, fmt.Errorf("the name %q is there twice: edit the value by hand", name)
		}
		found = i
	}
	if found < 0 {
		return 0, errAbsent
	}
	return found, nil
}

// element reads the place of an array's element as JSON Pointer has it.
func element(token string, most int) (int, error) {
	n, err := strconv.Atoi(token)
	if err != nil || n < 0 || strconv.Itoa(n) != token {
		return 0, fmt.Errorf("%q is no place in an array", token)
	}
	if n > most {
		return 0, fmt.Errorf("%w: there is no element %d", errAbsent, n)
	}
	return n, nil
}

// add puts a value at a pointer: in the place of an object's member, or as a new
// one after the others, or before an array's element ("-": after the last). White
// space is as with the neighbours.
func add(doc *hujson.Value, pointer []string, value hujson.ValueTrimmed) error {
	if len(pointer) == 0 {
		doc.Value = value
		return nil
	}
	last := pointer[len(pointer)-1]
	parent, err := find(doc, pointer[:len(pointer)-1])
	if err != nil {
		return err
	}
	switch of := parent.Value.(type) {
	case *hujson.Object:
		var i int
		if i, err = member(of, last); err == nil {
			of.Members[i].Value.Value = value
			return nil
		}
		if err == errAbsent { //nolint:errorlint // member returns it as it is
			added := hujson.ObjectMember{Name: hujson.Value{Value: hujson.String(last)}, Value: hujson.Value{Value: value}}
			if n := len(of.Members); n > 0 {
				like := of.Members[n-1]
				added.Name.BeforeExtra, added.Name.AfterExtra, added.Value.BeforeExtra = like.Name.BeforeExtra, like.Name.AfterExtra, like.Value.BeforeExtra
			}
			of.Members = append(of.Members, added)
			return nil
		}
	case *hujson.Array:
		n := len(of.Elements)
		if last != "-" {
			n, err = element(last, n)
		}
		if err == nil {
			insert(of, n, value)
			return nil
		}
	default:
		err = errNoParts
	}
	return fmt.Errorf("%s: %w", shown(pointer), err)
}

func insert(array *hujson.Array, at int, value hujson.ValueTrimmed) {
	added := hujson.Value{Value: value}
	switch n := len(array.Elements); {
	case n == 0:
	case at == n:
		added.BeforeExtra = array.Elements[n-1].BeforeExtra
	default:
		added.BeforeExtra = array.Elements[at].BeforeExtra
		array.Elements[at].BeforeExtra = array.Elements[max(at, min(1, n-1))].BeforeExtra
	}
	array.Elements = slices.Insert(array.Elements, at, added)
}

// remove takes the value at a pointer away, with its name and its comma.
func remove(doc *hujson.Value, pointer []string) error {
	if len(pointer) == 0 {
		return fmt.Errorf("the whole value cannot be removed")
	}
	if _, err := find(doc, pointer); err != nil {
		return err
	}
	parent, err := find(doc, pointer[:len(pointer)-1])
	if err != nil {
		return err
	}
	last := pointer[len(pointer)-1]
	switch of := parent.Value.(type) {
	case *hujson.Object:
		i, _ := member(of, last)
		before := of.Members[i].Name.BeforeExtra
		of.Members = slices.Delete(of.Members, i, i+1)
		switch n := len(of.Members); {
		case i < n:
			of.Members[i].Name.BeforeExtra = before
		case n > 0:
			of.Members[n-1].Value.AfterExtra = nil // else it would get a comma
		default:
			of.AfterExtra = append(before, of.AfterExtra...)
		}
	case *hujson.Array:
		i, _ := strconv.Atoi(last)
		before := of.Elements[i].BeforeExtra
		of.Elements = slices.Delete(of.Elements, i, i+1)
		switch n := len(of.Elements); {
		case i < n:
			of.Elements[i].BeforeExtra = before
		case n > 0:
			of.Elements[n-1].AfterExtra = nil
		default:
			of.AfterExtra = append(before, of.AfterExtra...)
		}
	}
	return nil
}

// equal compares JSON by what it says: numbers exactly by their worth, and objects
// whatever the order of their names.
func equal(a, b hujson.ValueTrimmed) bool {
	switch a := a.(type) {
	case *hujson.Object:
		b, is := b.(*hujson.Object)
		if !is || len(a.Members) != len(b.Members) {
			return false
		}
		for i := range a.Members {
			j, err := member(b, nameOf(&a.Members[i]))
			if err != nil || !equal(a.Members[i].Value.Value, b.Members[j].Value.Value) {
				return false
			}
		}
		return true
	case *hujson.Array:
		b, is := b.(*hujson.Array)
		return is && slices.EqualFunc(a.Elements, b.Elements, func(x, y hujson.Value) bool { return equal(x.Value, y.Value) })
	case hujson.Literal:
		b, is := b.(hujson.Literal)
		return is && a.Kind() == b.Kind() && plain(a) == plain(b)
	}
	return false
}

// plain writes a literal so that equal ones are written alike. A number that is large
// beyond all reason stays as it is.
func plain(literal hujson.Literal) string {
	if literal.Kind() == '"' {
		return literal.String()
	}
	if n, err := rational(string(literal)); err == nil {
		return n.RatString()
	}
	return string(literal)
}
