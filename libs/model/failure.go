package model

import (
	"fmt"
	"strings"
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
