package model

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
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
const deepestWrapping = 5

// Nested is an order that is inside of another JSON value.
type Nested struct {
	Path string // within the value
	// Offset is in bytes from the value's start. Of an order in a string it is the string's.
	Offset int
	JSON   []byte // the order, byte for byte
	// Text says that it is in a string that holds JSON, Base64 that the string is base64.
	Text, Base64 bool
}

// FindOrders returns the orders inside of a JSON value. Of an object's members only the
// first that holds one counts; the state before a change is looked at last.
func FindOrders(value []byte) []Nested { return findOrders(value, 0) }

func findOrders(value []byte, depth int) (found []Nested) {
	v, ok := readWrapper(value)
	switch {
	case !ok || depth > deepestWrapping:
		return nil
	case depth > 0 && v.isOrder():
		return []Nested{{Offset: v.offset, JSON: bytes.TrimSpace(value[v.offset:])}}
	case v.kind == '"':
		return v.inText(depth)
	}
	slices.SortStableFunc(v.members, func(a, b member) int { return priority(a.name) - priority(b.name) })
	for _, m := range v.members {
		inner := findOrders(m.value, depth+1)
		for i := range inner {
			inner[i].Path, inner[i].Offset = joinPath(m.path, inner[i].Path), m.offset+inner[i].Offset
		}
		if found = append(found, inner...); len(found) > 0 && v.kind == '{' {
			break
		}
	}
	return found
}

// wrapper is a JSON value with what is in it.
type wrapper struct {
	kind    jsontext.Kind
	offset  int
	text    []byte   // of a string, without escapes
	members []member // of an object or array
}

type member struct {
	name   string
	path   string // as it may be shown
	offset int    // of the value
	value  []byte
}

// readWrapper reads one level of a value. It is false if the value is not JSON.
func readWrapper(value []byte) (wrapper, bool) {
	d := jsontext.NewDecoder(bytes.NewReader(value), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	v := wrapper{kind: d.PeekKind()}
	begin, err := d.ReadToken()
	switch {
	case err != nil:
		return v, false
	case v.kind == '"':
		v.text = []byte(begin.String())
	}
	v.offset = len(value) - len(bytes.TrimLeft(value, " \t\r\n"))
	for d.StackDepth() > 0 && d.PeekKind() != '}' && d.PeekKind() != ']' {
		m := member{name: indexPath(len(v.members)), path: indexPath(len(v.members))}
		if v.kind == '{' {
			name, err := d.ReadToken()
			if err != nil {
				return v, false
			}
			m.name = name.String()
			m.path = shownName([]byte(m.name))
		}
		raw, err := d.ReadValue()
		if err != nil {
			return v, false
		}
		end := int(d.InputOffset())
		m.offset = end - len(raw)
		m.value = value[m.offset:end]
		v.members = append(v.members, m)
	}
	if d.StackDepth() > 0 {
		if _, err := d.ReadToken(); err != nil {
			return v, false
		}
	}
	_, err = d.ReadToken()
	return v, errors.Is(err, io.EOF)
}

// inText looks for orders in a string that holds JSON, or base64 of JSON.
func (v *wrapper) inText(depth int) []Nested {
	inner := func(text []byte) []Nested {
		if !isJSONStart(text) {
			return nil
		}
		found := findOrders(bytes.TrimPrefix(text, []byte(ByteOrderMark)), depth+1)
		for i := range found {
			found[i].Offset, found[i].Text = v.offset, true
		}
		return found
	}
	found := inner(v.text)
	if decoded, err := base64.StdEncoding.DecodeString(string(v.text)); found == nil && err == nil {
		found = inner(decoded)
		for i := range found {
			found[i].Base64 = true
		}
	}
	return found
}

func priority(name string) int {
	if name == "before" || name == "schema" {
		return 1
	}
	return 0
}

func joinPath(outer, inner string) string {
	if inner == "" || inner[0] == '[' {
		return outer + inner
	}
	return outer + "." + inner
}

// has reports whether an object has all of the members.
func (v *wrapper) has(names ...string) bool {
	return v.kind == '{' && v.count(names...) == len(names)
}

// member is the value of an object's member; nil if there is none, or more than one.
func (v *wrapper) member(name string) (value []byte) {
	for _, m := range v.members {
		switch {
		case m.name != name:
		case value != nil:
			return nil
		default:
			value = m.value
		}
	}
	return value
}

func (v *wrapper) count(names ...string) (known int) {
	for _, name := range names {
		if slices.ContainsFunc(v.members, func(m member) bool { return m.name == name }) {
			known++
		}
	}
	return known
}

// isOrder reports whether an object has several of the members that orders have.
func (v *wrapper) isOrder() bool {
	return v.kind == '{' && v.count("order_uid", "track_number", "delivery", "payment", "items", "customer_id", "date_created") >= 3
}

// envelope returns the rule of the wrapper that a record is, and what it is in words.
func (v *wrapper) envelope() (rule, what string) {
	inner := *v
	if payload := v.member("payload"); payload != nil {
		inner, _ = readWrapper(payload)
	}
	switch {
	case v.kind == '"':
		return ruleTextOfJSON, "a string that holds JSON"
	case v.kind == '[':
		return ruleArray, "an array"
	case v.has("specversion", "type"):
		return ruleCloudEvents, "a CloudEvents event"
	case inner.has("op", "after"), inner.has("op", "before"):
		return ruleDebezium, "a change event of Debezium"
	case v.has("schema", "payload"):
		return ruleConnect, "Kafka Connect's envelope of schema and payload"
	}
	return ruleEnvelope, "an envelope"
}

// wrapped explains a record that lacks everything that an order has because the order is
// inside of an envelope, a string or an array. It is nil for any other record.
func wrapped(record []byte, start int) *fault {
	value, ok := readWrapper(record[start:])
	if !ok {
		return nil
	}
	rule, what := value.envelope()
	f := &fault{reason: ReasonWrapped, rule: rule, offset: start}
	found := findOrders(record[start:], 0)
	switch {
	case len(found) > 1 && value.kind == '[':
		f.message = fmt.Sprintf("the record is an array of %d orders; send each as a record of its own", len(found))
	case len(found) > 0:
		at := found[0]
		f.path, f.offset = at.Path, start+at.Offset
		f.message = "the record is " + what
		if at.Path != "" {
			f.message += "; the order is in " + at.Path
		}
		switch {
		case at.Base64:
			f.message += ", encoded in base64"
		case at.Text && value.kind != '"':
			f.message += ", as a string that holds JSON"
		}
		switch rule {
		case ruleConnect:
			f.message += EnvelopeConnect.hint()
		case ruleCloudEvents:
			f.message += EnvelopeCloudEvents.hint()
		default:
			f.message += "; send the order itself"
		}
	case rule == ruleConnect || rule == ruleCloudEvents || rule == ruleDebezium:
		f.message = "the record is " + what + ", and there is no order in it"
	default:
		return nil
	}
	return f
}
