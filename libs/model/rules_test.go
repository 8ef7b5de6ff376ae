package model

import (
	"strings"
	"testing"
	"time"

	"github.com/go-playground/validator/v10"
	"github.com/stretchr/testify/require"
)

func checkTexts(t *testing.T, ok func(string) bool, good, bad []string) {
	t.Helper()
	for _, s := range good {
		require.True(t, ok(s), "%q must be good", s)
	}
	for _, s := range bad {
		require.False(t, ok(s), "%q must be bad", s)
	}
}

func TestOrderUIDs(t *testing.T) {
	checkTexts(t, IsOrderUID,
		[]string{"b563feb7b2b84b6test", "a", "A-Z_0.9", "...", ".a", "a..", "Stream", "streams", strings.Repeat("x", 64)},
		[]string{".", "..", "stream", "", " ", "a b", "a/b", "a%20b", "a\n", "ä", "a\x00", "a:b", "@", "[", "`", "{", strings.Repeat("x", 65)})
}

func TestEmails(t *testing.T) {
	good := []string{
		"test@gmail.com", "alexey.petrov@example.com", "a@b.co", "first.last+tag@sub.example.co.uk", "o'neill@example.ie",
		"x_y-z@my-host.example", "1@1.example", strings.Repeat("a", 64) + "@example.com", "анна@почта.рф", "anna@bücher.example",
	}
	checkTexts(t, IsEmail, good, []string{
		"", "@", "test", "test@", "@gmail.com", "test@localhost", "te st@gmail.com", "test@gmail.com ", " test@gmail.com", "test@@gmail.com",
		"a@b@c.de", "test@.com", "test@gmail.", "test@gmail..com", "test@-gmail.com", "test@gmail-.com", "test@gmail.com-", "te\x00st@gmail.com",
		".test@gmail.com", "test.@gmail.com", "te..st@gmail.com", `"te st"@gmail.com`, "test@[127.0.0.1]", "test@gma_il.com", "<test@gmail.com>",
		"a,b@gmail.com", "test@gmail.com\n", "te\u00a0st@gmail.com", "test@gm\u2028ail.com", "te\xffst@gmail.com",
		strings.Repeat("a", 65) + "@example.com", "a@" + strings.Repeat("b", 64) + ".com",
		"a@" + strings.Repeat("b.", 130) + "com",
	})
	v := validator.New()
	for _, s := range good {
		require.NoError(t, v.Var(s, "email"), s) // what we let through, validator's own rule does
	}
}

func TestPhones(t *testing.T) {
	checkTexts(t, IsPhone,
		[]string{"+9720000000", "+79161234567", "+1234567", "+123456789012345"},
		[]string{"", "+", "79161234567", "+0123456789", "+123456", "+1234567890123456", "+7 916 1234567", "+7916123456a", "++7916123456", "+７9161234567"})
}

func TestCurrencies(t *testing.T) {
	v := validator.New()
	var code [3]byte
	for code[0] = 'A'; code[0] <= 'Z'; code[0]++ {
		for code[1] = 'A'; code[1] <= 'Z'; code[1]++ {
			for code[2] = 'A'; code[2] <= 'Z'; code[2]++ {
				if s := string(code[:]); v.Var(s, "iso4217") == nil {
					require.True(t, IsCurrency(s), s)
				}
			}
		}
	}
	checkTexts(t, IsCurrency, []string{"USD", "RUB", "EUR", "HRK", "XCG"}, []string{"", "usd", "US", "USDT", "BTC", "RUR", "840", "US ", "€"})
}

func TestLocales(t *testing.T) {
	good := []string{
		"en", "ru", "EN", "kok", "en-US", "pt-BR", "zh-Hant-TW", "es-419", "sl-rozaj-biske", "de-CH-1996", "de-1901",
		"zh-cmn-Hans-CN", "en-u-ca-gregory", "en-a-bbb-x-a-ccc", "de-x-a", "sr-Latn-RS-x-private",
	}
	checkTexts(t, IsLocale, good, []string{
		"", "e", "english", "en_US", "en-", "-en", "en--US", "en US", "12", "e1", "en-US-", "en-U", "en-u", "en-x", "en-x-", "en-abcdefghi",
		"en-US-US", "en-u-a", "x-private", "i-klingon", "русский", "en\x00", "en-1", "en-12345678901", strings.Repeat("en-", 12) + "en",
	})
	v := validator.New()
	for _, s := range good {
		require.NoError(t, v.Var(s, "bcp47_language_tag"), s)
	}
}

func TestEachRule(t *testing.T) {
	long := func(n int) string { return strings.Repeat("ж", n) }
	type change struct {
		path, rule string
		good, bad  func(*Order)
	}
	var changes []change
	text := func(path string, at func(*Order) *string, rule string, good, bad string) {
		changes = append(changes, change{path, rule,
			func(o *Order) { *at(o) = good }, func(o *Order) { *at(o) = bad }})
	}
	number := func(path string, at func(*Order) *int64, rule string, good, bad int64) {
		changes = append(changes, change{path, rule,
			func(o *Order) { *at(o) = good }, func(o *Order) { *at(o) = bad }})
	}
	lengths := func(path string, at func(*Order) *string, required bool, n int) {
		if required {
			text(path, at, "required", "ж", "")
		} else {
			text(path, at, "max", "", long(n+1))
		}
		text(path, at, "max", long(n), long(n+1))
		text(path, at, "text", "a\u007f\u2028", "a\x00")
		text(path, at, "text", "\U0010ffff", "\xff")
	}
	amount := func(path string, at func(*Order) *int64) {
		number(path, at, "min", 0, -1)
		number(path, at, "max", MaxInteger, MaxInteger+1)
	}
	id := func(path string, at func(*Order) *int64) {
		number(path, at, "min", 0, -1)
		number(path, at, "max", MaxInteger, MaxInteger+1)
	}

	text("order_uid", func(o *Order) *string { return &o.OrderUID }, "order_uid", "a.b", "a b")
	lengths("track_number", func(o *Order) *string { return &o.TrackNumber }, true, 128)
	lengths("entry", func(o *Order) *string { return &o.Entry }, true, 128)
	lengths("delivery.name", func(o *Order) *string { return &o.Delivery.Name }, true, 256)
	text("delivery.phone", func(o *Order) *string { return &o.Delivery.Phone }, "phone", "+1234567", "")
	lengths("delivery.zip", func(o *Order) *string { return &o.Delivery.Zip }, false, 32)
	lengths("delivery.city", func(o *Order) *string { return &o.Delivery.City }, true, 256)
	lengths("delivery.address", func(o *Order) *string { return &o.Delivery.Address }, true, 1024)
	lengths("delivery.region", func(o *Order) *string { return &o.Delivery.Region }, false, 256)
	text("delivery.email", func(o *Order) *string { return &o.Delivery.Email }, "email", "a@b.cd", "")
	lengths("payment.transaction", func(o *Order) *string { return &o.Payment.Transaction }, true, 128)
	lengths("payment.request_id", func(o *Order) *string { return &o.Payment.RequestID }, false, 128)
	text("payment.currency", func(o *Order) *string { return &o.Payment.Currency }, "iso4217", "RUB", "rub")
	lengths("payment.provider", func(o *Order) *string { return &o.Payment.Provider }, true, 128)
	amount("payment.amount", func(o *Order) *int64 { return &o.Payment.Amount })
	number("payment.payment_dt", func(o *Order) *int64 { return &o.Payment.PaymentDT }, "unix_seconds", 0, -1)
	number("payment.payment_dt", func(o *Order) *int64 { return &o.Payment.PaymentDT }, "unix_seconds", MaxPaymentDT, MaxPaymentDT+1)
	number("payment.payment_dt", func(o *Order) *int64 { return &o.Payment.PaymentDT }, "unix_seconds", 1637907727, 1637907727000)
	lengths("payment.bank", func(o *Order) *string { return &o.Payment.Bank }, false, 128)
	amount("payment.delivery_cost", func(o *Order) *int64 { return &o.Payment.DeliveryCost })
	amount("payment.goods_total", func(o *Order) *int64 { return &o.Payment.GoodsTotal })
	amount("payment.custom_fee", func(o *Order) *int64 { return &o.Payment.CustomFee })
	id("items[1].chrt_id", func(o *Order) *int64 { return &o.Items[1].ChrtID })
	lengths("items[1].track_number", func(o *Order) *string { return &o.Items[1].TrackNumber }, true, 128)
	amount("items[1].price", func(o *Order) *int64 { return &o.Items[1].Price })
	lengths("items[1].rid", func(o *Order) *string { return &o.Items[1].RID }, true, 128)
	lengths("items[1].name", func(o *Order) *string { return &o.Items[1].Name }, true, 1024)
	number("items[1].sale", func(o *Order) *int64 { return &o.Items[1].Sale }, "min", 0, -1)
	number("items[1].sale", func(o *Order) *int64 { return &o.Items[1].Sale }, "max", 100, 101)
	lengths("items[1].size", func(o *Order) *string { return &o.Items[1].Size }, false, 128)
	amount("items[1].total_price", func(o *Order) *int64 { return &o.Items[1].TotalPrice })
	id("items[1].nm_id", func(o *Order) *int64 { return &o.Items[1].NmID })
	lengths("items[1].brand", func(o *Order) *string { return &o.Items[1].Brand }, false, 256)
	id("items[1].status", func(o *Order) *int64 { return &o.Items[1].Status })
	text("locale", func(o *Order) *string { return &o.Locale }, "bcp47", "pt-BR", "")
	lengths("internal_signature", func(o *Order) *string { return &o.InternalSignature }, false, 1024)
	lengths("customer_id", func(o *Order) *string { return &o.CustomerID }, true, 128)
	lengths("delivery_service", func(o *Order) *string { return &o.DeliveryService }, true, 128)
	lengths("shardkey", func(o *Order) *string { return &o.Shardkey }, false, 128)
	id("sm_id", func(o *Order) *int64 { return &o.SmID })
	lengths("oof_shard", func(o *Order) *string { return &o.OofShard }, false, 128)
	date := func(good, bad time.Time) {
		changes = append(changes, change{"date_created", "year_range",
			func(o *Order) { o.DateCreated = good }, func(o *Order) { o.DateCreated = bad }})
	}
	date(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(0, 12, 31, 23, 59, 59, 0, time.UTC))
	date(time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))
	date(time.Date(10000, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600)), time.Date(1, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600)))

	c := New(Options{})
	paths := map[string]bool{}
	for _, ch := range changes {
		paths[ch.path] = true
		o := sampleOrder()
		o.Items = append(o.Items, o.Items[0])
		ch.good(o)
		require.Empty(t, c.Validate(o), ch.path)
		require.Empty(t, c.ruleFailures(o), ch.path)
		ch.bad(o)
		require.Equal(t, []string{ch.path + " " + ch.rule}, brief(c.Validate(o)))
		require.NotContains(t, c.Validate(o)[0].Message, "breaks the rule", "every rule has its own message")
	}
	fields := len(orderFields) - 3 + len(deliveryFields) + len(paymentFields) + len(itemFields) - 4
	require.Len(t, paths, fields, "every field has a test")
}

func TestRulesOfParts(t *testing.T) {
	c := New(Options{MaxItems: 2, CheckSums: true})
	for _, tt := range []struct {
		change func(*Order)
		want   string
	}{
		{func(o *Order) { o.Delivery = nil }, "delivery required"},
		{func(o *Order) { o.Payment = nil }, "payment required"},
		{func(o *Order) { o.Items = nil }, "items required"},
		{func(o *Order) { o.Items = []Item{} }, "items min"},
		{func(o *Order) { o.Items = make([]Item, 3) }, "items max_items"},
		{func(o *Order) { *o = Order{} }, "order_uid order_uid"},
	} {
		o := sampleOrder()
		tt.change(o)
		require.Equal(t, tt.want, brief(c.Validate(o))[0])
	}
	require.Equal(t, []string{"required"}, brief(c.Validate(nil)))

	_, err := c.Decode(edit(t, `"items":[`+string(appendObject(nil, &sampleOrder().Items[0], itemFields))+`]`, `"items":[]`))
	require.Equal(t, []string{"items min"}, briefOf(err))
	require.Contains(t, err.Error(), "at least 1 item")
}

func TestDatesAreRules(t *testing.T) {
	c := New(Options{})
	_, err := c.Decode(edit(t, "2021-11-26T06:22:19Z", "26.11.2021"))
	require.Equal(t, []string{"date_created rfc3339"}, briefOf(err))
	require.Equal(t, StageValidate, recordError(t, err).Stage)
	_, err = c.Decode(edit(t, "2021-11-26T06:22:19Z", "0000-11-26T06:22:19Z"))
	require.Equal(t, []string{"date_created year_range"}, briefOf(err))
}

func TestSums(t *testing.T) {
	off, on := New(Options{}), New(Options{CheckSums: true})
	record := edit(t, `"amount":1817`, `"amount":1818`, `"total_price":317`, `"total_price":318`)
	_, err := off.Decode(record)
	require.NoError(t, err)
	_, err = on.Decode(record)
	require.Equal(t, []string{"payment.amount sum", "payment.goods_total sum"}, briefOf(err))

	_, err = on.Decode(edit(t, `"amount":1817`, `"amount":1818`, `"locale":"en"`, `"locale":"?"`))
	require.Equal(t, []string{"payment.amount sum", "locale bcp47"}, briefOf(err))
	_, err = on.Decode(edit(t, `"amount":1817`, `"amount":1818`, `"sale":30`, `"sale":101`))
	require.Equal(t, []string{"items[0].sale max"}, briefOf(err), "sums are compared when their parts are right")

	o := sampleOrder()
	o.Payment.Amount, o.Payment.GoodsTotal, o.Payment.DeliveryCost, o.Payment.CustomFee = MaxInteger, MaxInteger, MaxInteger, MaxInteger
	o.Items = make([]Item, 2000)
	for i := range o.Items {
		o.Items[i] = sampleOrder().Items[0]
		o.Items[i].TotalPrice = MaxInteger
	}
	require.Equal(t, []string{"payment.amount sum", "payment.goods_total sum"},
		brief(New(Options{CheckSums: true, MaxItems: 2000}).Validate(o)), "nothing overflows")
}
