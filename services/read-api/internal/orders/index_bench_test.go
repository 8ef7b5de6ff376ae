package orders

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// listedOrdersVariable sets of how many orders the benchmark lists some.
const listedOrdersVariable = "ORDERHUB_TEST_LISTED_ORDERS"

// BenchmarkMemoryLists reads first and later pages of 20 orders from memory.
func BenchmarkMemoryLists(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv(listedOrdersVariable))
	if err != nil {
		n = 100_000
	}
	random := rand.New(rand.NewPCG(1, 1))
	source := &stored{orders: make(map[string]*model.Order, n)}
	day := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		uid := fmt.Sprintf("%016x%04x", random.Uint64(), i&0xffff)
		source.orders[uid] = &model.Order{
			OrderUID: uid, TrackNumber: "TRACK" + uid[:12], CustomerID: fmt.Sprintf("customer-%d", random.IntN(n/5+1)), Locale: one(random, "en", "de", "ru"),
			DeliveryService: one(random, "meest", "dhl", "post"), DateCreated: day.Add(time.Duration(i) * 37 * time.Millisecond), Entry: "WBIL",
			Payment:  &model.Payment{Currency: one(random, "EUR", "USD", "RUB"), Amount: random.Int64N(100_000), Transaction: uid},
			Delivery: &model.Delivery{Name: "Test " + uid[:4], Phone: "+9720000" + uid[16:], Email: uid[:10] + "@example.com"},
			Items:    []model.Item{{Name: "Mascaras", Brand: "Vivienne Sabo", Price: 453, NmID: random.Int64N(1 << 30)}},
		}
		if i%(n/10) == 7 {
			source.orders[uid].DeliveryService = "rare"
		}
		if i%2 == 0 {
			source.orders[uid].CustomerID = "common"
		}
	}
	began := time.Now()
	r := run(b, source, cache.StoreOptions{}, func(*index) {})
	r.settle()
	b.Logf("%d orders: %.1f bytes each, all after %v", n, float64(r.table.bytes())/float64(n), time.Since(began))
	middle, hour := day.Add(time.Duration(n/2)*37*time.Millisecond), day.Add(time.Duration(n/2)*37*time.Millisecond).Add(-time.Hour)
	high, low := int64(99_990), int64(10)
	uid := slices.Min(slices.Collect(maps.Keys(source.orders)))
	for _, list := range []struct {
		name string
		Filter
	}{
		{"newest", Filter{}},
		{"customer_id", Filter{CustomerID: "customer-7"}},
		{"customer_id of half", Filter{CustomerID: "common"}},
		{"customer_id of half and a rare amount", Filter{CustomerID: "common", AmountMin: &high}},
		{"track_number", Filter{TrackNumber: source.orders[uid].TrackNumber}},
		{"email", Filter{Email: source.orders[uid].Delivery.Email}},
		{"name", Filter{Name: NormalText(source.orders[uid].Delivery.Name)}},
		{"nm_id", Filter{NmIDs: []int64{source.orders[uid].Items[0].NmID}}},
		{"brand", Filter{Brands: []string{"Vivienne Sabo"}}},
		{"no brand", Filter{Brands: []string{"none"}}},
		{"largest", Filter{Sort: LargestFirst}},
		{"largest of a customer", Filter{Sort: LargestFirst, CustomerID: "customer-7"}},
		{"oldest of a rare delivery_service", Filter{Sort: OldestFirst, DeliveryServices: []string{"rare"}}},
		{"delivery_service", Filter{DeliveryServices: []string{"dhl"}}},
		{"rare delivery_service", Filter{DeliveryServices: []string{"rare"}}},
		{"locale", Filter{Locales: []string{"de"}}},
		{"currency", Filter{Currencies: []string{"USD"}}},
		{"created", Filter{CreatedFrom: &hour, CreatedTo: &middle}},
		{"amount_min", Filter{AmountMin: &high}},
		{"amount_max", Filter{AmountMax: &low}},
		{"all", Filter{CustomerID: "common", DeliveryServices: []string{"dhl"}, Locales: []string{"de"}, Currencies: []string{"USD"}, CreatedTo: &middle, AmountMin: &low}},
	} {
		b.Run(list.name, func(b *testing.B) {
			var times []time.Duration
			for b.Loop() {
				after := &Key{Created: day.Add(time.Duration(random.IntN(n)) * 37 * time.Millisecond), UID: "x"}
				began := time.Now()
				_, ok := r.list(list.Filter, after, 20)
				times = append(times, time.Since(began))
				require.True(b, ok)
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1e3, "p99-µs")
		})
	}
	b.Run("a changed order", func(b *testing.B) {
		orders := make([]*model.Order, 0, n)
		for _, o := range source.orders {
			orders = append(orders, o)
		}
		for b.Loop() {
			changed := *orders[random.IntN(n)]
			changed.CustomerID, changed.DateCreated = orders[random.IntN(n)].CustomerID, orders[random.IntN(n)].DateCreated
			row, values := r.rowOf(&changed, cache.NewRecord(changed.OrderUID, []byte(changed.OrderUID)))
			changes := map[identity]pending{row.identity(): {uid: changed.OrderUID, row: row, values: values}}
			r.mu.Lock()
			r.pending = changes
			require.True(b, r.apply())
			r.pending = map[identity]pending{}
			r.mu.Unlock()
		}
		b.Logf("%.1f bytes an order after %d changes", float64(r.table.bytes())/float64(n), b.N)
	})
}
