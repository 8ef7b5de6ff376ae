package page

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/pasted"
	"github.com/orderhub/orderhub/libs/platform/web"
)

// filter is the part of an address that selects a list.
type filter struct {
	Fields []field // of the form, set or not
	Cursor string
	// Problem is the error of a filter in a sentence; "" for none.
	Problem     string
	WrongCursor bool     // the problem is the cursor
	Choices     []choose // what a filter that caused the problem may mean

	api url.Values // the same list in the API's parameters
}

// choose is one of several readings of a filter, and the list with it.
type choose struct{ Text, Address string }

// field is a field of the form.
type field struct {
	Name, Label, Hint string
	Value             string    // as it was given
	Moment            time.Time // of a date
	Wrong             bool
	kind              fieldKind
}

type fieldKind int

const (
	words fieldKind = iota
	date
	amount
)

// maxFilter is in bytes. Longer values are cut: no order has them.
const maxFilter = 4 * maxSearch

// readFilter reads the filters of an address. Amounts have the decimal digits of the
// currency that is asked for, or that is written beside one of them, or two. Dates without a zone are UTC, since the browser's
// zone is unknown without JavaScript. masked leaves out fields for personal data.
func readFilter(query url.Values, masked bool) filter {
	f := filter{Cursor: query.Get("cursor"), api: url.Values{}, Fields: []field{
		{Name: "customer_id", Label: "Customer"},
		{Name: "track_number", Label: "Track number"},
		{Name: "delivery_service", Label: "Delivery service"},
		{Name: "currency", Label: "Currency", Hint: "such as USD"},
		{Name: "amount_from", Label: "Amount from", Hint: "such as 18.17", kind: amount},
		{Name: "amount_to", Label: "Amount to", Hint: "such as 250", kind: amount},
		{Name: "created_from", Label: "Created from", kind: date},
		{Name: "created_to", Label: "Created to", kind: date},
		{Name: "updated_from", Label: "Updated from", kind: date},
		{Name: "updated_to", Label: "Updated to", kind: date},
		{Name: "locale", Label: "Locale", Hint: "such as en"},
		{Name: "brand", Label: "Brand of an item"},
		{Name: "nm_id", Label: "nm_id of an item"},
		{Name: "status", Label: "Status of an item", Hint: "such as 202"},
		{Name: "name", Label: "Recipient", Hint: "such as Anna*"},
		{Name: "email", Label: "E-mail"},
		{Name: "phone", Label: "Phone", Hint: "such as +972*"},
	}}
	f.Fields = slices.DeleteFunc(f.Fields, func(field field) bool { return masked && model.IsPersonal(field.Name) })
	for i := range f.Fields {
		field := &f.Fields[i]
		field.Value = field.clean(query.Get(field.Name))
		if len(field.Value) > maxFilter {
			field.Value = strings.ToValidUTF8(field.Value[:maxFilter], "")
		}
	}
	currency := f.currency()
	for i := range f.Fields {
		field := &f.Fields[i]
		if field.Value == "" {
			continue
		}
		name, value, err := field.read(currency)
		if err != nil {
			field.Wrong = true
			f.Problem = fmt.Sprintf("%s: “%s” %s.", field.Label, cut(field.Value), err)
			f.Choices = nil
			if several, ok := errors.AsType[*ambiguousError](err); ok {
				for _, reading := range several.Readings {
					f.Choices = append(f.Choices, choose{strings.TrimSpace(reading + " " + currency), f.with(field.Name, reading)})
				}
			}
			continue
		}
		f.api.Set(name, value)
	}
	return f
}

// clean removes what comes along when a value is pasted. Texts are compared as they
// stand, so within them everything stays.
func (f *field) clean(text string) string {
	switch {
	case f.Name == "currency":
		if code := strings.ToUpper(pasted.Clean(text)); currencyCode.MatchString(code) {
			return code
		}
	case f.kind != words:
		return pasted.Clean(text)
	}
	return pasted.Trim(text)
}

// currency is the currency that is asked for. If only an amount names one, it is a
// filter, too.
func (f *filter) currency() string {
	var asked *field
	beside := ""
	for i := range f.Fields {
		field := &f.Fields[i]
		if field.Name == "currency" {
			asked = field
		} else if field.kind == amount {
			beside = cmp.Or(beside, readAmount(field.Value).currency)
		}
	}
	asked.Value = cmp.Or(asked.Value, beside)
	return asked.Value
}

// read gives the API's parameter.
func (f *field) read(currency string) (name, value string, err error) {
	switch f.kind {
	case amount:
		minor, err := readAmount(f.Value).in(currency)
		name := map[string]string{"amount_from": "amount_min", "amount_to": "amount_max"}[f.Name]
		return name, strconv.FormatInt(minor, 10), err
	case date:
		f.Moment, err = parseMoment(f.Value)
		return f.Name, f.Moment.Format(time.RFC3339Nano), err
	case words:
	}
	if begin, is := strings.CutSuffix(f.Value, "*"); is && slices.Contains([]string{"name", "email", "phone"}, f.Name) {
		return f.Name + "_prefix", begin, nil
	}
	return f.Name, f.Value, nil
}

// parseMoment reads a time as the API, date fields of browsers and the pages write it.
func parseMoment(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04", "2006-01-02T15:04:05", time.DateOnly, web.TimeText, web.TimeExact} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("is no date such as 2026-05-01T10:00")
}

// IsDate tells whether the field is for a date.
func (f field) IsDate() bool { return f.kind == date }

// IsAmount tells whether the field is for an amount.
func (f field) IsAmount() bool { return f.kind == amount }

// Shown is the value as a form's field takes it.
func (f field) Shown() string {
	if f.kind == date && !f.Moment.IsZero() {
		return f.Moment.Format("2006-01-02T15:04")
	}
	return f.Value
}

// Personal tells whether there are fields for personal data.
func (f filter) Personal() bool {
	return slices.ContainsFunc(f.Fields, func(field field) bool { return model.IsPersonal(field.Name) })
}

// Set are the fields that filter something.
func (f filter) Set() []field {
	var set []field
	for _, field := range f.Fields {
		if field.Value != "" && !field.Wrong {
			set = append(set, field)
		}
	}
	return set
}

// values are the address's filters.
func (f filter) values() url.Values {
	values := url.Values{}
	for _, field := range f.Set() {
		values.Set(field.Name, field.Value)
	}
	return values
}

// with is the address of the list with another value of a field, wrong ones included.
func (f filter) with(name, value string) string {
	values := url.Values{}
	for _, field := range f.Fields {
		if field.Value != "" {
			values.Set(field.Name, field.Value)
		}
	}
	values.Set(name, value)
	return address(values, false)
}

// Without is the address of the list without one of its filters.
func (f filter) Without(name string) string {
	values := f.values()
	values.Del(name)
	return address(values, false)
}

// At is the address of the part of the list at a cursor; "": of the first part.
func (f filter) At(cursor string) string {
	values := f.values()
	if cursor != "" {
		values.Set("cursor", cursor)
	}
	return address(values, false)
}

// Stream is the address of the changes that concern the list.
func (f filter) Stream() string { return apiAddress("/api/v1/orders/stream", f.api) }

// API is the address of the list for programs.
func (f filter) API() string { return apiAddress("/api/v1/orders", f.api) }

// Export is the address of all of the list, to be downloaded.
func (f filter) Export(format string) string {
	query := maps.Clone(f.api)
	query.Set("format", format)
	return apiAddress("/api/v1/export", query)
}

func apiAddress(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// Heading names the list.
func (f filter) Heading() string {
	set := f.Set()
	if len(set) == 0 {
		if f.Cursor != "" {
			return "Older orders"
		}
		return "Newest orders"
	}
	if len(set) == 1 {
		switch set[0].Name {
		case "customer_id":
			return "Orders of customer " + cut(set[0].Value)
		case "track_number":
			return "Orders with track number " + cut(set[0].Value)
		}
	}
	return "Filtered orders"
}

// cut shortens what was searched to a length that can be read.
func cut(text string) string {
	const most = 80
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
