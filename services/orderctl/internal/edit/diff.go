package edit

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"

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

// Diff returns the places at which values differ: first those of the old value, in
// its order, then those that are new. Unless reveal is set personal data is masked. Where one of
// them is no JSON they differ as a whole.
func Diff(before, after []byte, reveal bool) []Change {
	if bytes.Equal(before, after) {
		return nil
	}
	old, err := parse(before)
	changed, err2 := parse(after)
	if err != nil || err2 != nil {
		if !reveal {
			before, after = mask.Value(before), mask.Value(after)
		}
		return []Change{{Before: string(before), After: string(after)}}
	}
	was, is := leaves(old, nil), leaves(changed, nil)
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

func leaves(at hujson.Value, path []string) (all []leaf) {
	below := func(v hujson.Value, token string) { all = append(all, leaves(v, append(slices.Clip(path), token))...) }
	switch part := at.Value.(type) {
	case *hujson.Object:
		for i := range part.Members {
			below(part.Members[i].Value, nameOf(&part.Members[i]))
		}
	case *hujson.Array:
		for i, e := range part.Elements {
			below(e, strconv.Itoa(i))
		}
	}
	if len(all) == 0 {
		all = []leaf{{path, strings.TrimSpace(hujson.Value{Value: at.Value}.String())}}
	}
	return all
}
