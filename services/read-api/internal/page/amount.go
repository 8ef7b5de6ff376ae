package page

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// typedAmount is an amount as it was typed: a number, and the currency beside it.
type typedAmount struct {
	number   string
	currency string // in capitals; "" where none was typed
	minor    bool   // it is in minor units, as the page shows amounts of unknown currencies
}

var (
	codeBefore = regexp.MustCompile(`^([A-Za-z]{3}) ?([0-9].*)$`)
	codeAfter  = regexp.MustCompile(`^(.*[0-9.,]) ?([A-Za-z]{3})$`)
	grouped    = regexp.MustCompile(`^[0-9]{1,3}([ ,.'’][0-9]{3})+$`)
)

// readAmount splits what the page shows, or people write: 18.17, 18.17 USD, eur 1.234,50.
func readAmount(text string) typedAmount {
	if number, ok := strings.CutSuffix(strings.ToLower(text), "minor units"); ok {
		return typedAmount{number: strings.TrimSpace(number), minor: true}
	}
	if found := codeBefore.FindStringSubmatch(text); found != nil {
		return typedAmount{number: found[2], currency: strings.ToUpper(found[1])}
	}
	if found := codeAfter.FindStringSubmatch(text); found != nil {
		return typedAmount{number: found[1], currency: strings.ToUpper(found[2])}
	}
	return typedAmount{number: text}
}

// ambiguousError is an amount that can be read in several ways.
type ambiguousError struct {
	Readings []string // each can be read in one way only
	hint     string
}

func (e *ambiguousError) Error() string {
	return "can be read in more than one way" + e.hint
}

var errNoAmount = errors.New("is no amount such as 18.17")

// in reads the amount in minor units of a currency, "" where none is known: then it has
// two digits behind the point. The decimal separator is a point or a comma, thousands may
// be separated by the other one, by blanks or by apostrophes.
func (a typedAmount) in(currency string) (minor int64, err error) {
	size, known := exponent(currency)
	switch {
	case a.currency != "" && a.currency != currency:
		return 0, fmt.Errorf("is an amount in %s, and the currency is %s", a.currency, currency)
	case a.minor:
		size = 0
	case !known:
		size = 2
	}
	whole, fraction := a.number, ""
	if at := strings.LastIndexAny(whole, ".,"); at >= 0 && strings.Count(whole, whole[at:at+1]) == 1 {
		whole, fraction = a.number[:at], a.number[at+1:]
		alone := !strings.ContainsAny(whole, " ,.'’")
		switch {
		case fraction == "":
			return 0, errNoAmount
		case alone && len(fraction) == 3 && grouped.MatchString(a.number) && whole != "0":
			// 1,234: thousands, or a decimal comma. The page itself writes 1,234.00 in
			// currencies with digits behind the point, and 1.234 where there are three.
			comma := a.number[at] == ','
			switch {
			case comma && (a.minor || known && size < 3):
				whole, fraction = whole+fraction, ""
			case comma || size < 3:
				return 0, ambiguous(whole+fraction, currency, known)
			}
		case strings.Contains(whole, a.number[at:at+1]):
			return 0, errNoAmount
		}
	}
	if grouped.MatchString(whole) && sameSeparators(whole) {
		whole = strings.NewReplacer(" ", "", ",", "", ".", "", "'", "", "’", "").Replace(whole)
	}
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, errNoAmount
	}
	if len(fraction) > size {
		if size == 0 {
			return 0, fmt.Errorf("has digits after the point, which %s has not", cmp.Or(currency, "a minor unit"))
		}
		return 0, fmt.Errorf("has more than %d digits after the point", size)
	}
	minor, err = strconv.ParseInt(whole+fraction+strings.Repeat("0", size-len(fraction)), 10, 64)
	if err != nil {
		return 0, errors.New("is more than any order can have")
	}
	return minor, nil
}

// ambiguous are the readings of four to six digits with a separator before the last
// three.
func ambiguous(digits, currency string, known bool) error {
	value, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return errNoAmount
	}
	size, _ := exponent(currency)
	switch {
	case !known:
		return &ambiguousError{[]string{number(value*100, "USD")}, "; name the currency if it has three digits after the point"}
	case size < 3:
		return &ambiguousError{[]string{number(value*power(size), currency)}, fmt.Sprintf("; %s has %d digits after the point", currency, size)}
	}
	return &ambiguousError{[]string{number(value*power(size), currency), number(value*power(size-3), currency)}, ""}
}

func power(exponent int) int64 {
	p := int64(1)
	for range exponent {
		p *= 10
	}
	return p
}

func sameSeparators(text string) bool {
	separators := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
	return strings.Trim(separators, string([]rune(separators)[:1])) == ""
}
