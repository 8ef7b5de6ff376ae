package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

// shownOrders are the orders of a page under test, which tests change while
// the page is open.
type shownOrders struct {
	changes changes
	export  chan bool // lets an export go on

	mu    sync.Mutex
	byUID map[string][]byte
	list  [][]byte // newest first
	stale time.Time
	away  bool
	past  map[string][]page.Event // newest first
}

// Timeline gives what tests put there.
func (s *shownOrders) Timeline(_ context.Context, uid string, _ bool) ([]page.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.past[uid], nil
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

// List goes on where a cursor says: it is the number of orders before.
func (s *shownOrders) List(_ context.Context, query page.Query) (page.List, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := 0
	if query.Cursor != "" {
		var err error
		if before, err = strconv.Atoi(query.Cursor); err != nil {
			return page.List{}, &page.RefusedError{Cursor: true, Detail: "That is no cursor."}
		}
	}
	var all [][]byte
	for _, canonical := range s.list {
		if matches(canonical, query.Filters) {
			all = append(all, canonical)
		}
	}
	all = all[min(before, len(all)):]
	list := page.List{Canonical: all, StaleSince: s.stale}
	if len(all) > query.Limit {
		list.Canonical, list.Next = all[:query.Limit], strconv.Itoa(before+query.Limit)
	}
	return list, nil
}

// Suggest knows the three kinds, as the API does.
func (s *shownOrders) Suggest(_ context.Context, text string, _ bool) ([]page.Suggestion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errors.New("the database is away")
	}
	var whole, begun []page.Suggestion
	for _, kind := range []string{page.KindTrackNumber, page.KindCustomer} {
		name := map[string]string{page.KindTrackNumber: "track_number", page.KindCustomer: "customer_id"}[kind]
		orders := 0
		for _, canonical := range s.byUID {
			if matches(canonical, url.Values{name: {text}}) {
				orders++
			}
		}
		if orders > 0 {
			whole = append(whole, page.Suggestion{Kind: kind, Value: text, Orders: orders})
		}
	}
	for uid := range s.byUID {
		if strings.HasPrefix(uid, text) {
			begun = append(begun, page.Suggestion{Kind: page.KindOrder, Value: uid, Orders: 1})
		}
	}
	slices.SortFunc(begun, func(a, b page.Suggestion) int { return strings.Compare(a.Value, b.Value) })
	return append(whole, begun...), nil
}

// matches is as much of the API's filters as the tests set.
func matches(canonical []byte, filters url.Values) bool {
	var order struct {
		CustomerID  string    `json:"customer_id"`
		TrackNumber string    `json:"track_number"`
		DateCreated time.Time `json:"date_created"`
		Payment     struct {
			Currency string
			Amount   int64
		}
	}
	if err := json.Unmarshal(canonical, &order); err != nil {
		panic(err)
	}
	for name, values := range filters {
		wanted, ok := values[0], false
		switch name {
		case "customer_id":
			ok = order.CustomerID == wanted
		case "track_number":
			ok = order.TrackNumber == wanted
		case "currency":
			ok = order.Payment.Currency == wanted
		case "amount_min":
			amount, err := strconv.ParseInt(wanted, 10, 64)
			ok = err == nil && order.Payment.Amount >= amount
		case "created_to":
			moment, err := time.Parse(time.RFC3339Nano, wanted)
			ok = err == nil && !order.DateCreated.After(moment)
		}
		if !ok {
			return false
		}
	}
	return true
}

// change changes the orders' state while the page may be reading it.
func (s *shownOrders) change(how func(*shownOrders)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how(s)
}

// add puts an order before all others, in place of one with its uid, and has the
// stream tell it.
func (s *shownOrders) add(order *model.Order) {
	canonical := model.AppendCanonical(nil, order)
	s.change(func(s *shownOrders) {
		old := s.byUID[order.OrderUID]
		s.list = slices.DeleteFunc(s.list, func(other []byte) bool { return old != nil && string(other) == string(old) })
		s.byUID[order.OrderUID] = canonical
		s.list = append([][]byte{canonical}, s.list...)
	})
	s.changes.tell("upsert", string(canonical))
}

// remove deletes an order, and has the stream tell it.
func (s *shownOrders) remove(uid string) {
	s.change(func(s *shownOrders) {
		old := s.byUID[uid]
		s.list = slices.DeleteFunc(s.list, func(other []byte) bool { return string(other) == string(old) })
		delete(s.byUID, uid)
	})
	s.changes.tell("delete", fmt.Sprintf(`{"order_uid":%q}`, uid))
}

const (
	sampleUID  = "b563feb7b2b84b6test"
	severalUID = "7c1e04a9d2f84b35-eu"
	hostileUID = "hostile"

	severalTrack    = "FR8830214756" // of that order alone
	severalCustomer = "c-204817"     // of two orders

	hostileText = `"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`
)

// newShownOrders are an order of three items, a dozen small ones in several
// currencies, and the sample order, which is too old for their list.
func newShownOrders() *shownOrders {
	s := &shownOrders{byUID: map[string][]byte{}, export: make(chan bool)}
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
		order.CustomerID, order.DeliveryService = fmt.Sprintf("c-20%04d", i*i*367+113), []string{"colissimo", "meest", "dhl"}[i%3]
		order.TrackNumber = fmt.Sprintf("TR%08d", 48210733+i*7130911)
		order.Items[0].TrackNumber = order.TrackNumber
		if i == 4 {
			order.CustomerID = severalCustomer
		}
		order.Payment.Currency = person.currency
		order.Payment.GoodsTotal = int64(2670 + i*i*2713)
		order.Payment.Amount = order.Payment.GoodsTotal + order.Payment.DeliveryCost
		s.add(order)
	}

	several := sampleOrder(severalUID, now.Add(-40*time.Second))
	several.TrackNumber, several.CustomerID, several.DeliveryService, several.Locale = severalTrack, severalCustomer, "colissimo", "fr"
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
		Locale: "en", CustomerID: "test", DeliveryService: "meest", Shardkey: "9", SmID: 99,
		DateCreated: created.Truncate(time.Second), OofShard: "1",
	}
}

func sampleItem(name, brand, size string, price, sale, total, status int64) model.Item {
	return model.Item{
		ChrtID: 9934930, TrackNumber: "WBILMTESTTRACK", Price: price, RID: "ab4219087a764ae0btest", Name: name, Sale: sale,
		Size: size, TotalPrice: total, NmID: 2389212, Brand: brand, Status: status,
	}
}
