package model

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func withRules(t testing.TB, replaced ...FieldRule) *Codec {
	t.Helper()
	r, err := NewRules("test", replaced)
	require.NoError(t, err)
	return New(Options{Rules: r})
}

// TestReplacedRules: a rule that is off, optional, another one or a pattern, and what
// always holds.
func TestReplacedRules(t *testing.T) {
	digits := regexp.MustCompile(`[0-9]{5}|x`)
	member := func(with string) func(string) string {
		return func(without string) string { return strings.Replace(sampleRecord(), without, with, 1) }
	}
	for _, tt := range []struct {
		name   string
		rule   FieldRule
		old    string // in the sample
		change func(string) string
		want   string
	}{
		{"off", FieldRule{Path: "delivery.phone", Off: true}, `+9720000000`, member("call me"), ""},
		{"off, but text", FieldRule{Path: "delivery.phone", Off: true}, `+9720000000`, member(`\u0001`), ""},
		{"off, may be empty", FieldRule{Path: "track_number", Off: true}, `"WBILMTESTTRACK"`, member(`""`), ""},
		{"off, but present", FieldRule{Path: "delivery.phone", Off: true}, `"phone":"+9720000000",`, member(""), "delivery.phone required"},
		{"off, not null", FieldRule{Path: "delivery.phone", Off: true}, `"+9720000000"`, member("null"), "delivery.phone wrong_type"},
		{"off, a number's bound", FieldRule{Path: "items[].sale", Off: true}, `"sale":30`, member(`"sale":101`), ""},
		{"off, what readers keep", FieldRule{Path: "items[].sale", Off: true}, `"sale":30`, member(`"sale":9007199254740992`), "items[0].sale max"},
		{"off, not below 0", FieldRule{Path: "items[].sale", Off: true}, `"sale":30`, member(`"sale":-1`), "items[0].sale min"},
		{"off, the year 9999", FieldRule{Path: "payment.payment_dt", Off: true}, `1637907727`, member(`253402300800`), "payment.payment_dt unix_seconds"},
		{"optional, empty", FieldRule{Path: "delivery.email", Optional: true}, `test@gmail.com`, member(""), ""},
		{"optional, absent", FieldRule{Path: "delivery.email", Optional: true}, `,"email":"test@gmail.com"`, member(""), ""},
		{"optional, null", FieldRule{Path: "delivery.email", Optional: true}, `"test@gmail.com"`, member("null"), ""},
		{"optional, wrong", FieldRule{Path: "delivery.email", Optional: true}, `test@gmail.com`, member("nobody"), "delivery.email email"},
		{"optional, of another type", FieldRule{Path: "delivery.email", Optional: true}, `"test@gmail.com"`, member("5"), "delivery.email wrong_type"},
		{"optional, required before", FieldRule{Path: "delivery.city", Optional: true}, `Kiryat Mozkin`, member(""), ""},
		{"optional number", FieldRule{Path: "items[].nm_id", Optional: true}, `"nm_id":2389212,`, member(""), ""},
		{"optional number, null", FieldRule{Path: "items[].nm_id", Optional: true}, `2389212`, member("null"), ""},
		{"another rule", FieldRule{Path: "payment.currency", Rules: []string{"any_iso4217"}}, `USD`, member("RUR"), ""},
		{"another rule, broken", FieldRule{Path: "payment.currency", Rules: []string{"any_iso4217"}}, `USD`, member("DOL"), "payment.currency any_iso4217"},
		{"any phone", FieldRule{Path: "delivery.phone", Rules: []string{"any_phone"}}, `+9720000000`, member("8 (900) 000-00-00"), ""},
		{"any locale", FieldRule{Path: "locale", Rules: []string{"any_locale"}}, `"locale":"en"`, member(`"locale":"ru_RU"`), ""},
		{"a length", FieldRule{Path: "delivery.city", Rules: []string{"required", "max=3"}}, `Kiryat Mozkin`, member("Bonn"), "delivery.city max"},
		{"a bound", FieldRule{Path: "sm_id", Rules: []string{"min=100"}}, `"sm_id":99`, member(`"sm_id":99`), "sm_id min"},
		{"a pattern", FieldRule{Path: "delivery.zip", Pattern: digits}, `2639809`, member("26398"), ""},
		{"a pattern, broken", FieldRule{Path: "delivery.zip", Pattern: digits}, `2639809`, member("263980"), "delivery.zip pattern"},
		{"an optional pattern", FieldRule{Path: "delivery.zip", Pattern: digits, Optional: true}, `2639809`, member(""), ""},
		{"a pattern and a rule", FieldRule{Path: "delivery.email", Pattern: regexp.MustCompile(`.+@example\.com`), Rules: []string{"email"}}, `test@gmail.com`, member("te st@example.com"), "delivery.email email"},
		{"other fields keep theirs", FieldRule{Path: "delivery.zip", Off: true}, `"locale":"en"`, member(`"locale":"?"`), "locale bcp47"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := withRules(t, tt.rule)
			_, err := c.Decode([]byte(sampleRecord()))
			if tt.rule.Pattern == nil && len(tt.rule.Rules) == 0 {
				require.NoError(t, err)
			}
			require.Contains(t, sampleRecord(), tt.old)
			decoded, err := c.Decode([]byte(tt.change(tt.old)))
			require.Equal(t, tt.want, strings.Join(briefOf(err), ", "))
			if err == nil {
				canonical := AppendCanonical(nil, decoded.Order)
				again, err := c.Decode(canonical)
				require.NoError(t, err, "what is stored can be read again")
				require.Equal(t, decoded, again)
			}
		})
	}
	_, err := withRules(t, FieldRule{Path: "delivery.zip", Pattern: digits, Message: "must be a postal code"}).Decode([]byte(sampleRecord()))
	require.ErrorContains(t, err, "delivery.zip: must be a postal code")
	_, err = withRules(t, FieldRule{Path: "delivery.zip", Pattern: digits}).Decode([]byte(sampleRecord()))
	require.ErrorContains(t, err, "delivery.zip: must match the pattern [0-9]{5}|x of the rules file")
	_, err = withRules(t, FieldRule{Path: "delivery.phone", Off: true}).Decode(edit(t, `+9720000000`, `a\u0000`))
	require.Equal(t, []string{"delivery.phone nul_character"}, briefOf(err))
}

// TestRulesThatStay: what keys and columns depend on cannot be replaced.
func TestRulesThatStay(t *testing.T) {
	pattern := regexp.MustCompile(".")
	for want, rule := range map[string]FieldRule{
		"the rule of order_uid cannot be replaced":    {Path: "order_uid", Off: true},
		"the rule of date_created cannot be replaced": {Path: "date_created", Optional: true},
		"the rule of items cannot be replaced":        {Path: "items", Optional: true},
		"the rule of delivery cannot be replaced":     {Path: "delivery", Off: true},
		"items[].size is that of each item":           {Path: "items[0].size", Off: true},
		"colour is not a field of an order":           {Path: "colour", Off: true},
		"nothing can be added to it":                  {Path: "locale", Off: true, Pattern: pattern},
		"say off, optional":                           {Path: "locale"},
		"a number cannot have a pattern":              {Path: "sm_id", Pattern: pattern},
		"a message belongs to a pattern":              {Path: "locale", Optional: true, Message: "x"},
		`there is no rule "emial" for strings: use`:   {Path: "locale", Rules: []string{"emial"}},
		`there is no rule "order_uid" for strings`:    {Path: "locale", Rules: []string{"order_uid"}},
		`there is no rule "email" for integers`:       {Path: "sm_id", Rules: []string{"email"}},
		"max needs an integer from 0 to":              {Path: "locale", Rules: []string{"max=many"}},
		"min needs an integer from 0 to 900719925474": {Path: "sm_id", Rules: []string{"min=-1"}},
	} {
		require.ErrorContains(t, rule.Check(), want)
		_, err := NewRules("", []FieldRule{rule})
		require.ErrorContains(t, err, want)
	}
}

// TestReplacedRulesAgreeWithValidator: with any rules, the compiled checks and validator
// find the same orders valid.
func TestReplacedRulesAgreeWithValidator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var replaced []FieldRule
		paths := slices.DeleteFunc(slices.Sorted(maps.Keys(ruleTargets)), func(path string) bool { return ruleTargets[path].fixed })
		for _, path := range rapid.SliceOfNDistinct(rapid.SampledFrom(paths), 0, 8, rapid.ID).Draw(t, "paths") {
			f := FieldRule{Path: path}
			text := ruleTargets[path].text
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				f.Off = true
			case 1:
				f.Optional = true
			case 2:
				f.Rules = []string{"max=" + rapid.SampledFrom([]string{"0", "5", "100", "9007199254740991"}).Draw(t, "max")}
				f.Optional = rapid.Bool().Draw(t, "optional")
			case 3:
				f.Optional = rapid.Bool().Draw(t, "optional")
				if text {
					f.Rules = []string{rapid.SampledFrom(slices.DeleteFunc(ruleNames(), func(s string) bool { return s == "max=N" })).Draw(t, "rule")}
					f.Pattern = regexp.MustCompile(rapid.SampledFrom([]string{".", "^a", "^$", `^\w*$`}).Draw(t, "pattern"))
				} else {
					f.Rules = []string{"min=5"}
				}
			}
			replaced = append(replaced, f)
		}
		r, err := NewRules("", replaced)
		require.NoError(t, err)
		c := New(Options{Rules: r, MaxItems: 5})
		o := anyOrder().Draw(t, "order")
		failures := c.ruleFailures(o)
		require.Equal(t, len(failures) == 0, c.checks.surelyValid(o, 5), "%v", failures)
		for _, f := range failures {
			require.NotEmpty(t, f.Message, f.Rule)
		}
	})
}

func TestFieldsThatAreTexts(t *testing.T) {
	for _, path := range []string{"order_uid", "date_created", "locale", "delivery.zip", "payment.bank", "items[2].size", "items[].size"} {
		require.True(t, IsText(path), path)
	}
	for _, path := range []string{"sm_id", "payment.amount", "items[2].price", "items", "items[2]", "delivery", "colour", "delivery.colour", ""} {
		require.False(t, IsText(path), path)
	}
}
