// Package normalize writes values of orders in the form that the rules ask for, where they
// can have only one meaning: +7 (900) 000-00-00 is +79000000000, ru_RU is ru-RU, eur is
// EUR. A value that satisfies the rules is never changed, and neither is one that could
// mean several things, such as an amount of 250000.0.
package normalize

import (
	"cmp"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/nyaruka/phonenumbers"

	"github.com/orderhub/orderhub/libs/model"
)

// Normalizer is a model.Normalizer.
type Normalizer struct{ region string }

// New returns a Normalizer. The region, which may be "", is the country of phone numbers
// without a country code, as ISO 3166 writes it: RU.
func New(region string) *Normalizer { return &Normalizer{region: region} }

// IsRegion reports whether a country's phone numbers are known.
func IsRegion(region string) bool { return phonenumbers.GetCountryCodeForRegion(region) != 0 }

// Normalize returns the order with normalized values, or the order itself if there is
// nothing to normalize.
func (n *Normalizer) Normalize(o *model.Order) *model.Order {
	changed := *o
	changed.Locale = locale(o.Locale)
	if d := o.Delivery; d != nil {
		delivery := *d
		delivery.Phone = n.phone(d.Phone, changed.Locale)
		delivery.Email = email(d.Email)
		if delivery != *d {
			changed.Delivery = &delivery
		}
	}
	if p := o.Payment; p != nil {
		if to := currency(p.Currency); to != p.Currency {
			payment := *p
			payment.Currency = to
			changed.Payment = &payment
		}
	}
	if changed.Locale == o.Locale && changed.Delivery == o.Delivery && changed.Payment == o.Payment {
		return o
	}
	return &changed
}

// locale writes ru_RU, and ru_RU.UTF-8 as POSIX has it, as ru-RU.
func locale(s string) string {
	to := model.TrimInvisible(s)
	if language, encoding, cut := strings.Cut(to, "."); cut && strings.EqualFold(strings.ReplaceAll(encoding, "-", ""), "utf8") {
		to = language
	}
	to = strings.ReplaceAll(to, "_", "-")
	if model.IsLocale(s) || !model.IsLocale(to) {
		return s
	}
	return to
}

func currency(s string) string {
	if to := strings.ToUpper(model.TrimInvisible(s)); model.IsAnyCurrency(to) {
		return to
	}
	return s
}

func email(s string) string {
	to := model.TrimInvisible(s)
	if after, is := cutPrefixFold(to, "mailto:"); is {
		to = after
	}
	if model.IsEmail(s) || !model.IsEmail(to) {
		return s
	}
	return to
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}

// phone writes a phone number as E.164, if it has its country's code, or if exactly one
// number of the known countries is meant.
func (n *Normalizer) phone(s, locale string) string {
	if model.IsPhone(s) {
		return s
	}
	number := plain(s)
	if number == "" {
		return s
	}
	if number[0] == '+' {
		if to, valid := e164(s, number, ""); valid {
			return to
		}
		if to := strings.Map(digitsAndPlus, number); !strings.ContainsAny(number, "()") && model.IsPhone(to) {
			return to // of a range that is in no list, with the country's code: there is nothing else to drop
		}
		return s
	}
	found := ""
	for _, region := range []string{n.region, regionOf(locale)} {
		to, valid := e164(s, number, region)
		switch {
		case region == "" || !valid || to == found:
		case found != "":
			return s // one number here and another there
		default:
			found = to
		}
	}
	return cmp.Or(found, s)
}

// e164 reads a number as dialled within a region.
func e164(s, number, region string) (string, bool) {
	parsed, err := phonenumbers.Parse(number, region)
	if err != nil || parsed.GetExtension() != "" || !phonenumbers.IsValidNumber(parsed) {
		return s, false
	}
	to := phonenumbers.Format(parsed, phonenumbers.E164)
	return to, model.IsPhone(to)
}

// plain returns a number of digits, a + in front, and separators in ASCII; "" if anything
// else is in it, such as letters, an extension or a second number.
func plain(s string) string {
	s = model.TrimInvisible(s)
	if after, is := cutPrefixFold(s, "tel:"); is {
		s = after
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9', r == '(', r == ')', r == '.':
			b.WriteRune(r)
		case r == '+' && b.Len() == 0:
			b.WriteRune(r)
		case r == ' ', r == '\t', unicode.Is(unicode.Zs, r), model.IsInvisible(r):
			b.WriteByte(' ')
		case unicode.Is(unicode.Pd, r), r == '\u2212':
			b.WriteByte('-')
		default:
			return ""
		}
	}
	if b.Len() > 40 {
		return ""
	}
	return b.String()
}

func digitsAndPlus(r rune) rune {
	if r == '+' || r >= '0' && r <= '9' {
		return r
	}
	return -1
}

// regionOf returns the country in a language tag: RU of ru-RU and of sr-Latn-RS.
func regionOf(locale string) string {
	tags := strings.Split(locale, "-")
	for _, tag := range tags[1:] {
		switch {
		case len(tag) == 1:
			return "" // extensions follow
		case len(tag) == 2:
			return strings.ToUpper(tag)
		}
	}
	return ""
}

// looseTime is RFC 3339 but for a space in place of T, a space before the zone, and an
// offset without a colon or minutes.
var looseTime = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2}(?:\.\d+)?) ?(?:([Zz]|UTC|GMT)|([+-]\d{2})(?::?(\d{2}))?)$`)

// Time reads a time with its zone that differs from RFC 3339 in its punctuation only.
func (n *Normalizer) Time(s string) (time.Time, bool) {
	m := looseTime.FindStringSubmatch(model.TrimInvisible(s))
	if m == nil {
		return time.Time{}, false
	}
	zone := "Z"
	if m[3] == "" {
		zone = m[4] + ":" + m[5]
		if m[5] == "" {
			zone += "00"
		}
	}
	return model.ParseTime(m[1] + "T" + m[2] + zone)
}
