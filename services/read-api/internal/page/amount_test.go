package page

import (
	"math"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAmountsAreReadAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text, currency string
		want           int64
	}{
		{"18.17", "USD", 1817},
		{"18,17", "EUR", 1817},
		{"18", "USD", 1800},
		{"18.1", "", 1810},
		{"0", "USD", 0},
		{"1817", "JPY", 1817},
		{"1.817", "KWD", 1817},
		{"92233720368547758.07", "USD", math.MaxInt64},
		{"92,233,720,368,547,758.07 USD", "USD", math.MaxInt64},
		{"18.17 USD", "USD", 1817},
		{"usd 18.17", "USD", 1817},
		{"18.17usd", "USD", 1817},
		{"1,234.50", "USD", 123450},
		{"1.234,50", "EUR", 123450},
		{"1 234,50", "RUB", 123450},
		{"1'234.50", "CHF", 123450},
		{"1’234.50", "CHF", 123450},
		{"1,234,567", "USD", 123456700},
		{"1.234.567 eur", "EUR", 123456700},
		{"1,234", "USD", 123400},
		{"250,000 JPY", "JPY", 250000},
		{"1,234.567 KWD", "KWD", 1234567},
		{"0.123", "KWD", 123},
		{"1817 minor units", "", 1817},
		{"1,817 Minor Units", "", 1817},
	} {
		minor, err := readAmount(test.text).in(test.currency)
		require.NoError(t, err, test.text)
		require.Equal(t, test.want, minor, test.text)
	}
	for _, text := range []string{
		"", ".", "1.", ".5", "-1", "+1", "1e3", "ten", "0x1", "١", "92233720368547758.08", "1,00", "1 2", "1,,5", "1,234.567.890", "1.234,567,890", "1,23,456", "1,234.56.78",
		"1.5 EUR", "USD", "1,234.567", "18.17 USD USD",
	} {
		_, err := readAmount(text).in("USD")
		if text == "1,00" {
			require.NoError(t, err)
			continue
		}
		require.Error(t, err, text)
	}
	_, err := readAmount("1.5").in("JPY")
	require.ErrorContains(t, err, "JPY")
}

// TestWhatThePageShowsCanBeTypedBack takes every amount as it is shown.
func TestWhatThePageShowsCanBeTypedBack(t *testing.T) {
	t.Parallel()
	for _, currency := range []string{"USD", "JPY", "KWD", "CLF", "XTS", ""} {
		for _, minor := range []int64{0, 1, 9, 10, 99, 100, 1817, 12345, 123456, 1234567, 1234000, 99999999, math.MaxInt64} {
			shown := money(minor, currency)
			read, err := readAmount(shown).in(currency)
			require.NoError(t, err, shown)
			require.Equal(t, minor, read, shown)
		}
	}
	orders := samples(t)
	response := get(t, serve(Options{Orders: orders}), "/?"+url.Values{
		"amount_from": {"\u200e18.17\u00a0USD "}, "amount_to": {"1,250 usd"}, "created_from": {"26 Nov 2021, 06:22 UTC"}, "created_to": {"26 Nov 2021, 06:22:19.5 UTC"}, "locale": {"en\u200b"},
	}.Encode())
	require.Equal(t, http.StatusOK, response.Code)
	require.Equal(t, url.Values{
		"amount_min": {"1817"}, "amount_max": {"125000"}, "currency": {"USD"}, "locale": {"en"},
		"created_from": {"2021-11-26T06:22:00Z"}, "created_to": {"2021-11-26T06:22:19.5Z"},
	}, orders.listed[0].Filters)
	response = get(t, serve(Options{Orders: orders}), "/?currency=+usd%E2%80%8B&amount_from=1")
	require.Equal(t, url.Values{"amount_min": {"100"}, "currency": {"USD"}}, orders.listed[1].Filters)
	require.Contains(t, response.Body.String(), `value="USD"`)
}

func TestThePageAsksWhereAnAmountHasTwoReadings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, currency, says, offers string }{
		{"1,234", "KWD", "Amount from: “1,234” can be read in more than one way.", "1,234.000 KWD or 1.234 KWD"},
		{"1,234", "", "Amount from: “1,234” can be read in more than one way; name the currency if it has three digits after the point.", "1,234.00"},
		{"1.234", "USD", "Amount from: “1.234” can be read in more than one way; USD has 2 digits after the point.", "1,234.00 USD"},
		{"1.234", "JPY", "Amount from: “1.234” can be read in more than one way; JPY has 0 digits after the point.", "1,234 JPY"},
		{"1,234 KWD", "", "Amount from: “1,234 KWD” can be read in more than one way.", "1,234.000 KWD or 1.234 KWD"},
		{"5 EUR", "USD", "Amount from: “5 EUR” is an amount in EUR, and the currency is USD.", ""},
	} {
		f := readFilter(url.Values{"amount_from": {test.text}, "currency": {test.currency}, "locale": {"en"}}, false)
		require.Equal(t, test.says, f.Problem)
		offers := ""
		for _, choice := range f.Choices {
			if offers != "" {
				offers += " or "
			}
			offers += choice.Text
			address, err := url.Parse(choice.Address)
			require.NoError(t, err)
			require.Equal(t, "en", address.Query().Get("locale"), "the other filters stay")
			require.Empty(t, readFilter(address.Query(), false).Problem, "%s is clear", choice.Text)
		}
		require.Equal(t, test.offers, offers)
	}
	response := get(t, serve(Options{Orders: samples(t)}), "/?amount_from=1,234&currency=KWD")
	require.Equal(t, http.StatusBadRequest, response.Code)
	require.Contains(t, response.Body.String(), "Which amount do you mean?")
	require.Contains(t, response.Body.String(), `<a href="/?amount_from=1.234&amp;currency=KWD">1.234 KWD</a>`)
}
