package normalize

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
)

func sample(t testing.TB) *model.Order {
	t.Helper()
	record, err := os.ReadFile("../../model/testdata/samples/model.json")
	require.NoError(t, err)
	var o model.Order
	require.NoError(t, json.Unmarshal(record, &o))
	return &o
}

func TestPhones(t *testing.T) {
	for _, tt := range []struct{ region, locale, phone, want string }{
		{"", "", "+7 (900) 000-00-00", "+79000000000"},
		{"", "", "+1-202-555-0101", "+12025550101"},
		{"", "", "+44 (0)20 7946 0958", "+442079460958"},
		{"", "", "tel:+7-900-000-00-00", "+79000000000"},
		{"", "", "\u202a+7\u00a0900\u00a0000\u201100\u201100\u202c", "+79000000000"},
		{"", "", "+972 000 00 00", "+9720000000"}, // of no known range
		{"RU", "", "8-900-000-00-00", "+79000000000"},
		{"RU", "", "8 (900) 000 00 00", "+79000000000"},
		{"RU", "", "9000000000", "+79000000000"},
		{"", "ru-RU", "8-900-000-00-00", "+79000000000"},
		{"", "ru_RU", "8-900-000-00-00", "+79000000000"},
		{"", "sr-Latn-RS", "064 123 4567", "+381641234567"},
		{"GB", "", "020 7946 0958", "+442079460958"},
		{"DE", "", "0049 30 123456", "+4930123456"},
		{"RU", "en-US", "8-900-000-00-00", "+79000000000"}, // no number of the United States

		{"", "", "8-900-000-00-00", ""},
		{"", "ru", "8-900-000-00-00", ""},
		{"US", "en-GB", "2079460958", ""}, // one number in the one country, another in the other
		{"RU", "", "+7 900 000 00 00 ext. 5", ""},
		{"RU", "", "+7 900 000-00-00, +7 900 000-00-01", ""},
		{"US", "", "1-800-FLOWERS", ""},
		{"RU", "", "call me", ""},
		{"RU", "", "", ""},
		{"", "", "+7 (8) 900", ""},
		{"RU", "", "123", ""},
	} {
		o := sample(t)
		o.Delivery.Phone, o.Locale = tt.phone, tt.locale
		want := tt.want
		if want == "" {
			want = tt.phone
		}
		require.Equal(t, want, New(tt.region).Normalize(o).Delivery.Phone, "%+v", tt)
		require.Equal(t, tt.phone, o.Delivery.Phone, "the order is not changed")
	}
}

func TestOtherFields(t *testing.T) {
	for _, tt := range []struct {
		at         func(*model.Order) *string
		from, want string
	}{
		{func(o *model.Order) *string { return &o.Locale }, "ru_RU", "ru-RU"},
		{func(o *model.Order) *string { return &o.Locale }, " en_US.UTF-8", "en-US"},
		{func(o *model.Order) *string { return &o.Locale }, "EN", "EN"},
		{func(o *model.Order) *string { return &o.Locale }, "english", "english"},
		{func(o *model.Order) *string { return &o.Locale }, "de_DE@euro", "de_DE@euro"},
		{func(o *model.Order) *string { return &o.Payment.Currency }, "eur", "EUR"},
		{func(o *model.Order) *string { return &o.Payment.Currency }, " Usd\u200b", "USD"},
		{func(o *model.Order) *string { return &o.Payment.Currency }, "RUR", "RUR"}, // as RUB, or a thousandth of it
		{func(o *model.Order) *string { return &o.Payment.Currency }, "rur", "RUR"}, // the rule decides whether it is accepted
		{func(o *model.Order) *string { return &o.Payment.Currency }, "$", "$"},
		{func(o *model.Order) *string { return &o.Delivery.Email }, " a@b.example\ufeff\n", "a@b.example"},
		{func(o *model.Order) *string { return &o.Delivery.Email }, "mailto:a@b.example", "a@b.example"},
		{func(o *model.Order) *string { return &o.Delivery.Email }, "", ""},
		{func(o *model.Order) *string { return &o.Delivery.Email }, "a b@b.example", "a b@b.example"},
	} {
		o := sample(t)
		*tt.at(o) = tt.from
		normalized := New("").Normalize(o)
		require.Equal(t, tt.want, *tt.at(normalized), "%q", tt.from)
		require.Equal(t, tt.from == tt.want, o == normalized)
		require.Same(t, normalized, New("").Normalize(normalized))
	}
	require.NotNil(t, New("").Normalize(&model.Order{}))
}

// TestDifferencesAreThoseOfContent: a conflict does not name what differs in form only.
func TestDifferencesAreThoseOfContent(t *testing.T) {
	stored, o := sample(t), sample(t)
	stored.Locale, o.Locale = "ru-RU", "ru_RU"
	o.Payment.Currency = "usd"
	for _, codec := range []*model.Codec{model.New(model.Options{Normalizer: New("")}), model.New(model.Options{Normalizer: New(""), Normalize: true})} {
		require.Empty(t, codec.Differs(stored, o))
		o.Delivery.City = "Haifa"
		require.Equal(t, []string{"delivery.city"}, codec.Differs(stored, o))
		o.Delivery.City = stored.Delivery.City
	}
	require.Equal(t, []string{"payment.currency", "locale"}, model.New(model.Options{}).Differs(stored, o))
}

func TestTimes(t *testing.T) {
	want := time.Date(2024, 5, 29, 7, 0, 0, 500_000_000, time.UTC)
	for _, s := range []string{
		"2024-05-29T10:00:00.5+0300", "2024-05-29 10:00:00.5+03:00", "2024-05-29 10:00:00.500 +03", "2024-05-29 07:00:00.5Z", "2024-05-29 07:00:00.5 UTC",
	} {
		got, ok := New("").Time(s)
		require.True(t, ok, s)
		require.True(t, want.Equal(got), "%s: %s", s, got)
	}
	for _, s := range []string{"", "2024-05-29", "2024-05-29 10:00:00", "1717000000", "29.05.2024 10:00:00Z", "2024-05-29T10:00:00+9900", "2024-13-29 10:00:00Z", "2024-05-29 10:00:00 EST"} {
		_, ok := New("").Time(s)
		require.False(t, ok, s)
	}
}

// TestFormatsOfShops: what one form of a value can mean is stored as that, and nothing
// else is.
func TestFormatsOfShops(t *testing.T) {
	file, err := os.ReadFile("../../model/testdata/cases/formats.jsonl")
	require.NoError(t, err)
	codec := model.New(model.Options{Normalizer: New("RU"), Normalize: true})
	var refused []string
	for record := range strings.Lines(string(file)) {
		decoded, err := codec.Decode([]byte(record))
		if err != nil {
			refused = append(refused, err.Error())
			continue
		}
		require.Empty(t, codec.Validate(decoded.Order))
		require.NotSame(t, decoded.Raw, decoded.Order)
	}
	require.Len(t, refused, 3)
	require.Contains(t, refused[0], "payment.currency: must be an ISO 4217 currency code in capitals; this one was withdrawn before 2010")
	require.Contains(t, refused[1], "delivery.email: must be an e-mail address; it is empty")
	require.Contains(t, refused[2], "payment.amount: must be an integer without decimal point")
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"+7 (900) 000-00-00", "8-900-000-00-00", "ru_RU", "eur", " a@b.example", "0049 30 123456", "+44 (0)20 7946 0958"} {
		f.Add(s)
	}
	base := sample(f)
	f.Fuzz(func(t *testing.T, s string) {
		for _, region := range []string{"", "RU", "US"} {
			n := New(region)
			o := *base
			delivery, payment := *o.Delivery, *o.Payment
			o.Delivery, o.Payment = &delivery, &payment
			o.Locale, delivery.Phone, delivery.Email, payment.Currency = s, s, s, s
			to := n.Normalize(&o)
			require.Same(t, to, n.Normalize(to), "once is enough: %q", s)
			for _, field := range []struct {
				valid    func(string) bool
				now, was string
			}{
				{model.IsLocale, to.Locale, s}, {model.IsPhone, to.Delivery.Phone, s},
				{model.IsEmail, to.Delivery.Email, s}, {model.IsAnyCurrency, to.Payment.Currency, s},
			} {
				require.True(t, field.now == field.was || field.valid(field.now) && !field.valid(field.was), "%q became %q", field.was, field.now)
			}
			n.Time(s)
		}
	})
}
