package edit

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// Change is a place at which two values differ.
type Change struct {
	Path   string `json:"path"`             // empty: the value as a whole
	Before string `json:"before,omitempty"` // JSON; empty: it was not there
	After  string `json:"after,omitempty"`  // likewise
}

// leaf is a scalar, or an object or array without parts.
type leaf struct {
	path []string
	raw  string
}

// Diff tells the places at which values differ, in the order of the one before,
// then what is new. Unless reveal is set personal data is masked. Where one of
// them is no JSON they differ as a whole.
func Diff(before, after []byte, reveal bool) []Change {
	if bytes.Equal(before, after) {
		return nil
	}
	if !json.Valid(before) || !json.Valid(after) {
		if !reveal {
			before, after = mask.Value(before), mask.Value(after)
		}
		return []Change{{Before: string(before), After: string(after)}}
	}
	was, is := leaves(before), leaves(after)
	key := func(l leaf) string { return shown(l.path) }
	now := map[string]leaf{}
	for _, l := range is {
		now[key(l)] = l
	}
	var changes []Change
	seen := map[string]bool{}
	for _, l := range was {
		k := key(l)
		seen[k] = true
		other, there := now[k]
		if there && other.raw == l.raw {
			continue
		}
		changes = append(changes, change(l.path, l.raw, other.raw, reveal))
	}
	for _, l := range is {
		if k := key(l); !seen[k] {
			changes = append(changes, change(l.path, "", l.raw, reveal))
		}
	}
	return changes
}

func change(path []string, before, after string, reveal bool) Change {
	c := Change{Path: shown(path), Before: before, After: after}
	if !reveal {
		c.Path, c.Before, c.After = mask.Path(c.Path), mask.Scalar(path, before), mask.Scalar(path, after)
	}
	return c
}

func leaves(doc []byte) (all []leaf) {
	var walk func(at span, path []string)
	walk = func(at span, path []string) {
		below := func(s span, token string) { walk(s, append(slices.Clip(path), token)) }
		switch doc[at.start] {
		case '{':
			if parts := members(doc, at.start); len(parts) > 0 {
				for _, m := range parts {
					below(m.span, m.name)
				}
				return
			}
		case '[':
			if parts := elements(doc, at.start); len(parts) > 0 {
				for i, s := range parts {
					below(s, strconv.Itoa(i))
				}
				return
			}
		}
		all = append(all, leaf{path, string(doc[at.start:at.end])})
	}
	walk(root(doc), nil)
	return all
}
