package rules

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/config"
)

const file = `version: shop-2026-05
fields:
  delivery.email: optional
  delivery.phone: any_phone
  items[].sale: off
  delivery.zip: {optional: true, pattern: '[0-9]{5,6}', message: must be a postal code}
  items[].name: {rule: [required, max=4000]}
  payment.bank: {rule: off}
  locale:
    rule: any_locale
`

func load(t *testing.T, name, content string) (*Settings, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	t.Setenv("INGEST_RULES_FILE", name)
	s := &Settings{}
	return s, config.Load(s)
}

func TestRulesFile(t *testing.T) {
	record, err := os.ReadFile("../../model/testdata/samples/model.json")
	require.NoError(t, err)
	s, err := load(t, "rules.yaml", file)
	require.NoError(t, err)
	codec := model.New(s.Options())
	require.Equal(t, "shop-2026-05", codec.Rules().Version())

	changed := strings.NewReplacer(`"test@gmail.com"`, "null", `"+9720000000"`, `"8 (900) 000-00-00"`, `"sale": 30`, `"sale": 300`,
		`"2639809"`, `"12345"`, `"locale": "en"`, `"locale": "ru_RU"`).Replace(string(record))
	_, err = codec.Decode([]byte(changed))
	require.NoError(t, err)
	_, err = codec.Decode(record)
	require.ErrorContains(t, err, "delivery.zip: must be a postal code")
}

func TestVersionWithoutName(t *testing.T) {
	one, err := Parse("r", []byte("fields:\n  locale: off\n"))
	require.NoError(t, err)
	require.Regexp(t, `^[0-9a-f]{8}$`, one.Version())
	windows, err := Parse("r", []byte("fields:\r\n  locale: off\r\n"))
	require.NoError(t, err)
	require.Equal(t, one.Version(), windows.Version())
	other, err := Parse("r", []byte("fields:\n  locale: optional\n"))
	require.NoError(t, err)
	require.NotEqual(t, one.Version(), other.Version())
}

// TestMistakesInRulesFile: each is named with its line, and all at once.
func TestMistakesInRulesFile(t *testing.T) {
	for content, want := range map[string]string{
		"":                                          "rules.yaml: the file is empty",
		"- a":                                       "rules.yaml:1: the file must be a list of NAME: value",
		"fields: 5":                                 "rules.yaml:1: fields must be a list of NAME: value",
		"rules:\n  locale: off":                     `rules.yaml:1: "rules" is unknown: a rules file has version and fields`,
		"version: a b":                              "rules.yaml:1: version must be 1 to 64 characters",
		"version: [1]":                              "rules.yaml:1: version must be",
		"fields:\n  delivery.phne: off":             "rules.yaml:2: delivery.phne: delivery.phne is not a field of an order",
		"fields:\n  order_uid: off":                 "rules.yaml:2: order_uid: the rule of order_uid cannot be replaced",
		"fields:\n  locale: emial":                  `rules.yaml:2: locale: there is no rule "emial" for strings`,
		"fields:\n  locale: [off]":                  "rules.yaml:2: locale must be off, optional",
		"fields:\n  locale:\n    patern: a":         `rules.yaml:3: "patern" is unknown: a field has rule, pattern, message and optional`,
		"fields:\n  locale:\n    pattern: '['":      "rules.yaml:3: pattern is not a regular expression",
		"fields:\n  locale:\n    pattern: a)|(b":    "rules.yaml:3: pattern is not a regular expression: unexpected ): `a)|(b`",
		"fields:\n  locale:\n    pattern: [a-z]":    "rules.yaml:3: pattern must be a text: put it between quotation marks",
		"fields:\n  locale:\n    message: [a]":      "rules.yaml:3: message must be a text",
		"fields:\n  locale:\n    rule: [[a]]":       "rules.yaml:3: rule must be the name of a rule, or a list of names",
		"fields:\n  locale:\n    optional: maybe":   "rules.yaml:3: optional must be true or false",
		"fields:\n  locale: off\n  locale: off":     "rules.yaml:3: locale is in line 2 already",
		"fields:\n\tlocale: off":                    "rules.yaml: line 2: found character that cannot start any token",
		"fields:\n  sm_id: email\n  items: off":     "rules.yaml:3: items: the rule of items cannot be replaced",
		"fields:\n  sm_id: email\n  colour: off\n ": `rules.yaml:2: sm_id: there is no rule "email" for integers`,
	} {
		_, err := load(t, "rules.yaml", content)
		require.ErrorContains(t, err, "INGEST_RULES_FILE: ")
		require.ErrorContains(t, err, want)
	}
	t.Setenv("INGEST_RULES_FILE", "nowhere.yaml")
	require.ErrorContains(t, config.Load(&Settings{}), "INGEST_RULES_FILE: open nowhere.yaml")
}

func TestPhoneRegion(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("INGEST_PHONE_REGION", "russia")
	require.ErrorContains(t, config.Load(&Settings{}), "INGEST_PHONE_REGION")
	t.Setenv("INGEST_PHONE_REGION", "RU")
	require.NoError(t, config.Load(&Settings{}))
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(file))
	f.Add([]byte("fields: &a\n  locale: *a"))
	f.Add([]byte("<<: {version: x}\nfields: {locale: {rule: !!binary x}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse("f", data)
		if (r == nil) == (err == nil) {
			t.Fatal("neither rules nor an error, or both")
		}
		if r != nil {
			model.New(model.Options{Rules: r})
		}
	})
}
