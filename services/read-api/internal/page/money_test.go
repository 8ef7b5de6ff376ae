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
