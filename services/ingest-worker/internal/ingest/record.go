package ingest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/store"
)

// record is a Kafka record on its way, decoded.
type record struct {
	fetch.Record
	offset int64
	entry  *store.Entry // the valid order; nil where there is a failure
	// failure is why the record is no valid order; nil where there is an entry.
	failure *deadletter.Cause
	cost    int64 // bytes of the budget
}

// overhead is what a record takes besides its own bytes: the decoded order's
// structs, the entry, slices and headers.
const overhead = 1 << 10

// cost estimates a record's share of memory: its bytes, the decoded order's
// texts, and its rows in the buffers of COPY.
func cost(r fetch.Record) int64 {
	size := len(r.Key) + 3*len(r.Value) + overhead
	for _, h := range r.Headers {
		size += len(h.Key) + len(h.Value) + 64
	}
	return int64(size)
}

// decoder turns records into entries. Not safe for concurrent use: it has a
// buffer of its own.
type decoder struct {
	codec     *model.Codec
	limit     int // of a record, in bytes
	unknown   func(field string)
	canonical []byte
}

func (d *decoder) decode(raw fetch.Record) *record {
	r := &record{Record: raw, offset: raw.Offset}
	if raw.Cut != nil {
		r.failure = &deadletter.Cause{Stage: deadletter.StageDecode, Reason: string(model.ReasonTooLarge), Errors: []model.FieldError{{
			Rule:    string(model.ReasonTooLarge),
			Message: fmt.Sprintf("the record has %d bytes; the limit is %d", raw.Cut.Size, d.limit),
		}}}
		return r
	}
	decoded, err := d.codec.Decode(raw.Value)
	var refused *model.RecordError
	switch {
	case errors.As(err, &refused):
		r.failure = &deadletter.Cause{Stage: deadletter.Stage(refused.Stage), Reason: string(refused.Reason), Errors: refused.Errors}
		return r
	case err != nil:
		panic("model: Decode returned an error of another type: " + err.Error())
	}
	for _, field := range decoded.Unknown {
		d.unknown(field)
	}
	d.canonical = model.AppendCanonical(d.canonical[:0], decoded.Order)
	r.entry = &store.Entry{Order: decoded.Order, Hash: model.ContentHash(d.canonical)}
	return r
}

// own gives the record bytes of its own: what the fetch gave points into the
// whole answer, which one waiting record would keep in memory.
func (r *record) own() {
	r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	r.Headers = slices.Clone(r.Headers)
	for i := range r.Headers {
		r.Headers[i].Value = bytes.Clone(r.Headers[i].Value)
	}
}

// cause says why a record becomes a dead letter, once its outcome is known; nil
// if it does not.
func (r *record) cause() *deadletter.Cause {
	switch {
	case r.failure != nil:
		return r.failure
	case r.entry.Outcome == store.Conflict:
		failures := make([]model.FieldError, len(r.entry.Differs))
		for i, path := range r.entry.Differs {
			failures[i] = model.FieldError{Path: path, Rule: deadletter.ReasonConflict, Message: "differs from the stored order"}
		}
		return &deadletter.Cause{Stage: deadletter.StageConflict, Reason: deadletter.ReasonConflict, Errors: failures}
	case r.entry.Outcome == store.Refused:
		return &deadletter.Cause{Stage: deadletter.StageWrite, Reason: deadletter.ReasonRefused, Errors: []model.FieldError{{
			Rule: deadletter.ReasonRefused, Message: r.entry.Refusal,
		}}}
	}
	return nil
}

// letter writes the record's dead letter.
func (r *record) letter(topic string, partition int, group string, cause deadletter.Cause) deadletter.Letter {
	source := deadletter.Source{
		Topic: topic, Partition: partition, Offset: r.offset, Timestamp: r.Timestamp,
		Key: r.Key, Value: r.Value,
	}
	for _, h := range r.Headers {
		source.Headers = append(source.Headers, deadletter.Header{Key: h.Key, Value: h.Value})
	}
	if r.Cut != nil {
		source.Truncated = &deadletter.Truncation{Size: r.Cut.Size, SHA256: hex.EncodeToString(r.Cut.SHA256[:])}
	}
	return deadletter.New(source, cause, group, time.Now())
}
