package cache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
)

// randomOrder is much like real ones; odd ones have texts of all kinds.
func randomOrder(random *rand.Rand, uid string, odd bool) *model.Order {
	pick := func(words ...string) string {
		if odd && random.IntN(4) == 0 {
			return [...]string{"", uid, `"`, `\`, "\x00\x01\x02", "a\nb", "Łódź — ☃", "null", "},{", "<&>", strings.Repeat("x", 300)}[random.IntN(11)]
		}
		return words[random.IntN(len(words))]
	}
	number := func(most int64) int64 {
		if odd && random.IntN(4) == 0 {
			return random.Int64() - random.Int64()
		}
		return random.Int64N(most)
	}
	hex := func(n int) string { return fmt.Sprintf("%032x", random.Uint64())[32-n:] }
	track := "WBIL" + strings.ToUpper(hex(9))
	o := &model.Order{
		OrderUID: uid, TrackNumber: track, Entry: pick("WBIL"), Locale: pick("en", "ru", "he"), InternalSignature: pick(""),
		CustomerID: pick("c" + fmt.Sprint(number(900_000))), DeliveryService: pick("meest", "dhl", "cdek"), Shardkey: fmt.Sprint(number(10)),
		SmID: number(100), DateCreated: time.UnixMicro(1_700_000_000_000_000 + number(1e12)).UTC(), OofShard: pick("1", "2"),
		Delivery: &model.Delivery{
			Name: pick("Anna", "Ivan", "Noa") + " " + pick("Levi", "Müller", "Сокол"), Phone: pick("+9720000000", "+79160000000"),
			Zip: fmt.Sprint(number(1e6)), City: pick("Moscow", "Haifa", "Köln"), Address: pick("Ploshad Mira", "Herzl Street") + " " + fmt.Sprint(number(180)),
			Region: pick("Kraiot", "Bayern"), Email: pick("anna", "ivan") + fmt.Sprint(number(999)) + "@example.com",
		},
		Payment: &model.Payment{
			Transaction: uid, RequestID: pick(""), Currency: pick("USD", "RUB"), Provider: pick("wbpay", "visa"), Amount: number(1e6),
			PaymentDT: 1_700_000_000 + number(1e6), Bank: pick("alpha", "sber"), DeliveryCost: number(3000), GoodsTotal: number(1e5), CustomFee: 0,
		},
	}
	items := 1
	if odd {
		items = random.IntN(4)
	}
	for range items {
		o.Items = append(o.Items, model.Item{
			ChrtID: number(1e7), TrackNumber: track, Price: number(1e5), RID: hex(17) + "test", Name: pick("Mascaras", "Lamp", "Socks"),
			Sale: 5 * number(15), Size: pick("0", "M", "42"), TotalPrice: number(1e5), NmID: number(1e7), Brand: pick("Vivienne Sabo", "Acme"), Status: 202,
		})
	}
	if odd && random.IntN(6) == 0 {
		o.Delivery = nil
	}
	if odd && random.IntN(6) == 0 {
		o.Payment = nil
	}
	return o
}

func TestPackingIsUndone(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	packable := 0
	for i := range 5000 {
		uid := fmt.Sprintf("%015xtest", random.Uint64()>>4)
		o := randomOrder(random, uid, i%2 == 0)
		canonical := model.AppendCanonical(nil, o)
		packed, ok := pack(nil, uid, canonical)
		require.Equal(t, o.Delivery != nil && o.Payment != nil && o.Items != nil, ok, "%s", canonical)
		if !ok {
			continue
		}
		packable++
		require.Equal(t, string(canonical), string(unpack(nil, uid, packed)))
		if i%2 == 1 {
			require.Less(t, len(packed), len(canonical)/2)
		}
	}
	require.Greater(t, packable, 3000)
}

// TestOtherShapesAreNotPacked changes single bytes of an order: what can still be
// packed is unpacked the same.
func TestOtherShapesAreNotPacked(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	canonical := model.AppendCanonical(nil, randomOrder(random, "uid", false))
	for i := range canonical {
		for _, c := range []byte{0, 1, 2, 3, '"', '\\', ',', '}', 'x', 0xff} {
			changed := bytes.Clone(canonical)
			changed[i] = c
			for _, body := range [][]byte{changed, append(bytes.Clone(canonical[:i]), canonical[i+1:]...), canonical[:i]} {
				if packed, ok := pack(nil, "uid", body); ok {
					require.Equal(t, string(body), string(unpack(nil, "uid", packed)))
				}
			}
		}
	}
}
