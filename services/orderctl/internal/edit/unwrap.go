package edit

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/orderhub/orderhub/libs/model"
)

// deepestWrapping is how many strings of JSON within one another are taken off.
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
	switch found := model.FindOrders(bytes.TrimPrefix(value, []byte(byteOrderMark))); len(found) {
	case 0:
		return v, errNoOrder
	case 1:
		return term{min(v.kind, jsonTerm), string(found[0].JSON)}, nil
	}
	return v, errOrders
}
