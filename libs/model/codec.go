package model

import (
	"fmt"

	"github.com/go-playground/validator/v10"
)

// Defaults of [Options], and fixed limits of decoding.
const (
	DefaultMaxRecordBytes = 1 << 20
	DefaultMaxItems       = 1000
	// MaxDepth is how deep objects and arrays may be nested; the order itself
	// is the first level.
	MaxDepth = 64
	// MaxUnknownFields is how many unknown fields of a record are named.
	MaxUnknownFields = 16
)

// Options are the settings of a [Codec]; the zero value is the default.
type Options struct {
	// MaxRecordBytes is the size of the largest record; 0 means
	// DefaultMaxRecordBytes.
	MaxRecordBytes int
	// MaxItems is the largest number of items; 0 means DefaultMaxItems.
	MaxItems int
	// RejectUnknown refuses records with fields that an order does not have.
	RejectUnknown bool
	// CheckSums requires amount = goods_total + delivery_cost + custom_fee,
	// and goods_total = the sum of the items' total_price.
	CheckSums bool
}

// Codec decodes and validates orders. It is safe for concurrent use; create one and share
// it.
type Codec struct {
	opts      Options
	validator *validator.Validate
}

// Decoded is what a record holds.
type Decoded struct {
	// Order is the order. Its strings do not refer to the record's bytes.
	Order *Order
	// Unknown are the paths of fields that an order does not have, each once, without
	// indices (items[].colour), at most MaxUnknownFields of them. A name that could be
	// data is shown as "?". They are set with a failure too.
	Unknown []string
}

// New returns a Codec. For limits that are not positive it uses the default.
func New(opts Options) *Codec {
	if opts.MaxRecordBytes <= 0 {
		opts.MaxRecordBytes = DefaultMaxRecordBytes
	}
	if opts.MaxItems <= 0 {
		opts.MaxItems = DefaultMaxItems
	}
	return &Codec{opts: opts, validator: newValidator(opts.MaxItems)}
}

// Decode reads a record and validates the order in it. A nil record is a
// tombstone. The record is neither changed nor kept.
//
// The error is a *[RecordError] with all failures. With StageValidate the Order is set
// too, so that a tool can show it. Its absent fields are zero and items beyond MaxItems
// are left out, so it must not be stored.
func (c *Codec) Decode(record []byte) (Decoded, error) {
	switch {
	case record == nil:
		return Decoded{}, refusal(&fault{reason: ReasonTombstone, offset: -1, message: "the record has a null value (a tombstone) instead of an order"})
	case len(record) > c.opts.MaxRecordBytes:
		return Decoded{}, c.TooLarge(int64(len(record)))
	}
	d := &decoder{scanner: scanner{data: record}, opts: &c.opts, store: new(storage)}
	if f := d.decode(); f != nil {
		return Decoded{Unknown: d.unknown}, refusal(f)
	}
	order := &d.store.order
	failures := c.failures(order, d.failures)
	switch {
	case d.reason != "":
		return Decoded{Unknown: d.unknown}, &RecordError{StageDecode, d.reason, int64(d.offset), failures}
	case len(failures) > 0:
		return Decoded{order, d.unknown}, &RecordError{StageValidate, ReasonInvalid, -1, failures}
	}
	return Decoded{order, d.unknown}, nil
}

// TooLarge is the error of a record of so many bytes, for callers that do not read
// a record beyond Options.MaxRecordBytes.
func (c *Codec) TooLarge(size int64) *RecordError {
	return refusal(&fault{reason: ReasonTooLarge, offset: -1, message: fmt.Sprintf("the record has %d bytes; the limit is %d", size, c.opts.MaxRecordBytes)})
}

// refusal is the error of a fault, which is the record's only failure.
func refusal(f *fault) *RecordError {
	rule := f.rule
	if rule == "" {
		rule = string(f.reason)
	}
	return &RecordError{
		Stage:  StageDecode,
		Reason: f.reason,
		Offset: int64(f.offset),
		Errors: []FieldError{{f.path, rule, f.message}},
	}
}

// Validate checks an order that does not come from Decode against the same rules, and
// returns all failures in the order of the canonical JSON.
func (c *Codec) Validate(o *Order) []FieldError {
	if o == nil {
		return []FieldError{{Rule: ruleRequired, Message: "there is no order"}}
	}
	return c.failures(o, nil)
}

// failures adds the failures of rules to those of decoding.
func (c *Codec) failures(o *Order, found []FieldError) []FieldError {
	if len(found) == 1 && found[0].Path == "" {
		return found // not an object: there is nothing to check
	}
	if len(found) > 0 || !surelyValid(o, c.opts.MaxItems) {
		found = append(found, withoutKnown(c.ruleFailures(o), found)...)
	}
	if c.opts.CheckSums {
		found = append(found, sumFailures(o, found)...)
	}
	sortFailures(found)
	return found
}
