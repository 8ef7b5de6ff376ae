package dlqview

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// Details is all that can be told about a letter.
type Details struct {
	Item dlq.Item
	// Failures and Offset are those of the letter, or of reading its value
	// again; Offset is -1 where there is no place.
	Failures []model.FieldError
	Offset   int64
	// History are the letters of a row of redrives, this one among them.
	History []dlq.Item
	// Differences are those of a conflict from the stored order; nil where
	// nobody looked.
	Differences []Difference
	// StoredNote says what else is to be said of the stored order.
	StoredNote string
	Reveal     bool
}

// Difference is a field of which the stored order has another value.
type Difference struct {
	Path   string `json:"path"`
	Stored string `json:"stored"` // JSON
	Letter string `json:"letter"`
}

const timeFormat = "2006-01-02 15:04:05.999 MST"

// Show writes a letter for people.
func Show(w io.Writer, style Style, d Details) error {
	var b strings.Builder
	l := &d.Item.Letter
	fmt.Fprintf(&b, "%s\n", style.bold(Clean(l.ID)))
	field := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	status := style.yellow("open")
	if r := d.Item.Resolution; r != nil {
		status = style.green("resolved") + ": " + said(d.Item)
	}
	field("status", "%s", status)
	stage := ""
	if l.Stage != "" {
		stage = " (" + Clean(l.Stage) + ")"
	}
	field("reason", "%s%s", Clean(l.Reason), stage)
	field("failed", "%s%s", l.FailedAt.UTC().Format(timeFormat), after(", by ", Clean(l.Group)))
	if l.Source.Topic != "" {
		field("source", "%s, partition %d, offset %d%s", Clean(l.Source.Topic), l.Source.Partition, l.Source.Offset, after(", written ", when(l.SourceTimestamp)))
	} else {
		field("source", "unknown: the headers don't say")
	}
	if l.SourceKey != nil {
		key := l.SourceKey
		if !d.Reveal {
			key = mask.Text(key)
		}
		field("key", "%s", Clean(string(key)))
	}
	field("redriven", "%s", plural(l.Redrives, "time"))
	if l.EditedFrom != "" {
		field("edited", "by %s, from %s", Clean(l.EditedBy), Clean(l.EditedFrom))
	}
	if l.Format != letter.Orderhub {
		field("format", "%s, in %s", l.Format, Clean(l.Place.String()))
	}

	if len(d.Failures) > 0 {
		fmt.Fprintf(&b, "\n%s\n", style.bold("Why"))
		for _, f := range d.Failures {
			fmt.Fprintf(&b, "  %s [%s]\n", Clean(f.String()), Clean(f.Rule))
		}
	}
	if l.Exception.Message != "" {
		message := l.Exception.Message
		if !d.Reveal {
			message = mask.Message(message)
		}
		fmt.Fprintf(&b, "  %s\n", Clean(message))
	}

	note := ""
	if t := l.Truncated; t != nil {
		note = fmt.Sprintf(", cut from %d", t.Size)
	}
	fmt.Fprintf(&b, "\n%s %s\n%s", style.bold("Value"), style.dim(fmt.Sprintf("(%s%s)", plural(len(l.Value), "byte"), note)), style.Value(l.Value, d.Failures, d.Offset, d.Reveal))

	if len(l.SourceHeaders) > 0 {
		fmt.Fprintf(&b, "\n%s\n", style.bold("Headers of the source"))
		for _, h := range headersOf(d) {
			fmt.Fprintf(&b, "  %s: %s\n", Clean(h.Key), Clean(h.Value))
		}
	}
	if d.Differences != nil || d.StoredNote != "" {
		fmt.Fprintf(&b, "\n%s\n", style.bold("Against the stored order"))
		if d.StoredNote != "" {
			fmt.Fprintf(&b, "  %s\n", d.StoredNote)
		}
		for _, difference := range d.hidden() {
			fmt.Fprintf(&b, "  %s\n    %s\n    %s\n", Clean(difference.Path),
				style.red("- stored  "+Clean(difference.Stored)), style.green("+ letter  "+Clean(difference.Letter)))
		}
	}
	if len(d.History) > 1 {
		fmt.Fprintf(&b, "\n%s\n", style.bold("History"))
		for _, item := range d.History {
			mark := " "
			if item.ID == l.ID {
				mark = "*"
			}
			fate := "open"
			if item.Resolution != nil {
				fate = said(item)
			}
			fmt.Fprintf(&b, "%s %s  %s  %s: %s\n", mark, when(item.FailedAt), Clean(item.ID), Clean(item.Reason), fate)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// said is what was done about a letter.
func said(item dlq.Item) string {
	r := item.Resolution
	return Clean(string(r.Kind)+after(" by ", r.By)+edited(r.Edited)+after(" on ", when(r.When))+after(" as ", r.Became)) + after(": ", Clean(r.Why))
}

func edited(is bool) string {
	if is {
		return ", edited"
	}
	return ""
}

func after(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeFormat)
}

// hidden are the differences, a person's data masked.
func (d *Details) hidden() []Difference {
	shown := make([]Difference, len(d.Differences))
	for i, difference := range d.Differences {
		if !d.Reveal && mask.PersonalPath(difference.Path) {
			difference.Stored, difference.Letter = mask.Hidden, mask.Hidden
		}
		shown[i] = difference
	}
	return shown
}

// Header is a header for programs. Bytes that are no text are in hex.
type Header struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func headersOf(d Details) []Header {
	headers := make([]Header, 0, len(d.Item.SourceHeaders))
	for _, h := range d.Item.SourceHeaders {
		value := h.Value
		if !d.Reveal {
			value = mask.Header(h.Key, value)
		}
		headers = append(headers, Header{h.Key, keyText(value)})
	}
	return headers
}

type resolutionJSON struct {
	Kind   string    `json:"kind"`
	By     string    `json:"by"`
	When   time.Time `json:"when"`
	Why    string    `json:"why,omitempty"`
	Became string    `json:"became,omitempty"`
	Edited bool      `json:"edited,omitempty"`
}

type sourceJSON struct {
	Topic     string     `json:"topic"`
	Partition int32      `json:"partition"`
	Offset    int64      `json:"offset"`
	Timestamp *time.Time `json:"timestamp,omitempty"`
}

type historyJSON struct {
	Line
	Resolution *resolutionJSON `json:"resolution,omitempty"`
}

// ShowJSON writes a letter for programs.
func ShowJSON(w io.Writer, d Details) error {
	l := &d.Item.Letter
	out := struct {
		Line
		Format      letter.Format   `json:"format"`
		Source      *sourceJSON     `json:"source,omitempty"`
		Group       string          `json:"group,omitempty"`
		Origin      string          `json:"origin"`
		EditedBy    string          `json:"edited_by,omitempty"`
		EditedFrom  string          `json:"edited_from,omitempty"`
		Offset      *int64          `json:"error_offset,omitempty"`
		Truncated   bool            `json:"truncated,omitempty"`
		Exception   string          `json:"exception,omitempty"`
		Value       *string         `json:"value"`
		ValueBase64 string          `json:"value_base64,omitempty"`
		Masked      bool            `json:"masked"`
		Headers     []Header        `json:"headers"`
		Resolution  *resolutionJSON `json:"resolution,omitempty"`
		History     []historyJSON   `json:"history"`
		Differences []Difference    `json:"differences,omitempty"`
	}{
		Line: LineOf(l, d.Item.Ref.Status), Format: l.Format, Group: l.Group, Origin: l.Origin, EditedBy: l.EditedBy, EditedFrom: l.EditedFrom, Truncated: l.Truncated != nil,
		Masked: !d.Reveal, Headers: headersOf(d), Resolution: resolutionOf(d.Item), Differences: d.hidden(), Exception: l.Exception.Message,
	}
	if l.Source.Topic != "" {
		out.Source = &sourceJSON{Topic: l.Source.Topic, Partition: l.Source.Partition, Offset: l.Source.Offset}
		if at := l.SourceTimestamp.UTC(); !at.IsZero() {
			out.Source.Timestamp = &at
		}
	}
	if d.Offset >= 0 {
		out.Offset = &d.Offset
	}
	value := l.Value
	if d.Reveal {
		out.Key = keyText(l.SourceKey)
	} else {
		value = mask.Value(value)
		out.Exception = mask.Message(out.Exception)
	}
	switch {
	case value == nil:
	case utf8.Valid(value):
		text := string(value)
		out.Value = &text
	default:
		out.ValueBase64 = base64.StdEncoding.EncodeToString(value)
	}
	out.History = make([]historyJSON, len(d.History))
	for i, item := range d.History {
		out.History[i] = historyJSON{LineOf(&item.Letter, item.Ref.Status), resolutionOf(item)}
	}
	return WriteJSON(w, out)
}

func resolutionOf(item dlq.Item) *resolutionJSON {
	if item.Resolution == nil {
		return nil
	}
	r := item.Resolution
	return &resolutionJSON{Kind: string(r.Kind), By: r.By, When: r.When, Why: r.Why, Became: r.Became, Edited: r.Edited}
}
