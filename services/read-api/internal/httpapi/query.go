package httpapi

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

const defaultLimit = 20

// maxFilterText is in characters; no stored record's text of such a name is longer.
const maxFilterText = 128

// listRequest is what a list was asked for.
type listRequest struct {
	filter orders.Filter
	after  *orders.Key
	limit  int
}

func parseList(rawQuery string) (listRequest, *problem.Error) {
	r := listRequest{limit: defaultLimit}
	values, refused := parseQuery(rawQuery, append([]string{"limit", "cursor"}, filterNames...))
	if refused != nil {
		return r, refused
	}
	if r.filter, refused = parseFilter(values); refused != nil {
		return r, refused
	}
	if text, given := values["limit"]; given {
		limit, ok := wholeNumber(text)
		if !ok || limit < 1 || limit > orders.MaxLimit {
			return r, wrong("limit", text, fmt.Errorf("is no whole number from 1 to %d", orders.MaxLimit))
		}
		r.limit = int(limit)
	}
	if text, given := values["cursor"]; given {
		key, err := decodeCursor(r.filter, text)
		if err != nil {
			return r, invalidCursor.New("cursor: " + err.Error() + ".")
		}
		r.after = &key
	}
	return r, nil
}

// parseQuery returns a query's parameters, each of which may be given once.
func parseQuery(rawQuery string, known []string) (map[string]string, *problem.Error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, invalidParameter.New("The query can't be read: " + strconv.Quote(cut(err.Error())) + ".")
	}
	values := make(map[string]string, len(query))
	for name, all := range query {
		switch {
		case !slices.Contains(known, name):
			there := "this address has none"
			if len(known) > 0 {
				there = "there are " + strings.Join(known, ", ")
			}
			return nil, invalidParameter.New(fmt.Sprintf("The parameter %q is unknown; %s.", cut(name), there))
		case len(all) > 1:
			return nil, invalidParameter.New(fmt.Sprintf("The parameter %q is given more than once.", name))
		}
		values[name] = all[0]
	}
	return values, nil
}

// noParameters refuses those of a resource that has none.
func noParameters(address *url.URL) *problem.Error {
	if address.RawQuery == "" {
		return nil
	}
	_, refused := parseQuery(address.RawQuery, nil)
	return refused
}

// required reads a parameter that has to be given.
func required(values map[string]string, name string, parse func(text string) error) *problem.Error {
	text, given := values[name]
	if !given {
		return invalidParameter.New("The parameter \"" + name + "\" is missing.")
	}
	if err := parse(text); err != nil {
		return wrong(name, text, err)
	}
	return nil
}

var filterNames = []string{
	"customer_id", "track_number", "delivery_service", "locale", "currency",
	"created_from", "created_to", "amount_min", "amount_max",
}

// parseFilter reads the parameters of filterNames.
func parseFilter(values map[string]string) (f orders.Filter, refused *problem.Error) {
	read := func(name string, parse func(text string) error) {
		if text, given := values[name]; given && refused == nil {
			if err := parse(text); err != nil {
				refused = wrong(name, text, err)
			}
		}
	}
	read("customer_id", textInto(&f.CustomerID))
	read("track_number", textInto(&f.TrackNumber))
	read("delivery_service", textInto(&f.DeliveryService))
	read("locale", textInto(&f.Locale))
	read("currency", textInto(&f.Currency))
	// A moment between two microseconds, as which orders are kept, is cut to the
	// side on which no order is lost or won.
	read("created_from", momentInto(&f.CreatedFrom, time.Microsecond-1))
	read("created_to", momentInto(&f.CreatedTo, 0))
	read("amount_min", amountInto(&f.AmountMin))
	read("amount_max", amountInto(&f.AmountMax))
	switch {
	case refused != nil:
	case f.CreatedFrom != nil && f.CreatedTo != nil && f.CreatedFrom.After(*f.CreatedTo):
		refused = invalidParameter.New("created_from is after created_to: no order can be in between.")
	case f.AmountMin != nil && f.AmountMax != nil && *f.AmountMin > *f.AmountMax:
		refused = invalidParameter.New("amount_min is more than amount_max: no order can be in between.")
	}
	return f, refused
}

func wrong(name, text string, err error) *problem.Error {
	return invalidParameter.New(fmt.Sprintf("%s: %q %s.", name, cut(text), err))
}

func textInto(to *string) func(string) error {
	return func(text string) error {
		switch {
		case text == "":
			return errors.New("is empty; it has at least one character")
		case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
			return errors.New("is no text in UTF-8")
		case utf8.RuneCountInString(text) > maxFilterText:
			return fmt.Errorf("is longer than %d characters", maxFilterText)
		}
		*to = text
		return nil
	}
}

func momentInto(to **time.Time, up time.Duration) func(string) error {
	return func(text string) error {
		moment, err := time.Parse(time.RFC3339Nano, text)
		switch {
		case err != nil && strings.Contains(text, " "):
			return errors.New("is no time as in 2024-05-01T10:00:00+02:00; in an address, + is written %2B")
		case err != nil:
			return errors.New("is no time as in 2024-05-01T10:00:00Z (RFC 3339)")
		}
		moment = moment.Add(up).Truncate(time.Microsecond).UTC()
		if moment.Year() < 1 || moment.Year() > 9999 {
			return errors.New("is not from the year 1 to 9999 in UTC")
		}
		*to = &moment
		return nil
	}
}

func amountInto(to **int64) func(string) error {
	return func(text string) error {
		amount, ok := wholeNumber(text)
		if !ok || amount < 0 {
			return errors.New("is no whole number, from 0, of the currency's minor units")
		}
		*to = &amount
		return nil
	}
}

// wholeNumber reads an integer in the one form that JSON has for it: +1 and 01
// are none.
func wholeNumber(text string) (n int64, ok bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == text
}

// cut keeps what a client sent from filling an answer.
func cut(text string) string {
	const most = 80
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
