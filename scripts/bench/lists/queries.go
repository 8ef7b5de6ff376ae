package lists

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	common = "common" // the customer of half of the orders
	rare   = "rare"   // delivery service and brand of few
)

// list is one that is asked for: its query, for an order that is there.
type list struct {
	name  string
	query func(o order, v values) url.Values
}

// sorted tells whether PostgreSQL has no such list.
func sorted(l list) bool { return l.query(order{}, values{}).Has("sort") }

// where makes a query of names and values in turn.
func where(pairs ...any) url.Values {
	query := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		value := fmt.Sprint(pair[1])
		if at, is := pair[1].(time.Time); is {
			value = at.Format(time.RFC3339Nano)
		}
		query.Add(fmt.Sprint(pair[0]), value)
	}
	return query
}

func always(pairs ...any) func(order, values) url.Values {
	return func(order, values) url.Values { return where(pairs...) }
}

// lists are all single filters and sorts, then twenty combinations; what BenchmarkMemoryLists of
// the reader reads without HTTP.
var lists = []list{
	{"newest", always()},
	{"oldest", always("sort", "created_asc")},
	{"largest", always("sort", "amount_desc")},
	{"smallest", always("sort", "amount_asc")},
	{"last updated", always("sort", "updated_desc")},
	{"first updated", always("sort", "updated_asc")},
	{"customer_id", func(o order, _ values) url.Values { return where("customer_id", o.Customer) }},
	{"customer_id of half", always("customer_id", common)},
	{"track_number", func(o order, _ values) url.Values { return where("track_number", o.Track) }},
	{"email", func(o order, _ values) url.Values { return where("email", o.Email) }},
	{"phone", func(o order, _ values) url.Values { return where("phone", o.Phone) }},
	{"name", func(o order, _ values) url.Values { return where("name", o.Name) }},
	{"email_prefix", func(o order, _ values) url.Values { return where("email_prefix", prefix(o.Email, 2)) }},
	{"name_prefix", func(o order, _ values) url.Values { return where("name_prefix", prefix(o.Name, 3)) }},
	{"rare phone_prefix", func(o order, _ values) url.Values { return where("phone_prefix", o.Phone) }},
	{"nm_id", func(o order, _ values) url.Values { return where("nm_id", o.NmID) }},
	{"nm_id of three", func(o order, _ values) url.Values {
		return where("nm_id", o.NmID, "nm_id", o.NmID+1, "nm_id", o.NmID+2)
	}},
	{"delivery_service", func(o order, _ values) url.Values { return where("delivery_service", o.Service) }},
	{"rare delivery_service", always("delivery_service", rare)},
	{"locale", func(o order, _ values) url.Values { return where("locale", o.Locale) }},
	{"currency", func(o order, _ values) url.Values { return where("currency", o.Currency) }},
	{"rare currency", always("currency", rareCurrency)},
	{"brand", func(o order, _ values) url.Values { return where("brand", o.Brand) }},
	{"rare brand", always("brand", rare)},
	{"status", func(o order, _ values) url.Values { return where("status", o.Status) }},
	{"created", func(o order, _ values) url.Values { return hour(o) }},
	{"updated", func(o order, _ values) url.Values {
		return where("updated_from", o.Updated.Add(-time.Minute), "updated_to", o.Updated)
	}},
	{"amount_min, rare", func(_ order, v values) url.Values { return where("amount_min", v.high) }},
	{"amount_min", func(o order, _ values) url.Values { return where("amount_min", o.Amount) }},
	{"amount_max, rare", func(_ order, v values) url.Values { return where("amount_max", v.low) }},

	{"customer of half, rare amount", func(_ order, v values) url.Values { return where("customer_id", common, "amount_min", v.high) }},
	{"customer of half, rare brand", always("customer_id", common, "brand", rare)},
	{"customer of half, rare brand, oldest", always("customer_id", common, "brand", rare, "sort", "created_asc")},
	{"customer of half, largest", always("customer_id", common, "sort", "amount_desc")},
	{"customer, largest", func(o order, _ values) url.Values { return where("customer_id", o.Customer, "sort", "amount_desc") }},
	{"customer, currency", func(o order, _ values) url.Values {
		return where("customer_id", o.Customer, "currency", o.Currency, "currency", rareCurrency)
	}},
	{"customer, created", func(o order, _ values) url.Values { return where("customer_id", o.Customer, "created_to", o.Created) }},
	{"e-mail, status", func(o order, _ values) url.Values { return where("email", o.Email, "status", o.Status) }},
	{"name, phone", func(o order, _ values) url.Values { return where("name", o.Name, "phone", o.Phone) }},
	{"name, largest", func(o order, _ values) url.Values { return where("name", o.Name, "sort", "amount_desc") }},
	{"nm_id, locale", func(o order, _ values) url.Values { return where("nm_id", o.NmID, "locale", o.Locale) }},
	{"brand, status, currency", func(o order, _ values) url.Values {
		return where("brand", o.Brand, "status", o.Status, "currency", o.Currency)
	}},
	{"rare brand, amount", func(o order, _ values) url.Values { return where("brand", rare, "amount_min", o.Amount) }},
	{"rare brand, wide range", func(o order, _ values) url.Values { return where("brand", rare, "created_to", o.Created) }},
	{"rare currency, smallest", always("currency", rareCurrency, "sort", "amount_asc")},
	{"rare delivery_service, oldest", always("delivery_service", rare, "sort", "created_asc")},
	{"hour, largest", func(o order, _ values) url.Values {
		query := hour(o)
		query.Set("sort", "amount_desc")
		return query
	}},
	{"locale, largest", func(o order, _ values) url.Values { return where("locale", o.Locale, "sort", "amount_desc") }},
	{"delivery_service, locale, currency", func(o order, _ values) url.Values {
		return where("delivery_service", o.Service, "locale", o.Locale, "currency", o.Currency)
	}},
	{"all", func(o order, v values) url.Values {
		return where("customer_id", common, "delivery_service", o.Service, "locale", o.Locale, "currency", o.Currency, "created_to", o.Created, "amount_max", v.low)
	}},
}

// rareCurrency is none that orders are made with.
const rareCurrency = "CHF"

func hour(o order) url.Values {
	return where("created_from", o.Created.Add(-time.Hour), "created_to", o.Created)
}

func prefix(of string, characters int) string {
	runes := []rune(of)
	return strings.TrimSpace(string(runes[:min(characters, len(runes))]))
}
