package dlqview

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// Details is all that is known of a letter, with personal data. Present makes of it
// what is shown.
type Details struct {
	Item dlq.Item
	// Offset is where reading the value stops; -1 where it does not.
	Offset int64
	// History are the letters of a row of redrives, this one among them.
	History []dlq.Item
	// Differences are those of a conflict from the stored order; nil where
	// they were not compared.
	Differences []Difference
	// StoredNote is a further remark about the stored order.
	StoredNote string
}

// Difference is a field of which the stored order has another value.
type Difference struct {
	Path   string `json:"path"`
	Stored string `json:"stored"` // JSON
	Letter string `json:"letter"`
}

// Letter is a letter as terminal, JSON and console show it. Unless it was made with
// reveal, it holds no personal data.
type Letter struct {
	Line
	Format      letter.Format `json:"format"`
	Source      *Source       `json:"source,omitempty"`
	Group       string        `json:"group,omitempty"`
	Origin      string        `json:"origin"`
	Rules       string        `json:"rules,omitempty"`
	EditedBy    string        `json:"edited_by,omitempty"`
	EditedFrom  string        `json:"edited_from,omitempty"`
	Offset      *int64        `json:"error_offset,omitempty"`
	Truncated   bool          `json:"truncated,omitempty"`
	Exception   string        `json:"exception,omitempty"`
	Value       *string       `json:"value"`
	ValueBase64 string        `json:"value_base64,omitempty"`
	Masked      bool          `json:"masked"`
	Headers     []Header      `json:"headers"`
	Resolution  *Resolution   `json:"resolution,omitempty"`
	History     []HistoryLine `json:"history"`
	Differences []Difference  `json:"differences,omitempty"`

	StoredNote string `json:"-"`
	// HasKey is false where the source record's key is null.
	HasKey bool `json:"-"`
	// Place is where the letter stands in its own topic.
	Place letter.Place `json:"-"`
	// Stored is how many bytes of the value the letter has; Size is the source's.
	Stored int `json:"-"`
	// Shown is the value line by line, with what is wrong at each.
	Shown ShownValue `json:"-"`
}

// Source is where the record came from.
type Source struct {
	Topic     string     `json:"topic"`
	Partition int32      `json:"partition"`
	Offset    int64      `json:"offset"`
	Timestamp *time.Time `json:"timestamp,omitempty"`
}

// Header is one of the source record's. Bytes that are no text are in hex.
type Header struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Resolution is what was done about a letter.
type Resolution struct {
	Kind string `json:"kind"`
	letter.Resolution
}

// HistoryLine is a letter with what was done about it.
type HistoryLine struct {
	Line
	Resolution *Resolution `json:"resolution,omitempty"`
}

// Present makes of details what is shown. Without reveal personal data is masked.
func Present(d Details, reveal bool) Letter {
	item := &d.Item
	shown := Letter{
		Line: LineOf(&item.Letter, item.Ref.Status), Format: item.Format, Group: mask.Label(item.Group), Origin: mask.ID(item.Origin),
		Rules: item.Rules, EditedBy: item.EditedBy, EditedFrom: mask.ID(item.EditedFrom), Truncated: item.Truncated != nil,
		Masked: !reveal, Headers: make([]Header, 0, len(item.SourceHeaders)), Resolution: ResolutionOf(item.Resolution),
		History: make([]HistoryLine, len(d.History)), StoredNote: d.StoredNote,
		HasKey: item.SourceKey != nil, Place: item.Place, Stored: len(item.Value),
	}
	value := item.Value
	if reveal {
		shown.ID, shown.Key, shown.Errors = item.ID, keyText(item.SourceKey), append([]model.FieldError{}, item.Errors()...)
		shown.Exception = item.Exception.Message
	} else {
		value = mask.Value(value)
		shown.Exception = mask.Message(item.Exception.Message)
	}
	if item.Source.Topic != "" {
		shown.Source = &Source{Topic: mask.Label(item.Source.Topic), Partition: item.Source.Partition, Offset: item.Source.Offset}
		if at := item.SourceTimestamp.UTC(); !at.IsZero() {
			shown.Source.Timestamp = &at
		}
	}
	if d.Offset >= 0 {
		shown.Offset = &d.Offset
	}
	switch {
	case value == nil:
	case utf8.Valid(value):
		text := string(value)
		shown.Value = &text
	default:
		shown.ValueBase64 = base64.StdEncoding.EncodeToString(value)
	}
	shown.Shown = ShowValue(value, shown.Errors, d.Offset)
	for _, h := range item.SourceHeaders {
		if !reveal {
			h.Key, h.Value = mask.HeaderName(h.Key), mask.Header(h.Key, h.Value)
		}
		shown.Headers = append(shown.Headers, Header{h.Key, keyText(h.Value)})
	}
	for i := range d.History {
		shown.History[i] = HistoryOf(&d.History[i])
	}
	if d.Differences != nil {
		shown.Differences = make([]Difference, len(d.Differences))
		for i, difference := range d.Differences {
			if !reveal {
				path := strings.Split(difference.Path, ".")
				difference.Stored, difference.Letter = mask.Scalar(path, difference.Stored), mask.Scalar(path, difference.Letter)
			}
			shown.Differences[i] = difference
		}
	}
	return shown
}

// HistoryOf is a letter's line, masked, with its resolution.
func HistoryOf(item *dlq.Item) HistoryLine {
	return HistoryLine{LineOf(&item.Letter, item.Ref.Status), ResolutionOf(item.Resolution)}
}

// ResolutionOf is a resolution as it is shown; nil stays nil.
func ResolutionOf(r *letter.Resolution) *Resolution {
	if r == nil {
		return nil
	}
	shown := Resolution{string(r.Kind), *r}
	shown.Became, shown.Replaced = mask.ID(r.Became), 0 // the number is of use to an undo only
	return &shown
}

// MaskCause masks the parts of a cause.
func MaskCause(reason, rule, path string) (shownReason, shownRule, shownPath string) {
	return mask.Label(reason), mask.Label(rule), mask.Path(path)
}

// Inspect gathers what there is about the letter with an id. Without orders (nil)
// a conflict is not compared with the stored order. The error is one of
// dlq.Find's where there is no such letter, or more than one.
func Inspect(ctx context.Context, box *dlq.Queue, id string, codec *model.Codec, orders dryrun.Orders) (Details, error) {
	items, _, err := box.Find(ctx, id)
	if err != nil {
		return Details{}, err
	}
	item := items[0]
	d := Details{Item: item, Offset: Offset(&item.Letter, codec)}
	if d.History, err = box.History(ctx, item); err != nil {
		return d, err
	}
	return d, d.Compare(ctx, codec, orders)
}

// Offset is the byte where reading the value stops, -1 if it doesn't. The
// letter's headers don't say.
func Offset(l *letter.Letter, codec *model.Codec) int64 {
	if l.Truncated != nil {
		return -1
	}
	_, err := codec.Decode(l.Value)
	refused, ok := errors.AsType[*model.RecordError](err)
	// Places of single fields are found by their paths.
	if !ok || json.Valid(bytes.TrimPrefix(l.Value, []byte(model.ByteOrderMark))) && len(refused.Errors) > 0 && refused.Errors[0].Path != "" {
		return -1
	}
	if slices.Contains([]model.Reason{model.ReasonWrongType, model.ReasonOutOfRange, model.ReasonUnknownField}, refused.Reason) {
		return -1
	}
	return refused.Offset
}

// Compare adds how a conflict differs from the stored order. It does nothing for
// other letters, and without orders (nil).
func (d *Details) Compare(ctx context.Context, codec *model.Codec, orders dryrun.Orders) error {
	if d.Item.Reason != deadletter.ReasonConflict || orders == nil {
		return nil
	}
	decoded, err := codec.Decode(d.Item.Value)
	if _, refused := errors.AsType[*model.RecordError](err); refused {
		d.StoredNote = "The letter is no valid order by today's rules, so there is nothing to compare."
		return nil
	}
	stored, err := orders(ctx, []string{decoded.Order.OrderUID})
	if err != nil {
		return err
	}
	order, there := stored[decoded.Order.OrderUID]
	if !there {
		d.StoredNote = "The order is not stored now: redriven, the letter would be stored."
		return nil
	}
	d.Differences = []Difference{}
	for _, path := range codec.Differs(order.Order, decoded.Order) {
		d.Differences = append(d.Differences, Difference{Path: path, Stored: string(model.ValueAt(order.Order, path)), Letter: string(model.ValueAt(decoded.Order, path))})
	}
	if len(d.Differences) == 0 {
		d.StoredNote = "The stored order is the same now: redriven, the letter would be a duplicate."
	}
	return nil
}
