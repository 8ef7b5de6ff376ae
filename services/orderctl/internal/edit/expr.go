package edit

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tailscale/hujson"

	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// An expression computes a value from a letter's own: lower(.), copy(order_uid),
// replace(text(.), ' ', '-'). The first argument of a function is a value: the one at the
// path that is set (.), one at a path from the letter's top, in which items[] is the same
// item as in the path that is set, a text, or what another function gives. The others
// are options: texts in ' or ", without escapes, or words.
type expression struct {
	function string // empty: text is a path, or "." for the path that is set
	apply    compute
	value    *expression // of a function
	text     string
	constant bool // text is a text
}

var callLike = regexp.MustCompile(`(?s)^[a-z][a-z0-9_]*\s*\(.*\)$`)

// parseExpression reads an expression. A text that does not look like one is to be set as
// it stands.
func parseExpression(text string) (e *expression, is bool, err error) {
	text = strings.TrimSpace(text)
	if !callLike.MatchString(text) {
		return nil, false, nil
	}
	p := &expressionParser{rest: text}
	e, err = p.value(0)
	if err == nil && p.rest != "" {
		err = fmt.Errorf("nothing may follow the last ), not %q", p.rest)
	}
	if err != nil {
		err = fmt.Errorf("%w; the functions are %s; a text that looks like one stands in double quotation marks", err, strings.Join(functionNames(), ", "))
	}
	return e, true, err
}

type expressionParser struct{ rest string }

const maxNestedCalls = 20

var wordAt = regexp.MustCompile(`^[^\s,()'"]+`)

// word reads a quoted text or a word, with the white space after it.
func (p *expressionParser) word() (text string, quoted bool, err error) {
	if p.rest != "" && (p.rest[0] == '\'' || p.rest[0] == '"') {
		text, rest, closed := strings.Cut(p.rest[1:], p.rest[:1])
		if !closed {
			return "", true, fmt.Errorf("the text %s is not closed", p.rest)
		}
		p.skip(rest)
		return text, true, nil
	}
	text = wordAt.FindString(p.rest)
	if p.skip(p.rest[len(text):]); text == "" {
		return "", false, fmt.Errorf("an argument is missing before %q", p.rest)
	}
	return text, false, nil
}

// value reads a call, a path or a text.
func (p *expressionParser) value(depth int) (*expression, error) {
	text, quoted, err := p.word()
	switch {
	case err != nil:
		return nil, err
	case quoted:
		return &expression{text: text, constant: true}, nil
	case !strings.HasPrefix(p.rest, "("):
		if text != "." {
			_, err = parsePath(text)
		}
		return &expression{text: text}, err
	case depth == maxNestedCalls:
		return nil, errors.New("the functions are nested too deep")
	}
	f, known := functions[text]
	if !known {
		return nil, fmt.Errorf("there is no function %q", text)
	}
	p.skip(p.rest[1:])
	e := &expression{function: text}
	if e.value, err = p.value(depth + 1); err != nil {
		return nil, err
	}
	var options []string
	for strings.HasPrefix(p.rest, ",") {
		p.skip(p.rest[1:])
		option, _, err := p.word()
		if err != nil {
			return nil, err
		}
		options = append(options, option)
	}
	if !strings.HasPrefix(p.rest, ")") {
		return nil, fmt.Errorf("%s: a ) is missing", text)
	}
	p.skip(p.rest[1:])
	if n := len(options); n < f.least || n > f.most {
		return nil, fmt.Errorf("write %s", f.usage)
	}
	if e.apply, err = f.with(options); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return e, nil
}

func (p *expressionParser) skip(rest string) { p.rest = strings.TrimLeft(rest, " \t\r\n") }

type term struct {
	kind termKind
	text string
}

type termKind int

const (
	rawTerm  termKind = iota // the bytes of the whole value, JSON or not
	jsonTerm                 // JSON that is no string
	textTerm                 // the text of a JSON string
)

func termOf(v hujson.ValueTrimmed) term {
	if literal, is := v.(hujson.Literal); is && literal.Kind() == '"' {
		return term{textTerm, literal.String()}
	}
	return term{jsonTerm, strings.TrimSpace(hujson.Value{Value: v}.String())}
}

func (t term) json() (hujson.ValueTrimmed, error) {
	if t.kind == textTerm {
		return hujson.String(t.text), nil
	}
	v, err := parse([]byte(t.text))
	return v.Value, err
}

// eval computes an expression for the place at a pointer; nil: the whole value.
func (e *expression) eval(s *state, pointer []string) (term, error) {
	switch {
	case e.constant:
		return term{textTerm, e.text}, nil
	case e.function != "":
		of, err := e.value.eval(s, pointer)
		if err != nil {
			return term{}, err
		}
		result, err := e.apply(of)
		if err != nil {
			return term{}, fmt.Errorf("%s: %w", e.function, err)
		}
		return result, nil
	case e.text == "." && pointer == nil:
		return term{rawTerm, string(s.bytes())}, nil
	}
	doc, err := s.json()
	if err != nil {
		return term{}, err
	}
	if e.text != "." {
		if pointer, err = sameItem(e.text, pointer); err != nil {
			return term{}, err
		}
	}
	at, err := find(doc, pointer)
	if err != nil {
		return term{}, err
	}
	return termOf(at.Value), nil
}

// moves reports whether the value comes from another path, or may, of the whole value,
// be moved within it.
func (e *expression) moves(whole bool) bool {
	if e.function == "" {
		return !e.constant && e.text != "."
	}
	return whole && e.function == "replace" || e.value.moves(whole)
}

// readsMasked reports whether the value comes from another path whose values are masked.
func (e *expression) readsMasked() bool {
	if e.function != "" {
		return e.value.readsMasked()
	}
	path, err := parsePath(e.text)
	return !e.constant && e.text != "." && (err != nil || !mask.Shows(path))
}

// sameItem is the pointer of a path in which [] stands for the item that is set.
func sameItem(path string, set []string) ([]string, error) {
	tokens, err := parsePath(path)
	for i, token := range tokens {
		if token != eachElement {
			continue
		}
		if i >= len(set) || !slices.Equal(tokens[:i], set[:i]) {
			return nil, fmt.Errorf("%s: [] stands for an item only where items of the same array are set", path)
		}
		tokens[i] = set[i]
	}
	return tokens, err
}
