package orders

import (
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

func TestFingerprintsDiffer(t *testing.T) {
	one, other := int64(1), int64(2)
	a, aa, both := []string{"a"}, []string{"aa"}, []string{"a", "b"}
	seen := map[string]int{}
	for i, f := range []Filter{
		{}, {CustomerID: "a"}, {TrackNumber: "a"}, {DeliveryServices: a}, {Locales: a}, {Currencies: a}, {CustomerID: "aa"},
		{CustomerID: "a", TrackNumber: "a"}, {AmountMin: &one}, {AmountMax: &one}, {AmountMin: &other}, {AmountMin: &one, AmountMax: &one},
		{DeliveryServices: both}, {Locales: both}, {Currencies: both}, {Brands: a}, {Brands: aa}, {Brands: both}, {Brands: []string{"a\x01b"}},
		{NmIDs: []int64{1}}, {Statuses: []int64{1}}, {Statuses: []int64{1, 2}}, {Statuses: []int64{12}}, {NmIDs: []int64{1}, Statuses: []int64{1}},
		{Email: "a"}, {Phone: "a"}, {Name: "a"}, {EmailPrefix: "a"}, {PhonePrefix: "a"}, {NamePrefix: "a"}, {Name: "a", NamePrefix: "a"}, {Sort: OldestFirst}, {Sort: LargestFirst}, {NamePrefix: "a", Sort: OldestFirst},
	} {
		mark := f.Fingerprint()
		before, there := seen[mark]
		require.False(t, there, "%d and %d", before, i)
		seen[mark] = i
	}
	require.Equal(t, Filter{Locales: both, Statuses: []int64{1, 2}}.Fingerprint(),
		Filter{Locales: []string{"b", "a", "b"}, Statuses: []int64{2, 1, 1}}.Fingerprint(), "neither sequence nor repetition counts")
}

// TestFingerprintsAreThoseOfTheVersionBefore, so that its cursors are: it had one value of each.
func TestFingerprintsAreThoseOfTheVersionBefore(t *testing.T) {
	amount := int64(5)
	require.Equal(t, "\x01c\x00\x01d\x02en\x03USD\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\x00",
		Filter{CustomerID: "c", DeliveryServices: []string{"d"}, Locales: []string{"en"}, Currencies: []string{"USD"}, AmountMin: &amount}.Fingerprint())
}

// TestPatternsKnowAllCases of all characters, and all white space.
func TestPatternsKnowAllCases(t *testing.T) {
	cases, spaces := map[rune][]rune{}, ""
	for r := rune(0); r <= unicode.MaxRune; r++ {
		lower := unicode.ToLower(r)
		if lower != r {
			require.Equal(t, lower, unicode.ToLower(lower), "%U", r)
			cases[lower] = append(cases[lower], r)
		}
		if unicode.IsSpace(r) {
			spaces += string(r)
		}
	}
	require.Equal(t, whiteSpace, class([]rune(spaces)))
	for r, want := range cases {
		require.ElementsMatch(t, append([]rune{r}, want...), casesOf(r), "%U", r)
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if r == unicode.ToLower(r) && cases[r] == nil && len(casesOf(r)) > 1 {
			require.Fail(t, "no other is in lower case", "%U", r)
		}
	}
}

func TestNormalForms(t *testing.T) {
	require.Equal(t, "anna ångström", NormalText("\u00a0ANNA \t Ångström\n"))
	require.Equal(t, "+97200", NormalPhone(" +972 (0)-0 "))
	require.Empty(t, NormalText(" \u3000")+NormalPhone("none"))
	require.Empty(t, textPattern("", true)+textPattern("", false)+phonePattern("", true))
}
