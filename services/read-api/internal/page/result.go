package page

import (
	"net/http"
	"net/url"
	"time"
)

// state is what became of the search.
type state string

const (
	home        state = "home"        // nothing was searched
	found       state = "found"       // the order is shown
	missing     state = "missing"     // there is no such order
	invalid     state = "invalid"     // what was searched can't be an order_uid
	unavailable state = "unavailable" // it can't be known now
)

// view is what the templates show.
type view struct {
	Query      string // as typed, without white space around it
	State      state
	AsJSON     bool // the order as JSON is in front
	Order      *order
	StaleSince time.Time
	Newest     newest
	console    string
	canonical  []byte
}

type newest struct {
	Orders     []*order
	Current    string // the uid that is shown beside the list
	Known      bool
	StaleSince time.Time
	canonical  [][]byte
}

// isUID tells whether text has the form of an order_uid.
func isUID(text string) bool {
	if len(text) < 1 || len(text) > 64 {
		return false
	}
	for _, b := range []byte(text) {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '_', b == '.':
		default:
			return false
		}
	}
	return true
}

func (v view) status() int {
	switch v.State {
	case missing:
		return http.StatusNotFound
	case invalid:
		return http.StatusBadRequest
	case unavailable:
		return http.StatusServiceUnavailable
	case home, found:
	}
	return http.StatusOK
}

// ShownQuery is what was searched, cut to a length that can be read.
func (v view) ShownQuery() string {
	const most = 80
	if runes := []rune(v.Query); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return v.Query
}

// Title is the document's title.
func (v view) Title() string {
	switch v.State {
	case found:
		return "Order " + v.Query + " · Orderhub"
	case missing:
		return "No order " + v.Query + " · Orderhub"
	case invalid:
		return "Not an order_uid · Orderhub"
	case unavailable:
		return "Can’t be known now · Orderhub"
	case home:
	}
	return "Orderhub"
}

// Announcement is the search's result in a sentence, for screen readers.
func (v view) Announcement() string {
	switch v.State {
	case found:
		sentence := "Order " + v.Query + " found, " + v.Order.ItemCount()
		if total := v.Order.Total(); total != "" {
			sentence += ", " + total
		}
		if !v.StaleSince.IsZero() {
			sentence += "; it may be out of date"
		}
		return sentence + "."
	case missing:
		return "No order " + v.Query + " is stored."
	case invalid:
		return "What you searched can’t be an order_uid."
	case unavailable:
		return "Whether there is such an order can’t be known now."
	case home:
	}
	return ""
}

// JSON is the order's JSON, indented.
func (v view) JSON() ([]token, error) { return prettyJSON(v.canonical) }

// ConsoleLink is the console's search for the order, "" if no console's
// address is known or it isn't one of the web.
func (v view) ConsoleLink() string {
	link, err := url.Parse(v.console)
	if err != nil || (link.Scheme != "http" && link.Scheme != "https") || link.Host == "" {
		return ""
	}
	query := link.Query()
	query.Set("q", v.Query)
	link.RawQuery = query.Encode()
	return link.String()
}

// moment is a time as the templates write it: exact and in UTC. The script
// puts it into the browser's zone.
type moment struct {
	time.Time
	Style string // "relative": how long ago is the text; "exact": the date is
}

func newMoment(style string, t time.Time) moment { return moment{Time: t.UTC(), Style: style} }

// Machine is the time for the datetime attribute.
func (m moment) Machine() string { return m.Format(time.RFC3339Nano) }

// Text is the time for people.
func (m moment) Text() string { return m.Format("2 Jan 2006, 15:04 UTC") }

// Exact is the time with its seconds.
func (m moment) Exact() string { return m.Format("2 Jan 2006, 15:04:05.999999 UTC") }
