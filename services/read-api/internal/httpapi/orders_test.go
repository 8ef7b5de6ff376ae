package httpapi

import (
	"encoding/json"
	"errors"
	"math"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// TestAListSaysWhatIsWrongWithAParameter looks for its name and for the rule.
func TestAListSaysWhatIsWrongWithAParameter(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	var many []string
	for i := range maxRepeated + 1 {
		many = append(many, "nm_id="+strconv.Itoa(i))
	}
	for _, bad := range []struct{ query, name, rule string }{
		{"limit=0", "limit", "from 1"}, {"sort=amount", "sort", "amount_desc"}, {"sort=", "sort", "created_desc"}, {"limit=-1", "limit", "from 1"}, {"limit=x", "limit", "whole number"}, {"limit=", "limit", "whole number"},
		{"limit=%2B1", "limit", "whole number"}, {"limit=01", "limit", "whole number"}, {"limit=099", "limit", "whole number"}, {"limit=1&limit=2", "limit", "more than once"},
		{"customer=x", "customer", "there are limit, cursor, sort, fields, count, customer_id"}, {"Limit=1", "Limit", "unknown"},
		{"a=%zz", "", "can't be read"}, {"a;b", "", "can't be read"},
		{"customer_id=", "customer_id", "empty"}, {"track_number=%ff", "track_number", "UTF-8"}, {"locale=a%00b", "locale", "UTF-8"},
		{"delivery_service=" + strings.Repeat("x", 129), "delivery_service", "longer than 128"},
		{"customer_id=a&customer_id=b", "customer_id", "more than once"}, {"email=a&email=b", "email", "more than once"},
		{"currency=USD&currency=", "currency", "empty"}, {"brand=" + strings.Repeat("x", 257), "brand", "longer than 256"},
		{strings.Join(many, "&"), "nm_id", "more than 20 values"},
		{"status=x", "status", "whole number"}, {"status=-1", "status", "from 0"}, {"nm_id=01", "nm_id", "whole number"}, {"status=1&status=1.0", "status", "whole number"},
		{"fields=order_uid,uid", "fields", "no field of an order; there are order_uid, track_number, entry, delivery"}, {"fields=", "fields", "no field"},
		{"fields=items,,entry", "fields", "no field"}, {"fields=unknown_fields", "fields", "no field"}, {"fields=items&fields=entry", "fields", "more than once"},
		{"count=true", "count", "neither exact nor estimate"},
		{"email=%20", "email", "nothing to compare"}, {"phone=none", "phone", "nothing to compare"}, {"phone_prefix=+972", "phone_prefix", "%2B"},
		{"name_prefix=" + strings.Repeat("x", 257), "name_prefix", "longer than 256"}, {"zip_prefix=1", "zip_prefix", "unknown"},
		{"created_from=yesterday", "created_from", "RFC 3339"}, {"created_to=2024-05-01", "created_to", "RFC 3339"},
		{"created_to=2024-05-01T10:00:00+02:00", "created_to", "%2B"}, {"created_from=2024-02-30T00:00:00Z", "created_from", "RFC 3339"},
		{"created_from=0001-01-01T00:00:00%2B05:00", "created_from", "year 1"},
		{"created_from=2024-05-02T00:00:00Z&created_to=2024-05-01T00:00:00Z", "created_from", "after created_to"},
		{"amount_min=1.5", "amount_min", "whole number"}, {"amount_max=1e3", "amount_max", "whole number"}, {"amount_min=-1", "amount_min", "from 0"},
		{"amount_min=%2B1", "amount_min", "whole number"}, {"amount_max=9223372036854775808", "amount_max", "whole number"},
		{"amount_min=2&amount_max=1", "amount_min", "more than amount_max"},
	} {
		p := requireProblem(t, b.ask(t, "GET", "/api/v1/orders?"+bad.query), 400, "invalid-parameter")
		require.Contains(t, p.Detail, bad.name, bad.query)
		require.Contains(t, p.Detail, bad.rule, bad.query)
	}
	for _, query := range []string{"cursor=", "cursor=x", "cursor=%00", "cursor=" + strings.Repeat("A", 5000)} {
		requireProblem(t, b.ask(t, "GET", "/api/v1/orders?"+query), 400, "invalid-cursor")
	}
}

func TestFiltersAreRead(t *testing.T) {
	r, refused := readList(readQuery("customer_id=a%20%2B%26&track_number=t&delivery_service=d&locale=en&currency=USD&limit=7&amount_min=0&amount_max=9223372036854775807"+
		"&created_from=2024-05-01T10:00:00.0000001%2B02:00&created_to=2024-05-01T10:00:00.0000019Z", append(filterNames, "limit")...))
	require.Nil(t, refused)
	require.Equal(t, listRequest{limit: 7, filter: orders.Filter{
		CustomerID: "a +&", TrackNumber: "t", DeliveryServices: []string{"d"}, Locales: []string{"en"}, Currencies: []string{"USD"},
		CreatedFrom: new(time.Date(2024, 5, 1, 8, 0, 0, 1000, time.UTC)), CreatedTo: new(time.Date(2024, 5, 1, 10, 0, 0, 1000, time.UTC)),
		AmountMin: new(int64(0)), AmountMax: new(int64(9223372036854775807)),
	}}, r)
}

// TestSomeFiltersHaveSeveralValues which are compared in their normal form, or of which one will do.
func TestSomeFiltersHaveSeveralValues(t *testing.T) {
	r, refused := readList(readQuery("currency=USD&currency=EUR&currency=USD&delivery_service=d&delivery_service=e&locale=en&locale=de&brand=x%20&brand=y"+
		"&nm_id=9007199254740991&nm_id=0&status=202&status=1&email=%20A@b.C&email_prefix=A&phone=%2B1%20(2)&phone_prefix=1&name=%C3%85%20%20b&name_prefix=%C3%85", filterNames...))
	require.Nil(t, refused)
	require.Equal(t, orders.Filter{
		Currencies: []string{"USD", "EUR"}, DeliveryServices: []string{"d", "e"}, Locales: []string{"en", "de"}, Brands: []string{"x ", "y"},
		NmIDs: []int64{9007199254740991, 0}, Statuses: []int64{202, 1},
		Email: "a@b.c", EmailPrefix: "a", Phone: "+12", PhonePrefix: "1", Name: "å b", NamePrefix: "å",
	}, r.filter)
}

func TestALimitAboveTheMaximumIsCapped(t *testing.T) {
	for text, limit := range map[string]int{"99": 99, "100": 100, "101": 100, "99999999999999999999": 100} {
		r, refused := readList(readQuery("limit="+text, "limit"))
		require.Nil(t, refused, text)
		require.Equal(t, limit, r.limit, text)
	}
}

func TestCursors(t *testing.T) {
	filter := orders.Filter{CustomerID: "c"}
	for _, key := range []orders.Key{
		{Created: time.Date(2021, 11, 26, 6, 22, 19, 123456000, time.UTC), UID: "b563feb7b2b84b6test"},
		{Created: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), UID: "x"},
	} {
		token := encodeCursor(filter, key)
		decoded, err := decodeCursor(filter, token)
		require.NoError(t, err)
		require.Equal(t, key, decoded)
		for i := range token {
			for _, c := range []byte("Ab_") {
				if token[i] == c {
					continue
				}
				changed, err := decodeCursor(filter, token[:i]+string(c)+token[i+1:])
				// The last character may hold bits that mean nothing.
				require.True(t, err != nil || changed == key, "changed at %d", i)
			}
		}
		_, err = decodeCursor(filter, token[:len(token)-4])
		require.Error(t, err)
	}
}

// TestOrdersHaveTheFieldsThatAreAskedFor in the sequence of whole orders, whatever it was asked in.
func TestOrdersHaveTheFieldsThatAreAskedFor(t *testing.T) {
	canonical := string(model.AppendCanonical(nil, &model.Order{
		OrderUID: "b563feb7b2b84b6test", CustomerID: "c", SmID: 7, Delivery: &model.Delivery{Name: `","items":1`}, Items: []model.Item{{Name: `"payment"`}},
	}))
	var whole, some map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(canonical), &whole))
	for asked, want := range map[string][]string{
		"payment,date_created,payment": {"order_uid", "payment", "date_created"}, "order_uid": {"order_uid"},
		strings.Join(orderFields, ","): orderFields, "items,delivery,customer_id": {"order_uid", "delivery", "items", "customer_id"},
	} {
		r, refused := readList(readQuery("fields="+asked, "fields"))
		require.Nil(t, refused)
		require.Equal(t, want, r.fields)
		got := appendOrder(nil, []byte(canonical), r.fields, false)
		some = nil
		require.NoError(t, json.Unmarshal(got, &some))
		at := 0
		for _, name := range want {
			member := `"` + name + `":` + string(whole[name])
			require.Contains(t, string(got[at:]), member)
			at += strings.Index(string(got[at:]), member)
		}
		require.Len(t, some, len(want))
	}
	require.Equal(t, canonical, string(appendOrder(nil, []byte(canonical), orderFields, false)))
	masked := string(appendOrder(nil, []byte(canonical), []string{"order_uid", "delivery", "customer_id"}, true))
	require.Contains(t, masked, `"delivery":{"name":"***",`)
	require.Contains(t, masked, `"customer_id":"***"}`)
	require.Equal(t, `{"orders":[{"order_uid":"b563feb7b2b84b6test"}],"count":7,"count_exact":true}`, string(appendPage(nil,
		listRequest{fields: []string{"order_uid"}}, orders.Page{Orders: [][]byte{[]byte(canonical)}}, &counted{7, true}, true)))
}

// TestCursorsThatNobodyWasGiven have the right check, and hold what the database
// would refuse: that would be answered as if it were away.
func TestCursorsThatNobodyWasGiven(t *testing.T) {
	for _, key := range []orders.Key{
		{Created: time.UnixMicro(math.MinInt64), UID: "x"}, {Created: time.Date(-4713, 12, 31, 0, 0, 0, 0, time.UTC), UID: "x"},
		{Created: time.Unix(0, 0), UID: "a\x00b"}, {Created: time.Unix(0, 0), UID: "\xff"},
	} {
		_, err := decodeCursor(orders.Filter{}, encodeCursor(orders.Filter{}, key))
		require.ErrorIs(t, err, errCursor, "%v %q", key.Created, key.UID)
	}
	for _, key := range []orders.Key{
		{Created: time.UnixMicro(math.MaxInt64).UTC(), UID: "x"}, {Created: time.Date(-4712, 1, 1, 0, 0, 0, 0, time.UTC), UID: "a b/ü"}, // made by hand
	} {
		decoded, err := decodeCursor(orders.Filter{}, encodeCursor(orders.Filter{}, key))
		require.NoError(t, err)
		require.Equal(t, key, decoded)
	}
}

// TestACursorBelongsToItsFilters tries it with each other filter.
func TestACursorBelongsToItsFilters(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	moment := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
	key := orders.Key{Created: moment, UID: "x"}
	filters := []orders.Filter{
		{}, {CustomerID: "a"}, {CustomerID: "b"}, {TrackNumber: "a"}, {DeliveryServices: []string{"a"}}, {Locales: []string{"a"}}, {Currencies: []string{"a"}},
		{CustomerID: "a", TrackNumber: "a"}, {CreatedFrom: &moment}, {CreatedTo: &moment}, {AmountMin: new(int64(0))},
		{AmountMax: new(int64(0))}, {AmountMax: new(int64(1))}, {Currencies: []string{"a", "b"}}, {Email: "a"}, {EmailPrefix: "a"}, {Statuses: []int64{1}}, {Sort: orders.OldestFirst}, {Sort: orders.SmallestFirst},
	}
	for i, mine := range filters {
		for j, other := range filters {
			_, err := decodeCursor(other, encodeCursor(mine, key))
			if i == j {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, errOtherFilter)
			}
		}
	}
	query := url.Values{"cursor": {encodeCursor(orders.Filter{Locales: []string{"en"}}, key)}, "locale": {"de"}}
	p := requireProblem(t, b.ask(t, "GET", "/api/v1/orders?"+query.Encode()), 400, "invalid-cursor")
	require.Contains(t, p.Detail, "other filters")
	largest := orders.Filter{Sort: orders.LargestFirst}
	key.Rank = 1 << 40
	decoded, err := decodeCursor(largest, encodeCursor(largest, key))
	require.NoError(t, err)
	require.Equal(t, key, decoded)
}

// TestUnavailableListsSayWhatToDo gives the reasons that a list or its count is not there.
func TestUnavailableListsSayWhatToDo(t *testing.T) {
	for detail, err := range map[string]error{
		"Ask with count=estimate": errors.Join(orders.ErrUnavailable, orders.ErrLongCount),
		"without sort":            orders.ErrUnsorted,
		"has no index":            errors.Join(orders.ErrUnavailable, orders.ErrUnindexed),
		"cannot be reached":       orders.ErrUnavailable,
	} {
		kind, why := whyUnavailable(err)
		require.Contains(t, why, detail)
		require.Equal(t, errors.Is(err, orders.ErrUnindexed), kind == listUnavailable)
	}
}
