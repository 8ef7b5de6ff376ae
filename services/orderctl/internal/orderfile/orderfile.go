// Package orderfile reads orders from a file, checks each as the worker would,
// and says where in the file each failure is.
package orderfile

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/jsonsplit"
)

// Failure is a failure with its place in the file, from 1; columns count
// characters. It holds no value of the order.
type Failure struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	// Offset is in bytes from the start of the record's text.
	Offset int64 `json:"-"`
	model.FieldError
}

// Entry is one value of the file.
type Entry struct {
	Line, Column int
	// Record is the value on one line and otherwise untouched. Where the text
	// is not JSON it is the text as it stands.
	Record []byte
	// UID is the order_uid, if there is one of the right form.
	UID string
	// Failures are all failures; none means that the order is valid.
	Failures []Failure
	// Unknown are the paths of fields that an order doesn't have.
	Unknown []string
}

// Reader reads a file's entries. It is for one goroutine.
type Reader struct {
	split *jsonsplit.Splitter
	codec *model.Codec
}

// NewReader returns a Reader. Without a codec the entries are not checked, and
// only text that is not JSON is a failure.
func NewReader(r io.Reader, codec *model.Codec) *Reader {
	return &Reader{split: jsonsplit.New(r), codec: codec}
}

// Next returns the next entry, or io.EOF after the last. Other errors are those
// of reading, or of a file that cannot hold orders.
func (r *Reader) Next() (Entry, error) {
	value, err := r.split.Next()
	if err != nil {
		return Entry{}, err
	}
	entry := Entry{Line: value.Line, Column: value.Column, Record: bytes.Clone(value.Raw)}
	if broken := value.Broken; broken != nil {
		failure := model.FieldError{Rule: string(model.ReasonNotJSON), Message: "is not JSON: " + broken.Message}
		entry.Failures = []Failure{{Line: broken.Line, Column: broken.Column, FieldError: r.cause(value.Raw, failure)}}
		return entry, nil
	}
	if err := (*jsontext.Value)(&entry.Record).Compact(); err != nil {
		return Entry{}, err // it was read as JSON before
	}
	if r.codec != nil {
		r.check(&entry, value)
	}
	if entry.UID == "" {
		entry.UID = orderUID(entry.Record)
	}
	return entry, nil
}

// cause is the failure of text that is not JSON, by the cause that decoding finds, or the
// given one if it finds none that is better.
func (r *Reader) cause(raw []byte, otherwise model.FieldError) model.FieldError {
	if r.codec == nil {
		return otherwise
	}
	_, err := r.codec.Decode(raw)
	refused, _ := errors.AsType[*model.RecordError](err)
	if refused == nil || refused.Reason != model.ReasonNotJSON || refused.Errors[0].Rule == string(model.ReasonNotJSON) {
		return otherwise
	}
	return refused.Errors[0]
}

// check decodes the record as it would be sent, and finds the failures' places
// in the value as it stands in the file.
func (r *Reader) check(entry *Entry, value jsonsplit.Value) {
	decoded, _, failures := Check(r.codec, entry.Record, value.Raw)
	entry.Unknown, entry.Failures = decoded.Unknown, failures
	if len(failures) == 0 {
		entry.UID = decoded.Order.OrderUID
	}
	for i := range failures {
		if f := &failures[i]; f.Line == 1 {
			f.Column += value.Column - 1
		}
		failures[i].Line += value.Line - 1
	}
}

// Check decodes a record as it would be sent, and finds the failures' places in its text,
// which may have further white space.
func Check(codec *model.Codec, record, text []byte) (model.Decoded, model.Reason, []Failure) {
	decoded, err := codec.Decode(record)
	if err == nil {
		return decoded, "", nil
	}
	var refused *model.RecordError
	if !errors.As(err, &refused) {
		refused = &model.RecordError{Offset: -1, Errors: []model.FieldError{{Rule: "decode", Message: err.Error()}}}
	}
	places := model.Locate(text, refused.Errors)
	// Decoding ended at the first failure of this kind and knows its place
	// best; in the text, that is another one.
	var there *model.RecordError
	if _, err := codec.Decode(text); errors.As(err, &there) && there.Reason == refused.Reason && there.Offset >= 0 && len(refused.Errors) == 1 {
		places[0] = there.Offset
	}
	failures := make([]Failure, len(refused.Errors))
	// Failures mostly come in the order of their places, and may be as many as fields.
	var from int64
	line, column := 1, 1
	for i, f := range refused.Errors {
		at := min(max(places[i], 0), int64(len(text)))
		if at < from {
			from, line, column = 0, 1, 1
		}
		further, along := model.LineColumn(text[from:], at-from)
		if from, line = at, line+further-1; further > 1 {
			column = along
		} else {
			column += along - 1
		}
		failures[i] = Failure{line, column, places[i], f}
	}
	return decoded, refused.Reason, failures
}

// orderUID finds the order_uid in an object, without any of the other rules.
func orderUID(record []byte) string {
	var order struct {
		UID string `json:"order_uid"`
	}
	err := json.Unmarshal(record, &order, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err != nil || !model.IsOrderUID(order.UID) {
		return ""
	}
	return order.UID
}
