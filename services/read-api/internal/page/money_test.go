package page

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMoneyHasTheCurrencysDigits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		minor    int64
		currency string
		want     string
	}{
		{1817, "USD", "18.17 USD"},
		{0, "EUR", "0.00 EUR"},
		{5, "RUB", "0.05 RUB"},
		{-5, "RUB", "-0.05 RUB"},
		{100000, "USD", "1,000.00 USD"},
		{99999, "USD", "999.99 USD"},
		{1817, "JPY", "1,817 JPY"},
		{0, "KRW", "0 KRW"},
		{1817, "KWD", "1.817 KWD"},
		{12, "TND", "0.012 TND"},
		{1234567, "CLF", "123.4567 CLF"},
		{7, "XAU", "7 XAU"},
		{math.MaxInt64, "USD", "92,233,720,368,547,758.07 USD"},
		{math.MinInt64, "USD", "-92,233,720,368,547,758.08 USD"},
		{math.MinInt64, "JPY", "-9,223,372,036,854,775,808 JPY"},
		{1817, "", "1,817 minor units"},
		{1817, "usd", "1,817 minor units"},
		{1817, "<b>", "1,817 minor units"},
	} {
		require.Equal(t, test.want, money(test.minor, test.currency), "%d %s", test.minor, test.currency)
	}
}

func TestSumRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	total, ok := sum(317, 1500, 0)
	require.True(t, ok)
	require.EqualValues(t, 1817, total)
	_, ok = sum(math.MaxInt64, 1)
	require.False(t, ok)
	_, ok = sum(math.MinInt64, -1)
	require.False(t, ok)
}

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
		{"0", "usd", 0},
		{"1817", "JPY", 1817},
		{"1.817", "KWD", 1817},
		{"92233720368547758.07", "USD", math.MaxInt64},
	} {
		minor, err := parseMoney(test.text, test.currency)
		require.NoError(t, err, test.text)
		require.Equal(t, test.want, minor, test.text)
	}
	for _, text := range []string{"", ".", "1.", ".5", "-1", "+1", "1,000.50", "1.000,50", "1e3", "ten", "1 000", "0x1", "١", "1.234", "92233720368547758.08"} {
		_, err := parseMoney(text, "USD")
		require.Error(t, err, text)
	}
	_, err := parseMoney("1.5", "JPY")
	require.ErrorContains(t, err, "JPY")
}
