package model

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// Rules of records that hold an order inside of something else.
const (
	ruleConnect     = "connect_envelope"
	ruleCloudEvents = "cloudevents"
	ruleDebezium    = "debezium"
	ruleEnvelope    = "envelope"
	ruleTextOfJSON  = "json_in_text"
	ruleArray       = "array"
)

// deepestWrapping is how many wrappers around an order are looked into.
const deepestWrapping = 4

// nested is where an order was found inside of a value.
type nested struct {
	path   string
	offset int  // in the record
	text   bool // inside of a string that holds JSON
	base64 bool
}

// wrapped explains a record that lacks everything that an order has because the order is
// inside of an envelope, a string or an array. It is nil for any other record.
func wrapped(record []byte, start int) *fault {
	s := scanner{data: record, pos: start}
	value, ok := readShape(&s, 0)
	if !ok {
		return nil
	}
	rule, what := value.envelope()
	at, found := value.find(0)
	f := &fault{reason: ReasonWrapped, rule: rule, offset: start, path: at.path}
	switch {
	case found && value.kind == '[' && value.orders > 1:
		f.path, f.message = "", fmt.Sprintf("the record is an array of %d orders; send each as a record of its own", value.orders)
	case found:
		f.offset = at.offset
		f.message = "the record is " + what
		if at.path != "" {
			f.message += "; the order is in " + at.path
		}
		switch {
		case at.base64:
			f.message += ", encoded in base64"
		case at.text && value.kind != '"':
			f.message += ", as a string that holds JSON"
		}
		f.message += "; send the order itself"
	case rule == ruleConnect || rule == ruleCloudEvents || rule == ruleDebezium:
		f.message = "the record is " + what + ", and there is no order in it"
	default:
		return nil
	}
	return f
}

// shape is a JSON value with its members, as far as looking for an order needs them.
type shape struct {
	kind    byte // as in JSON: { [ " or another
	offset  int
	text    []byte // of a string, without escapes
	members []member
	orders  int // elements that are orders
}

type member struct {
	name  string
	value shape
}

// readShape reads the value at s.pos.
func readShape(s *scanner, depth int) (shape, bool) {
	v := shape{kind: s.peek(), offset: s.pos}
	switch {
	case v.kind == '"':
		text, f := s.str()
		v.text = bytes.Clone(text)
		return v, f == nil
	case v.kind != '{' && v.kind != '[' || depth > deepestWrapping:
		return v, s.skip(depth) == nil
	}
	closing := byte('}')
	if v.kind == '[' {
		closing = ']'
	}
	s.pos++
	for i := 0; ; i++ {
		end, f := s.next(i == 0, closing)
		if end || f != nil {
			return v, f == nil
		}
		m := member{name: indexPath(i)}
		if v.kind == '{' {
			name, f := s.name()
			if f != nil {
				return v, false
			}
			m.name = string(name)
		}
		var ok bool
		if m.value, ok = readShape(s, depth+1); !ok {
			return v, false
		}
		if v.kind == '[' && m.value.isOrder() {
			v.orders++
		}
		if len(v.members) < 64 { // an envelope has a few
			v.members = append(v.members, m)
		}
	}
}

func (v *shape) member(name string) *shape {
	for i := range v.members {
		if v.kind == '{' && v.members[i].name == name {
			return &v.members[i].value
		}
	}
	return nil
}

// isOrder reports whether an object has several of the members that orders have.
func (v *shape) isOrder() bool {
	known := 0
	for _, name := range []string{"order_uid", "track_number", "delivery", "payment", "items", "customer_id", "date_created"} {
		if v.member(name) != nil {
			known++
		}
	}
	return known >= 3
}

// envelope returns the rule of the wrapper that a record is, and what it is in words.
func (v *shape) envelope() (rule, what string) {
	inner := v
	if payload := v.member("payload"); payload != nil {
		inner = payload
	}
	switch {
	case v.kind == '"':
		return ruleTextOfJSON, "a string that holds JSON"
	case v.kind == '[':
		return ruleArray, "an array"
	case v.member("specversion") != nil && v.member("type") != nil:
		return ruleCloudEvents, "a CloudEvents event"
	case inner.member("op") != nil && (inner.member("after") != nil || inner.member("before") != nil):
		return ruleDebezium, "a change event of Debezium"
	case v.member("schema") != nil && v.member("payload") != nil:
		return ruleConnect, "Kafka Connect's envelope of schema and payload"
	}
	return ruleEnvelope, "an envelope"
}

// find looks for the order in a value that is none itself.
func (v *shape) find(depth int) (nested, bool) {
	if depth > deepestWrapping {
		return nested{}, false
	}
	if depth > 0 && v.isOrder() {
		return nested{offset: v.offset}, true
	}
	if v.kind == '"' {
		at, found := findInText(v.text, v.offset, depth)
		if decoded, err := base64.StdEncoding.DecodeString(string(v.text)); !found && err == nil {
			at, found = findInText(decoded, v.offset, depth)
			at.base64 = true
		}
		return at, found
	}
	// The state after a change comes before the state before it.
	members := slices.Clone(v.members)
	slices.SortStableFunc(members, func(a, b member) int { return priority(a.name) - priority(b.name) })
	for _, m := range members {
		if at, found := m.value.find(depth + 1); found {
			at.path = joinPath(shownPart(m.name), at.path)
			return at, true
		}
	}
	return nested{}, false
}

func priority(name string) int {
	if name == "before" || name == "schema" {
		return 1
	}
	return 0
}

// findInText looks for the order in JSON that is the text of a string.
func findInText(text []byte, offset, depth int) (nested, bool) {
	if !isJSONStart(text) {
		return nested{}, false
	}
	s := scanner{data: bytes.TrimPrefix(text, []byte(ByteOrderMark))}
	s.space()
	inner, ok := readShape(&s, 0)
	if !ok {
		return nested{}, false
	}
	at, found := inner.find(depth + 1)
	return nested{path: at.path, offset: offset, text: true}, found
}

func shownPart(name string) string {
	if strings.HasPrefix(name, "[") {
		return name
	}
	return shownName([]byte(name))
}

func joinPath(outer, inner string) string {
	if inner == "" || strings.HasPrefix(inner, "[") {
		return outer + inner
	}
	return outer + "." + inner
}
