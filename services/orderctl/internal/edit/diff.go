package edit

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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

// Changes is the Diff of what edits made. Unless reveal is set, nothing is shown of edits that
// may have moved personal data to a place where values are shown.
func Changes(before, after []byte, edits []Edit, reveal bool) []Change {
	changes := Diff(before, after, reveal)
	if !reveal && slices.ContainsFunc(edits, Edit.moves) {
		for i := range changes {
			for _, value := range []*string{&changes[i].Before, &changes[i].After} {
				if *value != "" {
					*value = mask.Hidden
				}
			}
		}
	}
	return changes
}

// Diff returns the places at which values differ: first those of the old value, in
// its order, then those that are new. Unless reveal is set personal data is masked. Where one of
// them is no JSON that is where their bytes differ; and where the new value stood inside of the
// old one as it is, what was around it.
func Diff(before, after []byte, reveal bool) []Change {
	if bytes.Equal(before, after) {
		return nil
	}
	text := func(value []byte) string {
		if !reveal {
			value = mask.Value(value)
		}
		return string(value[:min(len(value), maxShown)])
	}
	old, err := parse(bytes.TrimPrefix(before, []byte(byteOrderMark)))
	changed, err2 := parse(bytes.TrimPrefix(after, []byte(byteOrderMark)))
	if err != nil || err2 != nil || old.Value.Kind() == '"' || changed.Value.Kind() == '"' {
		from, to, past := span(before, after)
		return []Change{{Path: from, Before: text(to), After: text(past)}}
	}
	if front, rest, inside := bytes.Cut(before, after); inside {
		return []Change{{Path: "around …", Before: text(slices.Concat(front, []byte(`"…"`), rest))}}
	}
	was, is := leaves(old, nil), leaves(changed, nil)
	earlier, now := byPath(was), byPath(is)
	var changes []Change
	for _, l := range was {
		if now[shown(l.path)] != l.raw {
			changes = append(changes, change(l.path, l.raw, now[shown(l.path)], reveal))
		}
	}
	for _, l := range is {
		if earlier[shown(l.path)] == "" {
			changes = append(changes, change(l.path, "", l.raw, reveal))
		}
	}
	return changes
}

func byPath(all []leaf) map[string]string {
	raw := make(map[string]string, len(all))
	for _, l := range all {
		raw[shown(l.path)] = l.raw
	}
	return raw
}

// maxShown bounds what is shown of bytes that differ.
const maxShown = 2000

// span is where values differ, in bytes, and what stands there in each. It begins and
// ends between characters.
func span(before, after []byte) (at string, old, changed []byte) {
	start, end := 0, 0
	for start < min(len(before), len(after)) && before[start] == after[start] {
		start++
	}
	for end < min(len(before), len(after))-start && before[len(before)-1-end] == after[len(after)-1-end] {
		end++
	}
	for start > 0 && start < len(before) && !utf8.RuneStart(before[start]) {
		start--
	}
	for end > 0 && !utf8.RuneStart(before[len(before)-end]) {
		end--
	}
	return fmt.Sprintf("byte %d", start), before[start : len(before)-end], after[start : len(after)-end]
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
