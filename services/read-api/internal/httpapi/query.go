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

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// Queries are read by our own code, though gin binds them and validator checks them.
// That was tried, and longer: gin takes +1 and 01 for numbers and does not name the
// parameter that it cannot convert, so each had to be bound as text, checked by a rule
// of our own, and parsed again; what is unknown or repeated was still to be found by
// hand.

// query has the parameters of a request. Methods keep the first error in refused, and do
// nothing after it.
type query struct {
	values  map[string]string
	all     url.Values // of repeated ones
	refused *problem.Error
}

// repeated may be given more than once: an order may have any of the values.
var repeated = []string{"delivery_service", "locale", "currency", "brand", "nm_id", "status"}

const maxRepeated = 20

// readQuery takes these parameters and no others.
func readQuery(rawQuery string, known ...string) *query {
	q := &query{values: map[string]string{}}
	if rawQuery == "" {
		return q
	}
	all, err := url.ParseQuery(rawQuery)
	if err != nil {
		q.refuse("The query can't be read: %q.", cut(err.Error()))
		return q
	}
	q.all = all
	for name, values := range all {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			q.refuse("The parameter %q is unknown; this address has none.", cut(name))
		case !slices.Contains(known, name):
			q.refuse("The parameter %q is unknown; there are %s.", cut(name), strings.Join(known, ", "))
		case len(values) > 1 && !slices.Contains(repeated, name):
			q.refuse("The parameter %q is given more than once.", name)
		}
		q.values[name] = values[0]
	}
	return q
}

func (q *query) refuse(format string, args ...any) {
	if q.refused == nil {
		q.refused = invalidParameter.New(fmt.Sprintf(format, args...))
	}
}

// read parses a parameter where it is given.
func read[T any](q *query, name string, to *T, parse func(text string) (T, error)) (given bool) {
	text, given := q.values[name]
	if given {
		*to = parsed(q, name, text, parse)
	}
	return given
}

// readAll parses each value of a repeated parameter.
func readAll[T comparable](q *query, name string, to *[]T, parse func(text string) (T, error)) {
	for _, text := range q.all[name] {
		if value := parsed(q, name, text, parse); !slices.Contains(*to, value) {
			*to = append(*to, value)
		}
	}
	if len(*to) > maxRepeated {
		q.refuse("The parameter %q is given with more than %d values.", name, maxRepeated)
	}
}

func parsed[T any](q *query, name, text string, parse func(text string) (T, error)) (value T) {
	if q.refused != nil {
		return value
	}
	value, err := parse(text)
	if err != nil {
		q.refuse("%s: %q %s.", name, cut(text), err)
	}
	return value
}

var filterNames = []string{
	"customer_id", "track_number", "delivery_service", "locale", "currency", "brand", "nm_id", "status",
	"email", "phone", "name", "email_prefix", "phone_prefix", "name_prefix",
	"created_from", "created_to", "updated_from", "updated_to", "amount_min", "amount_max",
}

// readFilter takes the parameters of filterNames and some more.
func (a *api) readFilter(c *gin.Context, more ...string) *query {
	q := readQuery(c.Request.URL.RawQuery, append(more, filterNames...)...)
	for name := range q.values {
		if refusal := a.Access.Refusal(c, name); refusal != nil {
			q.refused = refusal
		}
	}
	return q
}

// filter reads the parameters of filterNames.
func (q *query) filter() (f orders.Filter) {
	read(q, "customer_id", &f.CustomerID, shortText)
	read(q, "track_number", &f.TrackNumber, shortText)
	readAll(q, "delivery_service", &f.DeliveryServices, shortText)
	readAll(q, "locale", &f.Locales, shortText)
	readAll(q, "currency", &f.Currencies, shortText)
	readAll(q, "brand", &f.Brands, longText)
	readAll(q, "nm_id", &f.NmIDs, wholeFrom(0))
	readAll(q, "status", &f.Statuses, wholeFrom(0))
	read(q, "email", &f.Email, normalText)
	read(q, "email_prefix", &f.EmailPrefix, normalText)
	read(q, "phone", &f.Phone, normalPhone)
	read(q, "phone_prefix", &f.PhonePrefix, normalPhone)
	read(q, "name", &f.Name, normalText)
	read(q, "name_prefix", &f.NamePrefix, normalText)
	// Orders have whole microseconds. A moment between two of them is moved to the one
	// that neither loses nor adds an order.
	read(q, "created_from", &f.CreatedFrom, func(text string) (*time.Time, error) { return moment(text, time.Microsecond-1) })
	read(q, "created_to", &f.CreatedTo, momentDown)
	read(q, "updated_from", &f.UpdatedFrom, momentDown)
	read(q, "updated_to", &f.UpdatedTo, momentDown)
	read(q, "amount_min", &f.AmountMin, amount)
	read(q, "amount_max", &f.AmountMax, amount)
	if f.CreatedFrom != nil && f.CreatedTo != nil && f.CreatedFrom.After(*f.CreatedTo) {
		q.refuse("created_from is after created_to: no order can be in between.")
	}
	if f.UpdatedFrom != nil && f.UpdatedTo != nil && f.UpdatedFrom.After(*f.UpdatedTo) {
		q.refuse("updated_from is after updated_to: no order can be in between.")
	}
	if f.AmountMin != nil && f.AmountMax != nil && *f.AmountMin > *f.AmountMax {
		q.refuse("amount_min is more than amount_max: no order can be in between.")
	}
	return f
}

// maxFilterText is in characters; no stored text of such a name is longer. Names and brands
// have maxLongText.
const maxFilterText, maxLongText = 128, 256

func shortText(text string) (string, error) { return bounded(text, maxFilterText) }

func longText(text string) (string, error) { return bounded(text, maxLongText) }

func bounded(text string, most int) (string, error) {
	switch {
	case text == "":
		return "", errors.New("is empty; it has at least one character")
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return "", errors.New("is no text in UTF-8")
	case utf8.RuneCountInString(text) > most:
		return "", fmt.Errorf("is longer than %d characters", most)
	}
	return text, nil
}

func normalText(text string) (string, error) { return normal(text, orders.NormalText) }

func normalPhone(text string) (string, error) {
	if strings.HasPrefix(text, " ") {
		return "", errors.New("begins with a space; in an address, + is written %2B")
	}
	return normal(text, orders.NormalPhone)
}

func normal(text string, form func(string) string) (string, error) {
	text, err := longText(text)
	if err != nil {
		return "", err
	}
	if text = form(text); text == "" {
		return "", errors.New("has nothing to compare")
	}
	return text, nil
}

func wholeFrom(least int64) func(string) (int64, error) {
	return func(text string) (int64, error) {
		n, ok := wholeNumber(text)
		if !ok || n < least {
			return 0, fmt.Errorf("is no whole number from %d", least)
		}
		return n, nil
	}
}

func momentDown(text string) (*time.Time, error) { return moment(text, 0) }

func moment(text string, up time.Duration) (*time.Time, error) {
	moment, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err != nil && strings.Contains(text, " "):
		return nil, errors.New("is no time as in 2024-05-01T10:00:00+02:00; in an address, + is written %2B")
	case err != nil:
		return nil, errors.New("is no time as in 2024-05-01T10:00:00Z (RFC 3339)")
	}
	moment = moment.Add(up).Truncate(time.Microsecond).UTC()
	if moment.Year() < 1 || moment.Year() > 9999 {
		return nil, errors.New("is not from the year 1 to 9999 in UTC")
	}
	return &moment, nil
}

func amount(text string) (*int64, error) {
	amount, ok := wholeNumber(text)
	if !ok || amount < 0 {
		return nil, errors.New("is no whole number, from 0, of the currency's minor units")
	}
	return &amount, nil
}

// either reads one of two words.
func either(a, b string) func(string) (string, error) {
	return func(text string) (string, error) {
		if text != a && text != b {
			return "", fmt.Errorf("is neither %s nor %s", a, b)
		}
		return text, nil
	}
}

var sorts = map[string]orders.Sort{
	"created_desc": orders.NewestFirst, "created_asc": orders.OldestFirst, "amount_desc": orders.LargestFirst, "amount_asc": orders.SmallestFirst,
	"updated_desc": orders.LastUpdatedFirst, "updated_asc": orders.FirstUpdatedFirst,
}

func sortOf(text string) (orders.Sort, error) {
	if sort, known := sorts[text]; known {
		return sort, nil
	}
	return 0, errors.New("is none of created_desc, created_asc, amount_desc, amount_asc, updated_desc and updated_asc")
}

// limitOf caps a limit above the maximum, whatever its size.
func limitOf(text string) (int, error) {
	limit, err := strconv.ParseUint(text, 10, 64) // the largest uint64 for what is beyond it
	if err != nil && !errors.Is(err, strconv.ErrRange) || text[0] == '0' {
		return 0, errors.New("is no whole number from 1")
	}
	return int(min(limit, orders.MaxLimit)), nil
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
