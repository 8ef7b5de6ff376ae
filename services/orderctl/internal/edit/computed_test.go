package edit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
)

// field reads a case of the field.
func field(t testing.TB, name string) []byte {
	t.Helper()
	value, err := os.ReadFile("../../../../libs/model/testdata/cases/" + name)
	require.NoError(t, err)
	return value
}

func sets(t testing.TB, assignments ...string) []Edit {
	t.Helper()
	edits, err := ParseSets(strings.Join(assignments, "\n"))
	require.NoError(t, err)
	return edits
}

func gzipped(t testing.TB, value []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(value)
	require.NoError(t, errors.Join(err, w.Close()))
	return b.Bytes()
}

// Each case of the field that is refused is a valid order after the edit that the
// documentation names for its kind.
func TestComputedEditsMendTheCasesOfTheField(t *testing.T) {
	codec := model.New(model.Options{})
	lines := func(name string) [][]byte { return bytes.Split(bytes.TrimSpace(field(t, name)), []byte("\n")) }
	dates, formats := lines("dates.jsonl"), lines("formats.jsonl")
	good := bytes.TrimPrefix(lines("bom-crlf.jsonl")[1], []byte("\xef\xbb\xbf"))
	utf16 := []byte("\xff\xfe")
	for _, c := range good {
		utf16 = append(utf16, c, 0)
	}
	in := func(before, after string) []byte { return append(append([]byte(before), good...), after...) }
	for kind, c := range map[string]struct {
		value []byte
		sets  string
	}{
		"a schema registry's prefix":       {field(t, "schema-registry.bin"), ".=strip(., registry)"},
		"as many bytes":                    {field(t, "schema-registry.bin"), ".=strip(., 5)"},
		"a prefix before a quotation mark": {[]byte("\x00\x00\x00\x00\x0c{\"id\":1," + string(good[1:])), ".=strip(.)"},
		"a prefix of AWS Glue":             {in("\x03\x000123456789abcdef", ""), ".=strip(.)"},
		"invisible characters around":      {in("\u200b\u00a0", "\u2060\x00\x00"), ".=strip(., invisible)"},
		"invisible characters in front":    {in("\x00\x00", ""), ".=strip(.)"},
		"Connect's envelope":               {field(t, "connect-envelope.json"), ".=unwrap(.)"},
		"Connect's envelope by its path":   {field(t, "connect-envelope.json"), ".=unwrap(., payload)"},
		"JSON in a string":                 {bytes.TrimSpace(field(t, "text-in-json.json")), ".=unwrap(.)"},
		"base64 in a string":               {fmt.Appendf(nil, "%q", base64.StdEncoding.EncodeToString(good)), ".=unwrap(.)"},
		"base64 in CloudEvents":            {fmt.Appendf(nil, `{"specversion":"1.0","data_base64":%q}`, base64.StdEncoding.EncodeToString(good)), ".=unwrap(.)"},
		"base64":                           {[]byte(base64.StdEncoding.EncodeToString(good)), ".=decode(., base64)"},
		"JSON in a string, by json":        {field(t, "text-in-json.json"), ".=json(.)"},
		"CloudEvents":                      {in(`{"specversion":"1.0","type":"order","id":"1","data":`, `}`), ".=unwrap(.)"},
		"Debezium":                         {in(`{"before":`, `,"after":`+string(good)+`,"op":"u"}`), ".=unwrap(.)"},
		"an array of one":                  {in("[", "]"), ".=unwrap(.)"},
		"gzip":                             {gzipped(t, good), ".=decode(.)"},
		"UTF-16":                           {utf16, ".=decode(.)"},
		"comments and a comma at the end":  {in("/* of the shop */", " // end"), ".=json(.)"},
		"single quotation marks":           {bytes.ReplaceAll(good, []byte(`"`), []byte(`'`)), `.=replace(., "'", '"')`},
		"an offset without colon":          {dates[0], "date_created=time(.)"},
		"an offset of hours":               {dates[1], "date_created=time(.)"},
		"a space instead of T":             {dates[2], "date_created=time(.)"},
		"no zone":                          {dates[4], "date_created=time(., Europe/Berlin)"},
		"brackets in a phone":              {formats[0], "delivery.phone=replace(., '[^0-9+]', '')"},
		"a trunk prefix":                   {formats[1], "delivery.phone=replace(replace(., '[^0-9+]', ''), '^8', '+7')"},
		"an underscore in a locale":        {formats[3], "locale=replace(., '_', '-')"},
		"a withdrawn currency":             {formats[4], "payment.currency=replace(., '^RUR$', 'RUB')"},
		"a currency in lower case":         {formats[5], "payment.currency=upper(.)"},
		"a number with a point":            {formats[7], "payment.amount=integer(.)"},
		"numbers for texts": {
			field(t, "numbers-for-texts.json"), "delivery.zip=text(.)\nshardkey=text(.)\noof_shard=text(.)\nitems[].size=text(.)",
		},
		"numbers for texts, as bare numbers": {
			field(t, "numbers-for-texts.json"), "delivery.zip=3100001\nshardkey=9\noof_shard=1\nitems[].size=0",
		},
	} {
		t.Run(kind, func(t *testing.T) {
			_, err := codec.Decode(c.value)
			require.Error(t, err)
			edited, err := Apply(c.value, sets(t, c.sets)...)
			require.NoError(t, err)
			_, err = codec.Decode(edited)
			require.NoError(t, err, "%s", edited)
			require.NotEmpty(t, Diff(c.value, edited, true))
		})
	}
}

func TestFunctions(t *testing.T) {
	const doc = `{"a":" Ab ","n":7.50,"big":12345678901234567890,"json":"{\"x\":1}","b64":"0J/RgNC40LLQtdGC","at":"29.05.2024 10:00","off":"2024-05-29T10:00:00+03:00",` +
		`"ms":1717000000123,"items":[{"p":1,"q":"x"},{"p":2,"q":"y"}],"none":null,"hidden":"a\u200bb\u00a0c","java":"Wed May 29 10:00:00 CEST 2024","digits":202405291000}`
	for assignment, want := range map[string]string{
		"a=trim(lower(.))":                           `"a":"ab"`,
		"a=replace(., '(\\w)(\\w)', '$2$1')":         `"a":" bA "`,
		"n=text(.)":                                  `"n":"7.50"`,
		"n=times(., 100)":                            `"n":750`,
		"big=text(.)":                                `"big":"12345678901234567890"`,
		"a=number('1817')":                           `"a":1817`,
		"new=copy(items[1].q)":                       `"new":"y"`,
		"items[].q=copy(items[].p)":                  `"items":[{"p":1,"q":1},{"p":2,"q":2}]`,
		"items[].q=upper(.)":                         `{"p":2,"q":"Y"}`,
		"json=json(.)":                               `"json":{"x":1}`,
		"b64=decode(., base64)":                      `"b64":"Привет"`,
		"at=time(., '02.01.2006 15:04', Asia/Tokyo)": `"at":"2024-05-29T10:00:00+09:00"`,
		"ms=time(.)":                                 `"ms":"2024-05-29T16:26:40.123Z"`,
		"ms=unix(.)":                                 `"ms":1717000000`,
		"n=unix(off)":                                `"n":1716966000`,
		"hidden=strip(., invisible)":                 `"hidden":"ab c"`,
		"java=time(., 'Mon Jan _2 15:04:05 MST 2006', Europe/Berlin)":        `"java":"2024-05-29T10:00:00+02:00"`,
		"a=time('Wed, 29 May 2024 10:00:00 GMT', '" + time.RFC1123 + "')":    `"a":"2024-05-29T10:00:00Z"`,
		"a=time('2024-05-29 10:00 +0000 WET', '2006-01-02 15:04 -0700 MST')": `"a":"2024-05-29T10:00:00Z"`,
		`a="lower(.)"`: `"a":"lower(.)"`,
		"a=Lower(.)":   `"a":"Lower(.)"`,
		"a=flat (7)":   `"a":"flat (7)"`,
	} {
		if assignment == "a=flat (7)" { // it looks like a call
			_, err := ParseSet(assignment)
			require.ErrorContains(t, err, `no function "flat"`)
			continue
		}
		got, err := Apply([]byte(doc), sets(t, assignment)...)
		require.NoError(t, err, assignment)
		require.Contains(t, string(got), want, assignment)
	}
	for assignment, want := range map[string]string{
		"n=lower(.)": "n: lower: it is no text: use text(.) first", "none=text(.)": "it is null", "a=number(.)": "no number",
		"n=integer(.)": "no whole number", "a=time(.)": "no time of a common form", "absent=lower(.)": "absent: is not there",
		"java=time(., 'Mon Jan _2 15:04:05 MST 2006')": "at a place: name that", "java=time(., 'Mon Jan _2 15:04:05 MST 2006', Asia/Tokyo)": "at a place: name that",
		"digits=time(.)": "no time of a common form", "digits=unix('20240529100000')": "no time of a common form",
		"at=time(., '02.01.2006 15:04')": "it has no zone: name one", "n=copy(items[].p)": "only where items of the same array",
		".=unwrap(.)": "no order is inside", ".=strip(., registry)": "prefix", ".=strip(., 9999)": "bytes only", ".=decode(.)": "first bytes",
	} {
		_, err := Apply([]byte(doc), sets(t, assignment)...)
		require.ErrorContains(t, err, want, assignment)
		require.NotContains(t, err.Error(), "Ab", "no values")
	}
	for assignment, want := range map[string]string{
		"a=uper(.)": "the functions are copy, decode,", "a=lower(": "", "a=lower()": "argument is missing", "a=lower(., 1)": "write lower(.)", "a=replace(., '(', '')": "missing closing",
		"a=replace(., 'x')": "write replace", "a=times(., x)": "no number", "a=strip(., x)": "no number", "a=decode(., klingon)": "no form", "a=time(., Europe/Nowhere)": "no layout",
		"a=lower('x)": "not closed", "a=lower(.) x)": "follow", ".=x": "whole value becomes JSON", "a=" + strings.Repeat("lower(", 50) + "." + strings.Repeat(")", 50): "too deep",
	} {
		_, err := ParseSet(assignment)
		if want == "" {
			require.NoError(t, err, "no call, so a text")
			continue
		}
		require.ErrorContains(t, err, want, assignment)
	}
	for name := range functions {
		require.Contains(t, Functions(), name+"(")
	}
}

// Clocks that are set make a time that can mean two moments, or none.
func TestTimesWhenClocksAreSet(t *testing.T) {
	for at, fails := range map[string]bool{"2024-10-27 02:30": true, "2024-03-31 02:30": true, "2024-10-27 03:30": false} {
		_, err := Apply([]byte(`{"a":"`+at+`"}`), sets(t, "a=time(., Europe/Berlin)")...)
		require.Equal(t, fails, err != nil, at)
	}
}

func TestWhyAnEditChangesNothing(t *testing.T) {
	for assignment, want := range map[string]string{
		"zip=3":              `the edit changes nothing: zip is like that already; for a text write zip='"…"'`,
		"name=upper(.)":      "the edit changes nothing: name is like that already",
		"items[].size=L":     "the edit changes nothing: items has no elements",
		".=strip(.)":         "the edit changes nothing: the value is like that already",
		"delivery.zip=\"3\"": "the edit changes nothing: delivery.zip is like that already",
	} {
		_, err := Apply([]byte(`{"zip":3,"name":"ANN","items":[],"delivery":{"zip":"3"}}`), sets(t, assignment)...)
		require.ErrorIs(t, err, ErrUnchanged)
		require.Equal(t, want, err.Error(), assignment)
	}
}

// A mark in front is let through, and stays.
func TestEditBehindAMark(t *testing.T) {
	got, err := Apply([]byte("\ufeff{\"locale\":\"x\"}"), sets(t, "locale=en")...)
	require.NoError(t, err)
	require.Equal(t, "\ufeff{\"locale\":\"en\"}", string(got))
	require.Equal(t, []Change{{"locale", `"x"`, `"en"`}}, Diff([]byte("\ufeff{\"locale\":\"x\"}"), got, true))
}

func TestDiffOfWholeValues(t *testing.T) {
	inner := `{"order_uid":"a1","delivery":{"name":"Ann"}}`
	require.Equal(t, []Change{{"byte 0", "\x00\x00\x00\x00\x0c", ""}}, Diff([]byte("\x00\x00\x00\x00\x0c"+inner), []byte(inner), false))
	require.Equal(t, []Change{{"around …", `{"payload":"…"}`, ""}}, Diff([]byte(`{"payload":`+inner+`}`), []byte(inner), true))
	masked := Diff([]byte(`"{\"name\":\"Ann\"}"`), []byte(`{"name":"Ann"}`), false)
	require.Len(t, masked, 1)
	require.NotContains(t, masked[0].Before+masked[0].After, "Ann")
}

// Whatever is written as an expression, it is read or refused, and what it gives of JSON
// stays JSON.
func FuzzExpressions(f *testing.F) {
	for _, seed := range []string{"text(.)", "replace(lower(.), 'a', \"b\")", "time(., '2006', Europe/Berlin)", "unwrap(., a.b[0])", "times(., 1e3)", "copy(items[].x)", "strip(., 5", "f(\x00)", "decode(., utf-16)"} {
		f.Add(seed, `{"a":"1","items":[{"x":2}]}`)
	}
	f.Fuzz(func(t *testing.T, expression, doc string) {
		for _, path := range []string{"a", "items[].x", "."} {
			e, err := ParseSet(path + "=" + expression)
			if err != nil {
				continue
			}
			edited, err := Apply([]byte(doc), e)
			if err == nil && path != "." {
				_, err = parse(bytes.TrimPrefix(edited, []byte(byteOrderMark)))
				require.NoError(t, err, "%s", edited)
			}
		}
	})
}

// A masked diff shows nothing that an edit moves to where values are shown.
func TestMaskedChangesOfEditsThatMoveValues(t *testing.T) {
	const doc = `{"delivery":{"name":"ann"},"locale":"xx"}`
	patch, err := ParsePatch([]byte(`[{"op":"copy","from":"/delivery/name","path":"/locale"}]`))
	require.NoError(t, err)
	for _, edits := range [][]Edit{sets(t, "locale=copy(delivery.name)"), sets(t, "locale=trim(lower(delivery.name))"), sets(t, `.=replace(., '"xx"', '"ann"')`), {patch}} {
		edited, err := Apply([]byte(doc), edits...)
		require.NoError(t, err)
		require.Contains(t, Changes([]byte(doc), edited, edits, true), Change{"locale", `"xx"`, `"ann"`})
		require.Equal(t, []Change{{"locale", `"***"`, `"***"`}}, Changes([]byte(doc), edited, edits, false))
	}
	edited, err := Apply([]byte(doc), sets(t, "locale=en")...)
	require.NoError(t, err)
	require.Equal(t, []Change{{"locale", `"xx"`, `"en"`}}, Changes([]byte(doc), edited, sets(t, "locale=en"), false))
}
