package model

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Stage is where a record failed.
type Stage string

// The stages.
const (
	// StageDecode: the record is not JSON, or does not have an order's shape.
	StageDecode Stage = "decode"
	// StageValidate: the record has an order's shape and breaks rules.
	StageValidate Stage = "validate"
)

// Reason is a stable code for why a record was refused.
type Reason string

// The reasons. Those of the first group concern the record as a whole: reading ends at
// the first failure, and Errors has one entry. Those of the second group concern single
// fields, and all failures are collected.
const (
	ReasonTombstone     Reason = "tombstone"      // a null value
	ReasonEmpty         Reason = "empty"          // no bytes, or only white space
	ReasonTooLarge      Reason = "too_large"      // more than Options.MaxRecordBytes
	ReasonNotJSON       Reason = "not_json"       // a syntax error
	ReasonPrettyPrinted Reason = "pretty_printed" // not JSON, but probably one line of a pretty-printed file
	ReasonTrailingData  Reason = "trailing_data"  // something follows the JSON value
	ReasonInvalidUTF8   Reason = "invalid_utf8"   // a string that is not UTF-8
	ReasonNUL           Reason = "nul_character"  // the character U+0000 in a string, as byte or as escape
	ReasonLoneSurrogate Reason = "lone_surrogate" // half a \uD800 pair
	ReasonDuplicateName Reason = "duplicate_name" // an object has a name twice
	ReasonTooDeep       Reason = "too_deep"       // objects and arrays nested deeper than MaxDepth

	ReasonWrapped Reason = "wrapped" // the order is inside of something else: an envelope, a string, an array

	ReasonWrongType    Reason = "wrong_type"    // a field, or the record, has another JSON type; null too
	ReasonOutOfRange   Reason = "out_of_range"  // an integer that does not fit 64 bits
	ReasonUnknownField Reason = "unknown_field" // with Options.RejectUnknown
	ReasonInvalid      Reason = "invalid"       // breaks rules; the only reason of StageValidate
)

// Reasons returns all reasons, for those who count by reason.
func Reasons() []Reason {
	return []Reason{
		ReasonTombstone, ReasonEmpty, ReasonTooLarge, ReasonNotJSON, ReasonPrettyPrinted, ReasonTrailingData, ReasonInvalidUTF8,
		ReasonNUL, ReasonLoneSurrogate, ReasonDuplicateName, ReasonTooDeep, ReasonWrapped,
		ReasonWrongType, ReasonOutOfRange, ReasonUnknownField, ReasonInvalid,
	}
}

// FieldError is one failure of one field. It never holds a value of the
// record, so it can be logged and shown.
type FieldError struct {
	// Path is the field's place with the JSON names, as in items[2].price;
	// empty for the record as a whole.
	Path string `json:"path"`
	// Rule is the name of the rule that failed; in StageDecode a Reason, or the name of
	// one cause among those of a Reason.
	Rule string `json:"rule"`
	// Message is for people.
	Message string `json:"message"`
}

// String returns the path, if there is one, and the message.
func (e FieldError) String() string {
	if e.Path == "" {
		return e.Message
	}
	return e.Path + ": " + e.Message
}

// RecordError is why a record is not a valid order. It never holds a value of the
// record.
type RecordError struct {
	Stage  Stage
	Reason Reason
	// Offset is the place of the first failure that has one, in bytes from
	// the record's start; -1 if none has, as in StageValidate. [LineColumn]
	// converts it to line and column.
	Offset int64
	// Errors are all failures, in the order of the canonical JSON; never empty.
	Errors []FieldError
}

// maxErrorsInText is how many failures the text of a RecordError lists.
const maxErrorsInText = 5

// Error returns stage, reason, place and the first failures.
func (e *RecordError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Stage, e.Reason)
	if e.Offset >= 0 {
		fmt.Fprintf(&b, " at byte %d", e.Offset)
	}
	for i, fe := range e.Errors {
		if i == maxErrorsInText {
			fmt.Fprintf(&b, "; and %d more", len(e.Errors)-i)
			break
		}
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(fe.String())
	}
	return b.String()
}

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
		if strings.HasPrefix(d.opts.VersionField+".", d.kind(shown)+".") {
			return // the setting knows it
		}
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
