package model

import (
	"fmt"
	"time"

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
	// KeepUnknown keeps the fields that an order does not have, within bounds. It has no
	// effect with RejectUnknown.
	KeepUnknown bool
	// CheckSums requires amount = goods_total + delivery_cost + custom_fee,
	// and goods_total = the sum of the items' total_price.
	CheckSums bool
	// Envelope is what records hold orders in. Places in messages and failures are those
	// within the order.
	Envelope Envelope
	// VersionField is the path of a field that is a record's own version, known to orders or
	// not. A record without it is refused. "" means that records have none.
	VersionField string
	// Deletions says that a null record deletes an order. Whoever knows its key decides that:
	// Decode refuses it.
	Deletions bool
	// Rules are the rules of the fields; nil means those of the tags.
	Rules *Rules
	// Normalizer brings values into the form that the rules ask for. Decode uses it only
	// with Normalize, Differs always. nil means none.
	Normalizer Normalizer
	// Normalize has Decode return orders normalized.
	Normalize bool
}

// Normalizer writes values in another way that can have only one meaning. It must be safe
// for concurrent use.
type Normalizer interface {
	// Normalize returns the order with such values normalized, or the order itself if
	// there are none. It does not change the order, and normalizing twice is the same as
	// once.
	Normalize(o *Order) *Order
	// Time reads a time that is not RFC 3339 and can mean only one moment.
	Time(s string) (time.Time, bool)
}

// Codec decodes and validates orders. It is safe for concurrent use; create one and share
// it.
type Codec struct {
	opts      Options
	checks    *checks
	validator *validator.Validate
}

// Rules are the rules of the fields.
func (c *Codec) Rules() *Rules { return c.opts.Rules }

// Deletes reports whether a null record deletes an order.
func (c *Codec) Deletes() bool { return c.opts.Deletions }

// Decoded is what a record holds.
type Decoded struct {
	// Order is the order, normalized if Options say so. Its strings do not refer to the
	// record's bytes.
	Order *Order
	// Raw is the order as the record has it. It is Order if nothing was normalized.
	Raw *Order
	// Unknown are the paths of fields that an order does not have, each once, without
	// indices (items[].colour), at most MaxUnknownFields of them. A name that could be
	// data is shown as "?". They are set with a failure too.
	Unknown []string
	// Version is the record's own; nil without Options.VersionField.
	Version *int64
}

// New returns a Codec. For limits that are not positive it uses the default.
func New(opts Options) *Codec {
	if opts.MaxRecordBytes <= 0 {
		opts.MaxRecordBytes = DefaultMaxRecordBytes
	}
	if opts.MaxItems <= 0 {
		opts.MaxItems = DefaultMaxItems
	}
	if opts.Rules == nil {
		opts.Rules = new(Rules)
	}
	opts.KeepUnknown = opts.KeepUnknown && !opts.RejectUnknown
	if opts.Normalizer == nil {
		opts.Normalize = false
	}
	return &Codec{opts: opts, checks: newChecks(opts.Rules), validator: newValidator(opts.Rules, opts.MaxItems)}
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
	d := &decoder{scanner: scanner{data: c.opts.Envelope.open(record)}, opts: &c.opts, store: new(storage)}
	if f := d.decode(); f != nil {
		return Decoded{Unknown: d.unknown}, refusal(f)
	}
	var version *int64
	if c.opts.VersionField != "" {
		version = d.version()
	}
	raw := &d.store.order
	order := raw
	if c.opts.Normalize {
		order = c.opts.Normalizer.Normalize(raw)
	}
	failures := c.failures(order, d.failures)
	switch {
	case d.reason != "":
		return Decoded{Unknown: d.unknown}, &RecordError{StageDecode, d.reason, int64(d.offset), failures}
	case len(failures) > 0:
		return Decoded{Order: order, Raw: raw, Unknown: d.unknown}, &RecordError{StageValidate, ReasonInvalid, -1, failures}
	}
	return Decoded{Order: order, Raw: raw, Unknown: d.unknown, Version: version}, nil
}

// Differs returns the paths at which an order differs from a stored one; see [Diff]. It is
// empty if the two are equal as they are, or normalized. A field that differs only in its
// form is no difference. Unknown fields are compared only if those of both were kept.
func (c *Codec) Differs(stored, o *Order) []string {
	stored, o = BothKept(stored, o)
	differs := Diff(stored, o)
	if len(differs) > 0 && c.opts.Normalizer != nil {
		differs = Diff(c.opts.Normalizer.Normalize(stored), c.opts.Normalizer.Normalize(o))
	}
	return differs
}

// ComparisonHash is the same for two orders if and only if Differs finds no difference.
func (c *Codec) ComparisonHash(o *Order) Hash {
	if c.opts.Normalizer != nil {
		o = c.opts.Normalizer.Normalize(o)
	}
	return ContentHash(AppendCanonical(nil, o))
}

// MaxRecordBytes is the size of the largest record.
func (c *Codec) MaxRecordBytes() int { return c.opts.MaxRecordBytes }

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
	if len(found) > 0 || !c.checks.surelyValid(o, c.opts.MaxItems) {
		found = append(found, withoutKnown(c.ruleFailures(o), found)...)
	}
	if c.opts.CheckSums {
		found = append(found, sumFailures(o, found)...)
	}
	sortFailures(found)
	return found
}
