package orders

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// Variables set of how many orders the benchmark lists some, and how many items each has.
const (
	listedOrdersVariable = "ORDERHUB_TEST_LISTED_ORDERS"
	listedItemsVariable  = "ORDERHUB_TEST_LISTED_ITEMS"
)

func numberOf(variable string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return otherwise
}

// made is tables of n orders, which are made when they are read.
type made struct {
	stored
	n     int
	items int
	alike bool           // all have the same time and amount
	next  []*model.Order // the changes of the next round
}

func (m *made) Tail(_ context.Context, from changes.Position, sink changes.Sink) (changes.Round, error) {
	for _, o := range m.next {
		sink.Put(changes.Order{Order: o, Canonical: model.AppendCanonical(nil, o), Updated: uint32(moment.Unix())})
	}
	m.next = nil
	return changes.Round{Position: from}, nil
}

func (m *made) Snapshot(_ context.Context, sink changes.Sink, _ changes.Progress) (changes.Position, error) {
	for i := range m.n {
		o := m.order(i)
		sink.Put(changes.Order{Order: o, Canonical: model.AppendCanonical(nil, o), Updated: m.updated(i)})
	}
	return changes.Position{}, nil
}

func (m *made) time(i int) time.Time {
	if m.alike {
		return moment
	}
	return moment.Add(time.Duration(i) * 37 * time.Millisecond)
}

// updated is a second for 100 orders.
func (m *made) updated(i int) uint32 {
	if m.alike {
		return uint32(moment.Unix())
	}
	return uint32(moment.Unix() + int64(i/100))
}

// order is the one that came as the ith: half of them are one customer's, and few have the
// delivery service, the currency and the brand that are rare.
func (m *made) order(i int) *model.Order {
	random := rand.New(rand.NewPCG(1, uint64(i)))
	uid := fmt.Sprintf("%016x%04x", random.Uint64(), i&0xffff)
	person := random.IntN(m.n/5 + 1)
	o := &model.Order{
		OrderUID: uid, TrackNumber: "TRACK" + uid[:12], CustomerID: fmt.Sprintf("customer-%d", person), Locale: one(random, "en", "de", "ru"),
		DeliveryService: one(random, "meest", "dhl", "post"), DateCreated: m.time(i), Entry: "WBIL",
		Delivery: &model.Delivery{Name: "Test " + strconv.Itoa(person%5000), Phone: fmt.Sprintf("+972%07d", person), Email: fmt.Sprintf("%d@example.com", person)},
		Payment:  &model.Payment{Currency: one(random, "EUR", "USD", "RUB"), Amount: random.Int64N(100_000), Transaction: uid},
		Items:    []model.Item{{Name: "Mascaras", Brand: one(random, "Vivienne Sabo", "Zara", "Nike"), Status: 200 + random.Int64N(3), Price: 453, NmID: random.Int64N(1 << 20)}},
	}
	if m.alike {
		o.Payment.Amount = 1817
	}
	for len(o.Items) < m.items {
		another := o.Items[0]
		another.NmID = random.Int64N(1 << 20)
		o.Items = append(o.Items, another)
	}
	if i%2 == 0 {
		o.CustomerID = "common"
	}
	if i%(m.n/10) == 7 {
		o.DeliveryService, o.Payment.Currency, o.Items[0].Brand = "rare", "CHF", "rare"
	}
	return o
}

// someRank is a Key.Rank.
func (s Sort) someRank(random *rand.Rand, of *made) int64 {
	switch {
	case !s.Ranked():
		return 0
	case s.byUpdate():
		return int64(of.updated(random.IntN(of.n)))
	}
	return random.Int64N(100_000)
}

// BenchmarkMemoryLists reads pages of 20 orders from memory, from anywhere in a list on.
func BenchmarkMemoryLists(b *testing.B) {
	n := numberOf(listedOrdersVariable, 100_000)
	random := rand.New(rand.NewPCG(1, 1))
	source := &made{n: n, items: numberOf(listedItemsVariable, 1)}
	began := time.Now()
	r := run(b, source, cache.StoreOptions{}, func(*index) {})
	r.awaitReady()
	b.Logf("%d orders of %d: %.1f bytes each, all after %v", n, source.items, float64(r.table.bytes())/float64(n), time.Since(began))
	middle := source.time(n / 2)
	hour := middle.Add(-time.Hour)
	updated := time.Unix(int64(source.updated(n/2)), 0)
	minute := updated.Add(-time.Minute)
	high, low, some := int64(99_990), int64(10), int64(50_000)
	o := source.order(n/2 + 1)
	rare := []string{"rare"}
	for _, list := range []struct {
		name string
		Filter
	}{
		{"newest", Filter{}},
		{"oldest", Filter{Sort: OldestFirst}},
		{"largest", Filter{Sort: LargestFirst}},
		{"smallest", Filter{Sort: SmallestFirst}},
		{"last updated", Filter{Sort: LastUpdatedFirst}},
		{"first updated", Filter{Sort: FirstUpdatedFirst}},
		{"customer_id", Filter{CustomerID: o.CustomerID}},
		{"customer_id of half", Filter{CustomerID: "common"}},
		{"track_number", Filter{TrackNumber: o.TrackNumber}},
		{"email", Filter{Email: o.Delivery.Email}},
		{"phone", Filter{Phone: o.Delivery.Phone}},
		{"name", Filter{Name: NormalText(o.Delivery.Name)}},
		{"email_prefix", Filter{EmailPrefix: "12"}},
		{"name_prefix", Filter{NamePrefix: "test 1"}},
		{"rare phone_prefix", Filter{PhonePrefix: o.Delivery.Phone}},
		{"nm_id", Filter{NmIDs: []int64{o.Items[0].NmID}}},
		{"nm_id of three", Filter{NmIDs: []int64{1, 2, 3}}},
		{"delivery_service", Filter{DeliveryServices: []string{"dhl"}}},
		{"rare delivery_service", Filter{DeliveryServices: rare}},
		{"locale", Filter{Locales: []string{"de"}}},
		{"currency", Filter{Currencies: []string{"USD"}}},
		{"rare currency", Filter{Currencies: []string{"CHF"}}},
		{"brand", Filter{Brands: []string{"Zara"}}},
		{"rare brand", Filter{Brands: rare}},
		{"status", Filter{Statuses: []int64{202}}},
		{"created", Filter{CreatedFrom: &hour, CreatedTo: &middle}},
		{"updated", Filter{UpdatedFrom: &minute, UpdatedTo: &updated}},
		{"amount_min, rare", Filter{AmountMin: &high}},
		{"amount_min", Filter{AmountMin: &some}},
		{"amount_max, rare", Filter{AmountMax: &low}},
		// Twenty combinations.
		{"customer of half, rare amount", Filter{CustomerID: "common", AmountMin: &high}},
		{"customer of half, rare brand", Filter{CustomerID: "common", Brands: rare}},
		{"customer of half, rare brand, oldest", Filter{CustomerID: "common", Brands: rare, Sort: OldestFirst}},
		{"customer of half, largest", Filter{CustomerID: "common", Sort: LargestFirst}},
		{"customer, largest", Filter{CustomerID: o.CustomerID, Sort: LargestFirst}},
		{"customer, currency", Filter{CustomerID: o.CustomerID, Currencies: []string{"USD", "EUR"}}},
		{"customer, created", Filter{CustomerID: o.CustomerID, CreatedTo: &middle}},
		{"e-mail, status", Filter{Email: o.Delivery.Email, Statuses: []int64{202}}},
		{"name, phone", Filter{Name: NormalText(o.Delivery.Name), Phone: o.Delivery.Phone}},
		{"name, largest", Filter{Name: NormalText(o.Delivery.Name), Sort: LargestFirst}},
		{"nm_id, locale", Filter{NmIDs: []int64{o.Items[0].NmID}, Locales: []string{"en", "de"}}},
		{"brand, status, currency", Filter{Brands: []string{"Zara"}, Statuses: []int64{202}, Currencies: []string{"USD"}}},
		{"rare brand, amount", Filter{Brands: rare, AmountMin: &some}},
		{"rare brand, wide range", Filter{Brands: rare, CreatedTo: &middle}},
		{"rare currency, smallest", Filter{Currencies: []string{"CHF"}, Sort: SmallestFirst}},
		{"rare delivery_service, oldest", Filter{DeliveryServices: rare, Sort: OldestFirst}},
		{"hour, largest", Filter{CreatedFrom: &hour, CreatedTo: &middle, Sort: LargestFirst}},
		{"locale, largest", Filter{Locales: []string{"de"}, Sort: LargestFirst}},
		{"delivery_service, locale, currency", Filter{DeliveryServices: []string{"dhl"}, Locales: []string{"de"}, Currencies: []string{"USD"}}},
		{"all", Filter{CustomerID: "common", DeliveryServices: []string{"dhl"}, Locales: []string{"de"}, Currencies: []string{"USD"}, CreatedTo: &middle, AmountMin: &low}},
	} {
		b.Run(list.name, func(b *testing.B) {
			var times []time.Duration
			for b.Loop() {
				after := &Key{Created: source.time(random.IntN(n)), UID: "x", Rank: list.Sort.someRank(random, source)}
				began := time.Now()
				_, ok := r.list(list.Filter, after, 20)
				times = append(times, time.Since(began))
				require.True(b, ok)
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1e3, "p99-µs")
		})
	}
	for _, change := range []struct {
		name string
		next func(i int) *model.Order
	}{
		{"a new order", func(i int) *model.Order { return source.order(n + i) }},
		{"a changed order", func(int) *model.Order {
			changed := source.order(random.IntN(n))
			changed.CustomerID, changed.DateCreated = source.order(random.IntN(n)).CustomerID, source.time(random.IntN(n))
			return changed
		}},
	} {
		b.Run(change.name, func(b *testing.B) {
			orders := make([]*model.Order, b.N)
			for i := range orders {
				orders[i] = change.next(i)
			}
			r.held.took = 0
			for some := range slices.Chunk(orders, 500) {
				source.next = some
				for r.cache.Refresh(); ; {
					if <-r.rounds; source.next == nil {
						break
					}
				}
			}
			b.ReportMetric(float64(r.held.took.Microseconds())/float64(b.N), "µs/order")
			b.Logf("%.1f bytes an order", float64(r.table.bytes())/float64(n))
		})
	}
}
