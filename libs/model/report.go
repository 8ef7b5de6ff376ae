package model

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShownName is how many bytes of an unknown field's name are shown.
const maxShownName = 64

// path returns the path of a field of the current object, or of the object itself if
// name is empty.
func (d *decoder) path(name string) string {
	path := d.container
	if path == "items" {
		path = itemPath(d.item)
	}
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

// kind returns the path of a field of the current object without the item's index.
func (d *decoder) kind(name string) string {
	switch d.container {
	case "":
		return name
	case "items":
		return "items[]." + name
	}
	return d.container + "." + name
}

func itemPath(i int) string { return "items" + indexPath(i) }

func indexPath(i int) string { return "[" + strconv.Itoa(i) + "]" }

// within sets the path of a fault, unless an inner field has set it.
func (d *decoder) within(name string, f *fault) *fault {
	if f != nil && f.path == "" {
		f.path = d.path(name)
	}
	return f
}

// fail collects a failure of a rule.
func (d *decoder) fail(path, rule, message string) {
	d.failures = append(d.failures, FieldError{Path: path, Rule: rule, Message: message})
}

// failShape collects a failure of the order's shape.
func (d *decoder) failShape(offset int, path string, reason Reason, message string) {
	if d.reason == "" {
		d.reason, d.offset = reason, offset
	}
	d.fail(path, string(reason), message)
}

// wrongType collects the failure of a value of the wrong type and skips the value.
func (d *decoder) wrongType(path, wanted string, depth int) *fault {
	start := d.pos
	if f := d.skip(depth); f != nil {
		return f
	}
	found := "a number"
	switch d.data[start] {
	case '"':
		found = "a string"
	case '{':
		found = "an object"
	case '[':
		found = "an array"
	case 't', 'f':
		found = "a boolean"
	case 'n':
		found = "null"
	}
	d.failShape(start, path, ReasonWrongType, "must be "+wanted+", not "+found)
	return nil
}

// unknownField records a field that an order does not have.
func (d *decoder) unknownField(shown string, offset int) {
	if d.opts.RejectUnknown {
		if d.refused < MaxUnknownFields {
			d.refused++
			d.failShape(offset, d.path(shown), ReasonUnknownField, "is not a field of an order")
		}
		return
	}
	if len(d.unknown) == MaxUnknownFields {
		return
	}
	path := d.kind(shown)
	if !slices.Contains(d.unknown, path) {
		d.unknown = append(d.unknown, path)
	}
}

// shownName is an unknown field's name as it may appear in logs and metrics. A name can
// be personal data, for example in a map keyed by e-mail addresses.
func shownName(name []byte) string {
	if len(name) == 0 {
		return "?"
	}
	for _, r := range string(name) {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-$", r) {
			return "?"
		}
	}
	if len(name) > maxShownName {
		cut := maxShownName
		for !utf8.RuneStart(name[cut]) {
			cut--
		}
		return string(name[:cut]) + "…"
	}
	return string(name)
}

// looksLikePrettyLine reports whether a record that is not JSON could be one line of a
// pretty-printed order, as `cat order.json | kafka-console-producer` sends it: one or two
// brackets, or a name and a colon.
func looksLikePrettyLine(record []byte) bool {
	line := strings.TrimSpace(string(record[:min(len(record), 1<<10)]))
	if strings.ContainsAny(line, "\r\n") {
		return false
	}
	if strings.Trim(line, "{}[], \t") == "" {
		return len(line) <= 3
	}
	if line[0] != '"' {
		return false
	}
	end := strings.IndexByte(line[1:], '"')
	return end >= 0 && strings.HasPrefix(strings.TrimLeft(line[end+2:], " \t"), ":")
}

// rank is a failure's place in the canonical JSON: field, item, field within.
type rank [3]int

func rankOf(path string) rank {
	top, item := path[:strings.IndexAny(path+".", ".[")], -1
	if _, rest, isItem := strings.Cut(path, "["); isItem {
		index, _, _ := strings.Cut(rest, "]")
		item, _ = strconv.Atoi(index)
	}
	return rank{position(top), item, position(itemIndex.ReplaceAllString(path, "[]"))}
}

// position is a field's place among those of its object. Unknown fields come last, the
// record as a whole first.
func position(path string) int {
	target, known := ruleTargets[path]
	if !known && path != "" {
		return len(ruleTargets)
	}
	return target.position
}

// sortFailures sorts failures by the order of the canonical JSON.
func sortFailures(failures []FieldError) {
	type ranked struct {
		rank
		FieldError
	}
	all := make([]ranked, len(failures))
	for i, f := range failures {
		all[i] = ranked{rankOf(f.Path), f}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return slices.Compare(a.rank[:], b.rank[:]) })
	for i := range all {
		failures[i] = all[i].FieldError
	}
}

// withoutKnown returns the failures of rules without those of fields, or parts of
// fields, whose wrong type or absence is reported already.
func withoutKnown(rules, known []FieldError) []FieldError {
	paths := make(map[string]struct{}, len(known))
	for _, f := range known {
		if f.Rule != ruleMaxItems { // the items up to the limit are checked
			paths[f.Path] = struct{}{}
		}
	}
	return slices.DeleteFunc(rules, func(f FieldError) bool {
		for path := f.Path; path != ""; path = parentPath(path) {
			if _, ok := paths[path]; ok {
				return true
			}
		}
		return false
	})
}

// parentPath returns the path of what contains a field; empty at the top.
func parentPath(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}
