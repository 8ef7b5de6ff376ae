package synth

import (
	_ "embed"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/model"
)

// maker makes orders one after another out of one source of chance.
type maker struct {
	seed             uint64
	minItems, spread int
	pcg              *rand.PCG
	rnd              *rand.Rand
}

func newMaker(seed uint64, minItems, maxItems int) *maker {
	pcg := rand.NewPCG(seed, 0)
	return &maker{seed: seed, minItems: minItems, spread: maxItems - minItems + 1, pcg: pcg, rnd: rand.New(pcg)}
}

// order makes the order with a number. The number and the date say all: the
// same order can be made again at any time.
func (m *maker) order(number uint64, created time.Time) *model.Order {
	m.pcg.Seed(mix(m.seed), mix(number))
	land := &words.Markets[m.rnd.IntN(len(words.Markets))]
	uid := orderUID(m.seed, number)
	track := "WBILM" + m.text(trackCharacters, 9)
	o := &model.Order{
		OrderUID:        uid,
		TrackNumber:     track,
		Entry:           m.pick(words.Entries),
		Delivery:        m.delivery(land),
		Items:           m.items(land, track),
		Locale:          m.pick(land.Locales),
		CustomerID:      "c" + strconv.Itoa(100_000+m.rnd.IntN(900_000)),
		DeliveryService: m.pickOf(land.Services, words.Services),
		Shardkey:        strconv.Itoa(m.rnd.IntN(10)),
		SmID:            1 + m.rnd.Int64N(100),
		DateCreated:     created,
		OofShard:        strconv.Itoa(1 + m.rnd.IntN(2)),
	}
	o.Payment = m.payment(land, o)
	return o
}

func (m *maker) delivery(land *market) *model.Delivery {
	first, last, town := m.pick(land.FirstNames), m.pick(land.LastNames), land.Cities[m.rnd.IntN(len(land.Cities))]
	return &model.Delivery{
		Name:    first + " " + last,
		Phone:   m.digits(land.Phone),
		Zip:     m.digits(town.Zip),
		City:    town.Name,
		Address: m.pick(land.Streets) + " " + strconv.Itoa(1+m.rnd.IntN(180)),
		Region:  town.Region,
		Email:   m.email(first, last),
	}
}

// email is an address at a domain that is kept for examples.
func (m *maker) email(first, last string) string {
	local := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r == '.':
			return r
		}
		return -1
	}, first+"."+last)
	if len(local) < 5 || strings.HasPrefix(local, ".") || strings.HasSuffix(local, ".") {
		local = "customer"
	}
	return local + strconv.Itoa(1+m.rnd.IntN(999)) + m.pick(words.MailDomains)
}

func (m *maker) items(land *market, track string) []model.Item {
	items := make([]model.Item, m.minItems+m.rnd.IntN(m.spread))
	for i := range items {
		shelf := &words.Shelves[m.rnd.IntN(len(words.Shelves))]
		price := (shelf.Low + m.rnd.Int64N(shelf.Spans)) * land.Scale
		var sale int64
		if m.rnd.IntN(3) > 0 {
			sale = 5 * m.rnd.Int64N(15)
		}
		items[i] = model.Item{
			ChrtID:      1_000_000 + m.rnd.Int64N(9_000_000),
			TrackNumber: track,
			Price:       price,
			RID:         m.text(hexDigits, 17) + "test",
			Name:        m.pick(shelf.Products),
			Sale:        sale,
			Size:        m.pick(shelf.Sizes),
			TotalPrice:  price * (100 - sale) / 100,
			NmID:        1_000_000 + m.rnd.Int64N(9_000_000),
			Brand:       m.pick(shelf.Brands),
			Status:      words.Statuses[m.rnd.IntN(len(words.Statuses))],
		}
	}
	return items
}

// payment adds up; it was made some seconds before the order.
func (m *maker) payment(land *market, o *model.Order) *model.Payment {
	p := &model.Payment{
		Transaction:  o.OrderUID,
		Currency:     land.Currency,
		Provider:     m.pickOf(land.Providers, words.Providers),
		PaymentDT:    o.DateCreated.Unix() - 5 - m.rnd.Int64N(120),
		Bank:         m.pick(land.Banks),
		DeliveryCost: 100 * m.rnd.Int64N(20) * land.Scale,
	}
	for i := range o.Items {
		p.GoodsTotal += o.Items[i].TotalPrice
	}
	if m.rnd.IntN(8) == 0 { // came from abroad
		p.CustomFee = p.GoodsTotal / 20
	}
	if m.rnd.IntN(4) == 0 {
		p.RequestID = m.text(hexDigits, 12)
	}
	addUp(p)
	return p
}

func addUp(p *model.Payment) { p.Amount = p.GoodsTotal + p.DeliveryCost + p.CustomFee }

// alter gives an order other content under the same uid. It stays valid, and
// its sums stay right.
func (m *maker) alter(o *model.Order) {
	switch m.rnd.IntN(4) {
	case 0:
		o.Delivery.Address += ", apartment " + strconv.Itoa(1+m.rnd.IntN(99))
	case 1:
		o.Payment.DeliveryCost += 100 + m.rnd.Int64N(900)
		addUp(o.Payment)
	case 2:
		o.Items[0].Status++
	default:
		o.CustomerID += "a"
	}
}

const (
	hexDigits       = "0123456789abcdef"
	trackCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

func (m *maker) pick(words []string) string { return words[m.rnd.IntN(len(words))] }

// pickOf picks from two lists as from one.
func (m *maker) pickOf(a, b []string) string {
	i := m.rnd.IntN(len(a) + len(b))
	if i < len(a) {
		return a[i]
	}
	return b[i-len(a)]
}

func (m *maker) text(characters string, length int) string {
	b := make([]byte, length)
	var chance uint64
	for i := range b {
		if i%8 == 0 { // a draw is good for eight characters
			chance = m.rnd.Uint64()
		}
		b[i] = characters[chance%uint64(len(characters))]
		chance /= uint64(len(characters))
	}
	return string(b)
}

func (m *maker) digits(pattern string) string {
	b := []byte(pattern)
	for i := range b {
		if b[i] == '#' {
			b[i] = byte('0' + m.rnd.IntN(10))
		}
	}
	return string(b)
}

// orderUID is 15 hex digits and "test", as the sample's. Numbers are mapped one
// to one, so no uid of a seed comes twice; of two seeds, almost never.
func orderUID(seed, number uint64) string {
	const bits = 60
	const mask = 1<<bits - 1
	x := (number + mix(seed)) & mask
	x = x * 0x9e3779b97f4a7c15 & mask // odd factors and such shifts can be undone
	x ^= x >> 31
	x = x * 0xbf58476d1ce4e5b9 & mask
	x ^= x >> 29
	b := []byte("000000000000000test")
	for i := bits/4 - 1; i >= 0; i-- {
		b[i] = hexDigits[x&15]
		x >>= 4
	}
	return string(b)
}

// mix spreads neighbouring numbers over all of uint64 (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// words are what orders are made of, from vocabulary.json.
var words = readWords()

//go:embed vocabulary.json
var vocabulary []byte

type vocabularyFile struct {
	Markets []market `json:"markets"`
	Shelves []shelf  `json:"shelves"`
	// Services and providers that every market has besides its own.
	Services    []string `json:"everywhere_services"`
	Providers   []string `json:"everywhere_providers"`
	Entries     []string `json:"entries"`
	Statuses    []int64  `json:"statuses"` // of an item; most have been accepted
	MailDomains []string `json:"mail_domains"`
}

// A market is a country that orders come from. In patterns each # becomes a
// digit; phone numbers keep a run of zeros, so that they are almost certainly unused.
type market struct {
	Locales    []string `json:"locales"`
	Currency   string   `json:"currency"`
	Scale      int64    `json:"scale"` // what a price is multiplied by, as minor units differ in worth
	Phone      string   `json:"phone"`
	FirstNames []string `json:"first_names"`
	LastNames  []string `json:"last_names"`
	Streets    []string `json:"streets"`
	Cities     []city   `json:"cities"`
	Services   []string `json:"services"`
	Banks      []string `json:"banks"`
	Providers  []string `json:"providers"`
}

type city struct {
	Name   string `json:"name"`
	Region string `json:"region"`
	Zip    string `json:"zip"`
}

// A shelf is a kind of goods. Prices are in cents, from Low on.
type shelf struct {
	Products []string `json:"products"`
	Brands   []string `json:"brands"`
	Sizes    []string `json:"sizes"`
	Low      int64    `json:"low"`
	Spans    int64    `json:"spans"`
}

func readWords() (words vocabularyFile) {
	if err := json.Unmarshal(vocabulary, &words); err != nil {
		panic(err) // a mistake in the file
	}
	return words
}
