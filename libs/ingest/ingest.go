// Package ingest decides what becomes of a source record: an order that is stored or
// replaces an older one, a deletion, a duplicate, a stale record, or a dead letter. It has no Kafka client. Records and letters are
// plain data, so that a consumer and an operator's tool come to the same outcome.
//
//	decoder := ingest.NewDecoder(codec, nil)
//	records = append(records, decoder.Decode(source)) // … for each record
//	err := ingest.Store(ctx, writer, records)         // *orderwrite.Writer; retry on an error
//	letters, err := ingest.SendLetters(ctx, records, writer, group, send)
package ingest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
)

// Outcome is what became of a record: that of its order's entry, or DeadLetter.
type Outcome = orderwrite.Outcome

// The outcomes. Pending is a valid order that Store has not decided.
const (
	Pending            = orderwrite.Pending
	Stored             = orderwrite.Stored
	Duplicate          = orderwrite.Duplicate
	DeadLetter Outcome = "dead_letter" // see Record.Cause
	Replaced           = orderwrite.Replaced
	Stale              = orderwrite.Stale
	Deleted            = orderwrite.Deleted
	Erased             = orderwrite.Erased
)

// Outcomes are those that a record can end with.
func Outcomes() []Outcome {
	return []Outcome{Stored, Duplicate, DeadLetter, Replaced, Stale, Deleted, Erased}
}

// Record is a source record with its decoded order, or the order that it deletes.
type Record struct {
	Source deadletter.Source

	entry   orderwrite.Entry  // the valid order; zero if there is a failure
	failure *deadletter.Cause // why the record is no valid order
	erased  bool              // it is not to become a dead letter
	rules   string            // version of the rules file; "" without one
}

// Decoder decodes and validates records. It has a buffer of its own, so it is not
// safe for concurrent use.
type Decoder struct {
	codec     *model.Codec
	unknown   func(field string)
	canonical []byte
}

// NewDecoder returns a decoder. Unknown, which may be nil, is called with the path
// of each field that an order does not have; see model.Decoded.
func NewDecoder(codec *model.Codec, unknown func(field string)) *Decoder {
	if unknown == nil {
		unknown = func(string) {}
	}
	return &Decoder{codec: codec, unknown: unknown}
}

// Decode decodes and validates a record, which is kept. One that source.Truncated
// says is cut becomes a dead letter for its size.
func (d *Decoder) Decode(source deadletter.Source) *Record {
	r := new(Record)
	d.DecodeInto(r, source)
	return r
}

// DecodeInto is Decode into a record that is a part of something larger. It must not be
// copied later.
func (d *Decoder) DecodeInto(r *Record, source deadletter.Source) {
	*r = Record{Source: source, rules: d.codec.Rules().Version()}
	if source.Truncated != nil {
		r.failure = failureOf(d.codec.TooLarge(source.Truncated.Size))
		return
	}
	if source.Value == nil && d.codec.Deletes() && model.IsOrderUID(string(source.Key)) {
		version, refused := d.codec.DeletionVersion(source.Header)
		if refused != nil {
			r.failure = failureOf(refused)
			return
		}
		r.entry = orderwrite.Entry{Deletes: string(source.Key), Stamp: source.Stamp(version)}
		return
	}
	decoded, err := d.codec.Decode(source.Value)
	if err != nil {
		var refused *model.RecordError
		if !errors.As(err, &refused) {
			panic("model: Decode returned an error of another type: " + err.Error())
		}
		r.failure = failureOf(refused)
		return
	}
	for _, field := range decoded.Unknown {
		d.unknown(field)
	}
	// The hash covers the raw reading, so a replay is recognized whatever is normalized then.
	d.canonical = model.AppendCanonical(d.canonical[:0], decoded.Raw.WithoutUnknown())
	r.entry = orderwrite.Entry{Order: decoded.Order, Hash: model.ContentHash(d.canonical), Stamp: source.Stamp(decoded.Version)}
	if decoded.Raw.UnknownFields != "" {
		d.canonical = model.AppendCanonical(d.canonical[:0], decoded.Raw)
		r.entry.Kept = new(model.KeptHash(d.canonical))
	}
}

func failureOf(refused *model.RecordError) *deadletter.Cause {
	return &deadletter.Cause{Stage: deadletter.Stage(refused.Stage), Reason: string(refused.Reason), Errors: refused.Errors}
}

// Writer writes orders; an *orderwrite.Writer is one. There may be none to write.
type Writer interface {
	Write(ctx context.Context, entries []*orderwrite.Entry) error
}

// Store writes the valid orders among the records, which decides their outcomes.
// After an error, which is never a record's, it can be called again.
func Store(ctx context.Context, w Writer, records []*Record) error {
	entries := make([]*orderwrite.Entry, 0, len(records))
	for _, r := range records {
		if r.failure == nil {
			entries = append(entries, &r.entry)
		}
	}
	return w.Write(ctx, entries)
}

// SetTraceparent sets the header of the record's span, for those who see its order
// stored. A record without an order has no use for it.
func (r *Record) SetTraceparent(traceparent string) { r.entry.Traceparent = traceparent }

// OrderUID is that of a valid order, or of one that the record deletes; "" of others.
func (r *Record) OrderUID() string { return r.entry.UID() }

// Order is the record's order; nil if it is not a valid one.
func (r *Record) Order() *model.Order { return r.entry.Order }

// Accept returns the record's order as an entry that replaces the stored one; nil if it is
// no valid order.
func (r *Record) Accept() *orderwrite.Entry {
	if r.Order() == nil {
		return nil
	}
	r.entry.Accepted = true
	return &r.entry
}

// Outcome returns what became of the record.
func (r *Record) Outcome() Outcome {
	switch {
	case r.erased:
		return Erased
	case r.failure != nil, r.entry.Outcome == orderwrite.Conflict, r.entry.Outcome == orderwrite.Refused:
		return DeadLetter
	}
	return r.entry.Outcome
}

// Cause returns why the record is a dead letter; nil if it is none.
func (r *Record) Cause() *deadletter.Cause {
	cause := r.cause()
	if cause != nil {
		cause.Rules = r.rules
	}
	return cause
}

func (r *Record) cause() *deadletter.Cause {
	switch {
	case r.erased:
		return nil
	case r.failure != nil:
		return r.failure
	case r.entry.Outcome == orderwrite.Conflict:
		return &deadletter.Cause{Stage: deadletter.StageConflict, Reason: deadletter.ReasonConflict, Errors: ConflictErrors(r.entry.Differs)}
	case r.entry.Outcome == orderwrite.Refused:
		return &deadletter.Cause{Stage: deadletter.StageWrite, Reason: deadletter.ReasonRefused, Errors: []model.FieldError{{
			Rule: deadletter.ReasonRefused, Message: r.entry.Refusal,
		}}}
	}
	return nil
}

// ConflictErrors are the errors of an order that differs from the stored one at
// these paths; see model.Diff.
func ConflictErrors(differs []string) []model.FieldError {
	failures := make([]model.FieldError, len(differs))
	for i, path := range differs {
		failures[i] = model.FieldError{Path: path, Rule: deadletter.ReasonConflict, Message: "differs from the stored order"}
	}
	return failures
}

// Erasures are the erased orders as a writer knows them; an *orderwrite.Writer has them.
type Erasures interface {
	Known() *erased.Known
	// Refresh reads them again if others were erased meanwhile: Known is another then.
	Refresh(ctx context.Context) error
}

// SendLetters has the dead letters among the records sent, and returns them. A record whose
// order was erased, as far as its order_uid can be read, becomes no letter. It may have one
// that was written before, or just now while its order was erased: so a tombstone is sent.
func SendLetters(ctx context.Context, records []*Record, erasures Erasures, group string, send func(context.Context, []deadletter.Letter) error) (dead []deadletter.Letter, err error) {
	if erasures.Known() == nil { // no transaction was needed yet, which would have read them
		if err := erasures.Refresh(ctx); err != nil {
			return nil, err
		}
	}
	for {
		known := erasures.Known()
		keepErased(records, known)
		dead = Letters(records, group, time.Now())
		sent := slices.Clone(dead)
		for _, r := range records {
			if r.Outcome() == Erased {
				sent = append(sent, deadletter.Letter{ID: deadletter.ID(r.Source)})
			}
		}
		if len(sent) == 0 {
			return nil, nil
		}
		if err := send(ctx, sent); err != nil {
			return nil, err
		}
		if err := erasures.Refresh(ctx); err != nil {
			return nil, err
		}
		if erasures.Known() == known { // others may have refreshed it, too
			return dead, nil
		}
	}
}

// keepErased keeps records of erased orders from becoming letters.
func keepErased(records []*Record, known *erased.Known) {
	if known.Empty() {
		return
	}
	for _, r := range records {
		if r.Outcome() == DeadLetter {
			r.erased = known.HasAny(deadletter.OrderUIDs(r.Source.Key, r.Source.Value))
		}
	}
}

// Letters returns the dead letters among the records, in their order. Group is the
// consumer group that the letters name. The letters share the records' bytes.
func Letters(records []*Record, group string, failedAt time.Time) []deadletter.Letter {
	var letters []deadletter.Letter
	for _, r := range records {
		if cause := r.Cause(); cause != nil {
			letters = append(letters, deadletter.New(r.Source, *cause, group, failedAt))
		}
	}
	return letters
}
