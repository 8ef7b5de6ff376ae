package page

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// exponents are the digits after the decimal point of the currencies that
// don't have two of them (ISO 4217, list one). Metals, funds and test codes
// have no minor unit at all, their amounts are whole units.
var exponents = map[string]int{
	"BIF": 0, "BYR": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0,
	"RWF": 0, "UGX": 0, "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
	"CLF": 4, "UYW": 4,
	"XAG": 0, "XAU": 0, "XBA": 0, "XBB": 0, "XBC": 0, "XBD": 0, "XDR": 0, "XPD": 0, "XPT": 0,
	"XSU": 0, "XTS": 0, "XUA": 0, "XXX": 0,
}

// exponent gives how many digits of an amount in minor units are behind the
// point. ok is false for what isn't a currency code, as a row changed by hand
// may hold: then nothing is known about its minor units.
func exponent(currency string) (digits int, ok bool) {
	if len(currency) != 3 {
		return 0, false
	}
	for _, letter := range []byte(currency) {
		if letter < 'A' || letter > 'Z' {
			return 0, false
		}
	}
	if digits, ok = exponents[currency]; ok {
		return digits, true
	}
	return 2, true
}

// number writes minor units as a decimal number with the currency's digits
// and commas between the thousands. An unknown currency's amount stays as it
// is stored, in minor units. It computes with integers only, so the largest
// int64 keeps all its digits.
func number(minor int64, currency string) string {
	size, _ := exponent(currency)
	var magnitude uint64
	if minor < 0 {
		magnitude = uint64(-(minor + 1)) + 1
	} else {
		magnitude = uint64(minor)
	}
	digits := strconv.FormatUint(magnitude, 10)
	for len(digits) <= size {
		digits = "0" + digits
	}
	whole, fraction := digits[:len(digits)-size], digits[len(digits)-size:]

	var out []byte
	if minor < 0 {
		out = append(out, '-')
	}
	for i, digit := range []byte(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			out = append(out, ',')
		}
		out = append(out, digit)
	}
	if size > 0 {
		out = append(append(out, '.'), fraction...)
	}
	return string(out)
}

// money is number with its currency, or with the plain statement that the
// amount is in minor units of no known currency.
func money(minor int64, currency string) string {
	if _, ok := exponent(currency); !ok {
		return number(minor, "") + " minor units"
	}
	return number(minor, currency) + " " + currency
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

// parseMoney reads an amount as people write it, 18.17 or 18,17, in minor units
// of a currency, or of one with two digits where none is known. Thousands are
// not parted: nobody could tell their sign from the other.
func parseMoney(text, currency string) (minor int64, err error) {
	size, ok := exponent(currency)
	if !ok {
		size = 2
	}
	whole, fraction, parted := strings.Cut(strings.Replace(text, ",", ".", 1), ".")
	if whole == "" || (parted && fraction == "") || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, errors.New("is no amount such as 18.17")
	}
	if len(fraction) > size {
		if size == 0 {
			return 0, fmt.Errorf("has digits after the point, which %s has not", currency)
		}
		return 0, fmt.Errorf("has more than %d digits after the point", size)
	}
	minor, err = strconv.ParseInt(whole+fraction+strings.Repeat("0", size-len(fraction)), 10, 64)
	if err != nil {
		return 0, errors.New("is more than any order can have")
	}
	return minor, nil
}
