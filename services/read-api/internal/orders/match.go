package orders

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/orderhub/orderhub/libs/model"
)

// Matches tells whether a list with this filter has the order, which was updated at a time as
// in [changes.Order].
func (f Filter) Matches(o *model.Order, updated uint32) bool {
	least, most := f.updated()
	equal := func(wanted, is string) bool { return wanted == "" || wanted == is }
	switch {
	case !equal(f.CustomerID, o.CustomerID), !equal(f.TrackNumber, o.TrackNumber),
		!in(f.DeliveryServices, o.DeliveryService), !in(f.Locales, o.Locale),
		f.CreatedFrom != nil && o.DateCreated.Before(*f.CreatedFrom),
		f.CreatedTo != nil && o.DateCreated.After(*f.CreatedTo),
		updated < least, updated > most,
		f.needsPayment() && (o.Payment == nil || !f.paid(o.Payment)),
		f.needsDelivery() && (o.Delivery == nil || !f.delivered(o.Delivery)):
		return false
	}
	return anyIn(f.Brands, o.Items, func(i model.Item) string { return i.Brand }) &&
		anyIn(f.NmIDs, o.Items, func(i model.Item) int64 { return i.NmID }) &&
		anyIn(f.Statuses, o.Items, func(i model.Item) int64 { return i.Status })
}

func (f Filter) paid(p *model.Payment) bool {
	return in(f.Currencies, p.Currency) &&
		(f.AmountMin == nil || p.Amount >= *f.AmountMin) &&
		(f.AmountMax == nil || p.Amount <= *f.AmountMax)
}

func (f Filter) delivered(d *model.Delivery) bool {
	return f.email().fits(d.Email) && f.phone().fits(d.Phone) && f.name().fits(d.Name)
}

// deliveredTo tells the same from an order's canonical JSON, where it can.
func (f Filter) deliveredTo(canonical []byte) (delivered, ok bool) {
	for _, t := range []wantedText{f.email(), f.phone(), f.name()} {
		if t.equal+t.begin == "" {
			continue
		}
		text, ok := model.DeliveryText(canonical, t.name)
		if !ok || !t.fits(string(text)) {
			return false, ok
		}
	}
	return true, true
}

// wantedText is what a text of the delivery is to be in its normal form, and begin with; "": anything.
type wantedText struct {
	name         string // in JSON
	normal       func(string) string
	equal, begin string
}

func (f Filter) email() wantedText { return wantedText{"email", NormalText, f.Email, f.EmailPrefix} }
func (f Filter) phone() wantedText { return wantedText{"phone", NormalPhone, f.Phone, f.PhonePrefix} }
func (f Filter) name() wantedText  { return wantedText{"name", NormalText, f.Name, f.NamePrefix} }

func (t wantedText) fits(is string) bool {
	if t.equal+t.begin == "" {
		return true
	}
	is = t.normal(is)
	return (t.equal == "" || t.equal == is) && strings.HasPrefix(is, t.begin)
}

// in tells whether a value is one of those that are wanted: any, if none are named.
func in[T comparable](wanted []T, is T) bool {
	return len(wanted) == 0 || slices.Contains(wanted, is)
}

func anyIn[T comparable](wanted []T, items []model.Item, value func(model.Item) T) bool {
	return len(wanted) == 0 || slices.ContainsFunc(items, func(i model.Item) bool { return slices.Contains(wanted, value(i)) })
}

// NormalText is how names and e-mail addresses are compared: in lower case, with one space
// for any white space, and none around.
func NormalText(text string) string {
	return strings.ToLower(strings.Join(strings.Fields(text), " "))
}

// NormalPhone is how phone numbers are compared: + and the digits.
func NormalPhone(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '+' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, text)
}

// textPattern is the regular expression of the texts whose normal form is this, or begins with
// it: PostgreSQL's lower() depends on its locale and version. There is none for "".
func textPattern(normal string, begin bool) string {
	var pattern strings.Builder
	for _, r := range normal {
		if r == ' ' {
			pattern.WriteString(whiteSpace + "+")
		} else {
			pattern.WriteString(class(casesOf(r)))
		}
	}
	return enclose(pattern.String(), whiteSpace+"*", begin)
}

// phonePattern is the same of phone numbers.
func phonePattern(normal string, begin bool) string {
	const between = "[^+0-9]*"
	var digits []string
	for _, r := range normal {
		digits = append(digits, class([]rune{r}))
	}
	return enclose(strings.Join(digits, between), between, begin)
}

func enclose(pattern, around string, begin bool) string {
	switch {
	case pattern == "":
		return ""
	case begin:
		return "^" + around + pattern
	}
	return "^" + around + pattern + around + "$"
}

var whiteSpace = class([]rune("\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"))

// casesOf are the characters that are r in lower case.
func casesOf(r rune) []rune {
	cases := []rune{r}
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		if unicode.ToLower(other) == r {
			cases = append(cases, other)
		}
	}
	if r == 'i' {
		cases = append(cases, 'İ') // which folds to nothing
	}
	return cases
}

// class escapes the characters, so that none has a meaning.
func class(runes []rune) string {
	var set strings.Builder
	for _, r := range runes {
		fmt.Fprintf(&set, `\U%08x`, r)
	}
	return "[" + set.String() + "]"
}
