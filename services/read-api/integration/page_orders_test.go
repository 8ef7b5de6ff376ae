package integration_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

// shownOrders are the orders of a page under test, which tests change while
// the page is open.
type shownOrders struct {
	mu    sync.Mutex
	byUID map[string][]byte
	list  [][]byte // newest first
	stale time.Time
	away  bool
}

func (s *shownOrders) Get(_ context.Context, uid string) (page.Found, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	canonical, ok := s.byUID[uid]
	if !ok && s.away {
		return page.Found{}, errors.New("the database is away")
	}
	return page.Found{Canonical: canonical, StaleSince: s.stale}, nil
}

func (s *shownOrders) Newest(_ context.Context, n int) (page.List, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return page.List{Canonical: s.list[:min(n, len(s.list))], StaleSince: s.stale}, nil
}

// change changes the orders' state while the page may be reading it.
func (s *shownOrders) change(how func(*shownOrders)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how(s)
}

// add puts an order before all others.
func (s *shownOrders) add(order *model.Order) {
	canonical := model.AppendCanonical(nil, order)
	s.change(func(s *shownOrders) {
		s.byUID[order.OrderUID] = canonical
		s.list = append([][]byte{canonical}, s.list...)
	})
}

const (
	sampleUID   = "b563feb7b2b84b6test"
	severalUID  = "7c1e04a9d2f84b35-eu"
	hostileUID  = "hostile"
	hostileText = `"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`
)

// newShownOrders are an order of three items, a dozen small ones in several
// currencies, and the sample order, which is too old for the list.
func newShownOrders() *shownOrders {
	s := &shownOrders{byUID: map[string][]byte{}}
	now := time.Now().UTC()
	small := []struct{ name, city, currency string }{
		{"Mia Schneider", "Leipzig", "EUR"}, {"Noah Laurent", "Lyon", "EUR"}, {"Aigerim Bekova", "Almaty", "KZT"},
		{"Liam O’Connor", "Cork", "EUR"}, {"Sofía Romero", "Valencia", "EUR"}, {"Jonas Berg", "Malmö", "SEK"},
		{"Elif Kaya", "İzmir", "TRY"}, {"Hana Sato", "Sapporo", "JPY"}, {"Oleg Danilov", "Kazan", "RUB"},
		{"Chiara Conti", "Torino", "EUR"}, {"Emma van Dijk", "Utrecht", "EUR"}, {"Tomasz Nowak", "Poznań", "PLN"},
	}
	for i, person := range slices.Backward(small) {
		order := sampleOrder(fmt.Sprintf("%x%xtest", 0xb563feb7+i*0x3a91c07, 0x2b84b6+i*0x17c3d9), now.Add(-time.Duration(i*i*17+2)*time.Minute))
		order.Delivery.Name, order.Delivery.City = person.name, person.city
		order.Payment.Currency = person.currency
		order.Payment.GoodsTotal = int64(2670 + i*i*2713)
		order.Payment.Amount = order.Payment.GoodsTotal + order.Payment.DeliveryCost
		s.add(order)
	}

	several := sampleOrder(severalUID, now.Add(-40*time.Second))
	several.TrackNumber, several.CustomerID, several.DeliveryService, several.Locale = "FR8830214756", "c-204817", "colissimo", "fr"
	several.Delivery = &model.Delivery{
		Name: "Amélie Fournier", Phone: "+33142685300", Zip: "75011", City: "Paris", Address: "18 rue de la Roquette",
		Region: "Île-de-France", Email: "amelie.fournier@example.com",
	}
	several.Payment = &model.Payment{
		Transaction: severalUID, Currency: "EUR", Provider: "wbpay", Amount: 15497, PaymentDT: now.Add(-70 * time.Second).Unix(),
		Bank: "beta", DeliveryCost: 490, GoodsTotal: 14740, CustomFee: 267,
	}
	several.Items = []model.Item{
		sampleItem("Linen shirt", "Maison Ouest", "M", 5990, 10, 5391, 202),
		sampleItem("Canvas sneakers", "Nordlys", "39", 8900, 25, 6675, 202),
		sampleItem("Merino socks, two pairs", "Fjell & Co", "38-40", 2674, 0, 2674, 103),
	}
	for i := range several.Items {
		several.Items[i].TrackNumber = several.TrackNumber
		several.Items[i].ChrtID += int64(i * 3187)
		several.Items[i].NmID += int64(i * 40213)
	}
	s.add(several)

	s.byUID[sampleUID] = model.AppendCanonical(nil, sampleOrder(sampleUID, time.Date(2021, 11, 26, 6, 22, 19, 0, time.UTC)))
	return s
}

func sampleOrder(uid string, created time.Time) *model.Order {
	return &model.Order{
		OrderUID: uid, TrackNumber: "WBILMTESTTRACK", Entry: "WBIL",
		Delivery: &model.Delivery{
			Name: "Test Testov", Phone: "+9720000000", Zip: "2639809", City: "Kiryat Mozkin", Address: "Ploshad Mira 15",
			Region: "Kraiot", Email: "test@gmail.com",
		},
		Payment: &model.Payment{
			Transaction: uid, Currency: "USD", Provider: "wbpay", Amount: 1817, PaymentDT: 1637907727, Bank: "alpha",
			DeliveryCost: 1500, GoodsTotal: 317,
		},
		Items:  []model.Item{sampleItem("Mascaras", "Vivienne Sabo", "0", 453, 30, 317, 202)},
		Locale: "en", CustomerID: "test", DeliveryService: "meest", ShardKey: "9", SmID: 99,
		DateCreated: created.Truncate(time.Second), OofShard: "1",
	}
}

func sampleItem(name, brand, size string, price, sale, total, status int64) model.Item {
	return model.Item{
		ChrtID: 9934930, TrackNumber: "WBILMTESTTRACK", Price: price, RID: "ab4219087a764ae0btest", Name: name, Sale: sale,
		Size: size, TotalPrice: total, NmID: 2389212, Brand: brand, Status: status,
	}
}
