package page

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/bojanz/currency"
)

// exponent gives how many digits of an amount in minor units are behind the point, as
// ISO 4217 says. ok is false for what is not a currency code, as a row changed by
// hand may hold: then nothing is known about its minor units.
func exponent(code string) (digits int, ok bool) {
	if digits, ok := currency.GetDigits(code); ok {
		return int(digits), true
	}
	switch {
	case !currencyCode.MatchString(code):
		return 0, false
	case code[0] == 'X' || code == "BYR": // metals, funds and test codes have no minor unit
		return 0, true
	}
	return 2, true
}

var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

// number writes minor units as a decimal number with the currency's digits and commas
// between the thousands. An unknown currency's amount stays in minor units. It works
// on the digits, so the largest int64 keeps all of them.
func number(minor int64, code string) string {
	size, _ := exponent(code)
	digits, negative := strings.CutPrefix(strconv.FormatInt(minor, 10), "-")
	digits = strings.Repeat("0", max(0, size+1-len(digits))) + digits
	text, fraction := digits[:len(digits)-size], digits[len(digits)-size:]
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	if size > 0 {
		text += "." + fraction
	}
	if negative {
		return "-" + text
	}
	return text
}

// money is number with its currency, or with the plain statement that the
// amount is in minor units of no known currency.
func money(minor int64, code string) string {
	if _, ok := exponent(code); !ok {
		return number(minor, "") + " minor units"
	}
	return number(minor, code) + " " + code
}

// sum adds amounts. ok is false where the result doesn't fit an int64.
func sum(amounts ...int64) (total int64, ok bool) {
	for _, amount := range amounts {
		if (amount > 0 && total > math.MaxInt64-amount) || (amount < 0 && total < math.MinInt64-amount) {
			return 0, false
		}
		total += amount
	}
	return total, true
}
