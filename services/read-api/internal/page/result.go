package page

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/web"
)

// state is the result of a request.
type state string

const (
	home        state = "home"        // a list
	found       state = "found"       // the order is shown
	missing     state = "missing"     // nothing has that name
	choice      state = "choice"      // several things have that name
	invalid     state = "invalid"     // nothing can have that name
	refused     state = "refused"     // a filter is invalid
	unavailable state = "unavailable" // cannot be answered now
	elsewhere   state = "elsewhere"   // another address shows it
)

// view is what the templates show.
type view struct {
	Query      string // as typed, without white space around it
	Searched   bool   // as order_uid, track number or customer, not only as order_uid
	State      state
	AsJSON     bool // the order as JSON is in front
	Masked     bool // orders are, and customers are not searched for
	Caller     *auth.Caller
	Order      *order
	Events     []Event // of the order, or of the one that is not there any more
	StaleSince time.Time
	Choices    []Suggestion
	Similar    []Suggestion // orders whose uid begins with the query
	Target     url.Values   // of elsewhere
	Filter     filter
	List       orderList
	Tag        string // the ETag of the fragment, for the script
	console    string
}

// orderList is the list, alone or beside a search result.
type orderList struct {
	Orders     []*order
	Current    string // the uid that is shown beside the list
	Known      bool
	Next       string // the cursor of the older orders
	StaleSince time.Time
}

// shown are the orders of which personal data is shown.
func (v *view) shown() (uids []string) {
	if v.Order != nil {
		uids = append(uids, v.Order.OrderUID)
	} else if len(v.Events) > 0 {
		uids = append(uids, v.Query)
	}
	for _, o := range v.List.Orders {
		uids = append(uids, o.OrderUID)
	}
	return uids
}

// results are what is said of a state, with {} for what was searched.
var results = map[state]struct {
	status              int // 0: 200
	title, announcement string
}{
	found:       {0, "Order {}", "Order {} found, "},
	missing:     {http.StatusNotFound, "Nothing found for {}", "Nothing is stored under {}."},
	choice:      {0, "{}", "{} matches more than one thing. Choose one."},
	invalid:     {http.StatusBadRequest, "Not searched", "What you searched can’t be an order_uid."},
	refused:     {http.StatusBadRequest, "Not filtered", ""},
	unavailable: {http.StatusServiceUnavailable, "Can’t be known now", "Whether there is such an order can’t be known now."},
}

func (v *view) status() int { return cmp.Or(results[v.State].status, http.StatusOK) }

// Alone tells whether the list is all that is shown.
func (v *view) Alone() bool { return v.State == home }

// Live tells whether the list follows new orders, as its first part does.
func (v *view) Live() bool { return v.State != refused && v.Filter.Cursor == "" }

// Stream is the address of the changes that the page follows.
func (v *view) Stream() string {
	if !v.Live() {
		return ""
	}
	return v.Filter.Stream()
}

// CanBeUID tells whether what was searched could be an order's.
func (v *view) CanBeUID() bool { return model.IsOrderUID(v.Query) }

// ShownQuery is what was searched, cut to a length that can be read.
func (v *view) ShownQuery() string { return cut(v.Query) }

// Title is the document's title.
func (v *view) Title() string {
	title := strings.ReplaceAll(results[v.State].title, "{}", v.ShownQuery())
	if v.State == home && (v.Filter.Cursor != "" || len(v.Filter.Set()) > 0) {
		title = v.Filter.Heading()
	}
	if title == "" {
		return "Orderhub"
	}
	return title + " · Orderhub"
}

// Announcement is the result in a sentence, for screen readers.
func (v *view) Announcement() string {
	sentence := strings.ReplaceAll(results[v.State].announcement, "{}", v.ShownQuery())
	switch v.State {
	case found:
		sentence += v.Order.ItemCount()
		if total := v.Order.Total(); total != "" {
			sentence += ", " + total
		}
		if !v.StaleSince.IsZero() {
			sentence += "; it may be out of date"
		}
		return sentence + "."
	case refused:
		return v.Filter.Problem
	case home:
		return v.Filter.Heading() + ": " + v.List.Words() + "."
	default:
		return sentence
	}
}

// ShownBefore is the value before, cut to a length that can be read.
func (c Change) ShownBefore() string { return cut(c.Before) }

// ShownAfter is the value after, likewise.
func (c Change) ShownAfter() string { return cut(c.After) }

// Words is the number of orders in words.
func (l orderList) Words() string {
	switch n := len(l.Orders); {
	case !l.Known:
		return "can’t be known now"
	case n == 0:
		return "none"
	case l.Next != "":
		return counted(n) + " shown, there are older ones"
	case !l.StaleSince.IsZero(): // what is older isn't known then
		return counted(n) + " shown"
	default:
		return counted(n)
	}
}

// JSON is the order's JSON, indented.
func (v *view) JSON() ([]web.Token, error) { return prettyJSON(v.Order.canonical) }

// Console is the dead-letter console's address, "" if none is known or it isn't
// one of the web.
func (v *view) Console() string {
	if link := v.consoleURL(); link != nil {
		return link.String()
	}
	return ""
}

// ConsoleSearch is the console's search for what was searched.
func (v *view) ConsoleSearch() string {
	link := v.consoleURL()
	if link == nil {
		return ""
	}
	query := link.Query()
	query.Set("q", v.Query)
	link.RawQuery = query.Encode()
	return link.String()
}

func (v *view) consoleURL() *url.URL {
	link, err := url.Parse(v.console)
	if err != nil || (link.Scheme != "http" && link.Scheme != "https") || link.Host == "" {
		return nil
	}
	return link
}
