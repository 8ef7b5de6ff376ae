package edit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
)

// deepestWrapping is how many wrappers around an order are taken off.
const deepestWrapping = 5

var (
	errNoOrder = errors.New("no order is inside of it: name the path of what is, as in unwrap(., payload.after)")
	errOrders  = errors.New("several orders are inside of it, and a letter is one record")
)

// unwrap gives the order that is inside of a value, byte for byte; or what is at a path,
// and if that is a string that holds JSON, its text.
func unwrap(options []string) (compute, error) {
	if len(options) == 0 {
		return unwrapOrder, nil
	}
	path, err := parsePath(options[0])
	return func(v term) (term, error) {
		doc, err := parse([]byte(strings.TrimPrefix(v.text, byteOrderMark)))
		if err != nil {
			return v, ErrNotJSON
		}
		at, err := find(&doc, path)
		if err != nil {
			return v, err
		}
		inner := termOf(at.Value)
		for i := 0; i < deepestWrapping && inner.kind == textTerm; i++ {
			parsed, err := parse([]byte(inner.text))
			if err != nil { // a text
				break
			}
			inner = termOf(parsed.Value)
		}
		if inner.kind == jsonTerm {
			inner.kind = min(v.kind, jsonTerm) // the whole value stays the whole
		}
		return inner, nil
	}, err
}

func unwrapOrder(v term) (term, error) {
	value := []byte(v.text)
	if v.kind == textTerm {
		var err error
		if value, err = json.Marshal(v.text); err != nil {
			return v, err
		}
	}
	switch found := findOrders(value, 0); len(found) {
	case 0:
		return v, errNoOrder
	case 1:
		return term{min(v.kind, jsonTerm), string(found[0])}, nil
	}
	return v, errOrders
}

// findOrders gives the orders inside of JSON. Of the members of an object the first that
// holds one counts, the state before a change last.
func findOrders(value []byte, depth int) [][]byte {
	text := strings.TrimSpace(strings.TrimPrefix(string(value), byteOrderMark))
	if depth > deepestWrapping || text == "" {
		return nil
	}
	value = []byte(text)
	switch value[0] {
	case '"':
		var inner string
		if json.Unmarshal(value, &inner) != nil {
			return nil
		}
		if found := findOrders([]byte(inner), depth+1); found != nil {
			return found
		}
		decoded, _ := base64.StdEncoding.DecodeString(inner) // none, of what is no base64
		return findOrders(decoded, depth+1)
	case '[':
		var elements []json.RawMessage
		_ = json.Unmarshal(value, &elements) // none, of what is no JSON
		var found [][]byte
		for _, e := range elements {
			found = append(found, findOrders(e, depth+1)...)
		}
		return found
	case '{':
		var members map[string]json.RawMessage
		if json.Unmarshal(value, &members) != nil {
			return nil
		}
		if isOrder(members) {
			if depth == 0 {
				return nil // it is not inside of anything
			}
			return [][]byte{value}
		}
		names := slices.Sorted(maps.Keys(members))
		if i := slices.Index(names, "before"); i >= 0 {
			names = append(slices.Delete(names, i, i+1), "before")
		}
		for _, name := range names {
			if found := findOrders(members[name], depth+1); len(found) > 0 {
				return found
			}
		}
	}
	return nil
}

func isOrder(members map[string]json.RawMessage) bool {
	known := 0
	for _, name := range []string{"order_uid", "track_number", "delivery", "payment", "items", "customer_id", "date_created"} {
		if _, there := members[name]; there {
			known++
		}
	}
	return known >= 3
}
