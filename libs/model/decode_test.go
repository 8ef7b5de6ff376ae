package model

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFaults has the records that can't be relied on: one failure each.
func TestFaults(t *testing.T) {
	brackets := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	sample := sampleRecord()
	inside := func(value string) string { return `{"extra":` + value + `,` + sample[1:] }
	long := strings.Repeat("x", DefaultMaxRecordBytes)

	for _, tt := range []struct {
		name   string
		record string
		reason Reason
		path   string
		at     string // what stands at the offset; "" means offset -1 or the end
	}{
		{"white space", " \t\r\n", ReasonEmpty, "", " \t"},
		{"too large", inside(`"` + long + `"`), ReasonTooLarge, "", ""},

		{"no JSON", "hello", ReasonNotJSON, "", "hello"},
		{"binary", "\x00\x00\x00\x01", ReasonNotJSON, "", "\x00\x00\x00\x01"},
		{"cut in a name", sample[:5], ReasonNotJSON, "", ""},
		{"cut in a text", sample[:len(sample)-2], ReasonNotJSON, "oof_shard", ""},
		{"cut before the end", sample[:len(sample)-1], ReasonNotJSON, "", ""},
		{"no comma", strings.Replace(sample, `,"entry"`, ` "entry"`, 1), ReasonNotJSON, "", `"entry"`},
		{"no colon", strings.Replace(sample, `"zip":`, `"zip"`, 1), ReasonNotJSON, "delivery", `"2639809"`},
		{"comma at the end", sample[:len(sample)-1] + ",}", ReasonNotJSON, "", "}"},
		{"comma at the end of an array", strings.Replace(sample, "}],", "},],", 1), ReasonNotJSON, "items", "],"},
		{"name without quotes", strings.Replace(sample, `"sale"`, `sale`, 1), ReasonNotJSON, "items[0]", `sale`},
		{"single quotes", strings.Replace(sample, `"en"`, `'en'`, 1), ReasonNotJSON, "locale", `'en'`},
		{"leading zero", strings.Replace(sample, `:99,`, `:099,`, 1), ReasonNotJSON, "", `99,`},
		{"plus", strings.Replace(sample, `:99,`, `:+99,`, 1), ReasonNotJSON, "sm_id", `+99`},
		{"minus alone", strings.Replace(sample, `:99,`, `:-,`, 1), ReasonNotJSON, "sm_id", `,"date`},
		{"point without digits", strings.Replace(sample, `:99,`, `:99.,`, 1), ReasonNotJSON, "sm_id", `,"date`},
		{"exponent without digits", strings.Replace(sample, `:99,`, `:99e+,`, 1), ReasonNotJSON, "sm_id", `,"date`},
		{"NaN", strings.Replace(sample, `:99,`, `:NaN,`, 1), ReasonNotJSON, "sm_id", `NaN`},
		{"odd literal", inside(`nul`), ReasonNotJSON, "extra", `nul,`},
		{"comment", inside(`/**/1`), ReasonNotJSON, "extra", `/**/`},
		{"line end in a text", strings.Replace(sample, `Test `, "Test\n", 1), ReasonNotJSON, "delivery.name", "\nTestov"},
		{"odd escape", strings.Replace(sample, `Test `, `Test\x20`, 1), ReasonNotJSON, "delivery.name", `\x20`},
		{"short escape", strings.Replace(sample, `Test `, `Test\u00`, 1), ReasonNotJSON, "delivery.name", `\u00T`},
		{"short second escape", inside(`"\ud83d\u12"`), ReasonNotJSON, "extra", `\u12"`},

		{"two orders", sample + sample, ReasonTrailingData, "", sample},
		{"two lines", sample + "\n" + sample, ReasonTrailingData, "", sample},
		{"a bracket too many", sample + "}", ReasonTrailingData, "", "}"},
		{"something behind an array", "[] x", ReasonTrailingData, "", "x"},

		{"Latin-1 in a field", strings.Replace(sample, `Mira`, "Mir\xe9", 1), ReasonInvalidUTF8, "delivery.address", "\xe9 15"},
		{"encoded surrogate", strings.Replace(sample, `Mira`, "\xed\xa0\x80", 1), ReasonInvalidUTF8, "delivery.address", "\xed\xa0\x80"},
		{"overlong", inside("\"\xc0\x80\""), ReasonInvalidUTF8, "extra", "\xc0\x80"},
		{"Latin-1 in an unknown name", inside("{\"\xe9\":1}"), ReasonInvalidUTF8, "extra", "\xe9"},
		{"Latin-1 behind an escape", inside("\"\\n\xe9\""), ReasonInvalidUTF8, "extra", "\xe9"},

		{"NUL escape", strings.Replace(sample, `Mira`, `Mi\u0000ra`, 1), ReasonNUL, "delivery.address", `\u0000ra`},
		{"NUL byte", strings.Replace(sample, `Mira`, "Mi\x00ra", 1), ReasonNUL, "delivery.address", "\x00ra"},
		{"NUL behind an escape", inside("\"\\n\x00\""), ReasonNUL, "extra", "\x00"},
		{"NUL in an unknown name", inside(`[{"\u0000":1}]`), ReasonNUL, "extra", `\u0000`},
		{"NUL in a name", `{"order_uid\u0000":"x"}`, ReasonNUL, "", `\u0000`},

		{"high surrogate", strings.Replace(sample, `Mira`, `\ud83d`, 1), ReasonLoneSurrogate, "delivery.address", `\ud83d`},
		{"low surrogate", strings.Replace(sample, `Mira`, `\ude00`, 1), ReasonLoneSurrogate, "delivery.address", `\ude00`},
		{"surrogates the wrong way", inside(`"\ude00\ud83d"`), ReasonLoneSurrogate, "extra", `\ude00`},
		{"two high surrogates", inside(`"\ud83d\ud83d"`), ReasonLoneSurrogate, "extra", `\ud83d\ud83d`},

		{"name twice", inside(`1,"order_uid":"x"`), ReasonDuplicateName, "order_uid", `"order_uid":"b5`},
		{"name twice, once escaped", inside(`1,"order_\u0075id":"x"`), ReasonDuplicateName, "order_uid", `"order_uid":"b5`},
		{"name twice in a part", strings.Replace(sample, `"bank"`, `"amount":1,"bank"`, 1), ReasonDuplicateName, "payment.amount", `"amount":1,"bank"`},
		{"part twice", inside(`1,"items":[]`), ReasonDuplicateName, "items", `"items":[{`},
		{"unknown name twice", inside(`1,"extra":1`), ReasonDuplicateName, "extra", `"extra":1,"order`},
		{"name twice in an unknown field", inside(`[{"a":1,"b":2,"\u0061":3}]`), ReasonDuplicateName, "extra", `"\u0061":3`},
		{"name twice in a field of the wrong type", strings.Replace(sample, `:99,`, `:{"a":1,"a":2},`, 1), ReasonDuplicateName, "sm_id", `"a":2`},

		{"too deep", inside(brackets(64)), ReasonTooDeep, "extra", `[]`},
		{"much too deep", brackets(100_000), ReasonTooDeep, "", `[`},
		{"objects too deep", strings.Repeat(`{"a":`, 65), ReasonTooDeep, "a", `{`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			decoded, err := New(Options{}).Decode([]byte(tt.record))
			re := recordError(t, err)
			require.Equal(t, StageDecode, re.Stage)
			require.Equal(t, tt.reason, re.Reason, re.Error())
			require.Len(t, re.Errors, 1)
			if tt.reason != ReasonNotJSON && tt.reason != ReasonTrailingData { // see TestCausesHaveRules
				require.Equal(t, string(tt.reason), re.Errors[0].Rule)
			}
			require.Equal(t, tt.path, re.Errors[0].Path)
			require.Nil(t, decoded.Order)
			switch {
			case tt.reason == ReasonTooLarge:
				require.EqualValues(t, -1, re.Offset)
			case tt.at == "":
				require.EqualValues(t, len(tt.record), re.Offset)
			default:
				require.True(t, strings.HasPrefix(tt.record[re.Offset:], tt.at), "at %q", tt.record[re.Offset:])
			}
		})
	}
}

func TestTombstoneAndEmpty(t *testing.T) {
	c := New(Options{})
	_, err := c.Decode(nil)
	require.Equal(t, ReasonTombstone, recordError(t, err).Reason)
	_, err = c.Decode([]byte{})
	require.Equal(t, ReasonEmpty, recordError(t, err).Reason)
}

// TestPrettyPrintedLines sends each line of the sample on its own.
func TestPrettyPrintedLines(t *testing.T) {
	c := New(Options{})
	for line := range strings.Lines(string(readSample(t, "model.json"))) {
		for _, record := range []string{line, strings.TrimSuffix(line, "\n"), strings.TrimSuffix(line, "\n") + "\r"} {
			_, err := c.Decode([]byte(record))
			re := recordError(t, err)
			require.Equal(t, ReasonPrettyPrinted, re.Reason, "%q", record)
			require.Contains(t, re.Errors[0].Message, "one line of a pretty-printed file")
		}
	}
	for _, record := range []string{`{"order_uid": "x"`, "hello", `"text" and more`, "{\n\"a\":", "[[[[[[", "1,", `"open`} {
		_, err := c.Decode([]byte(record))
		require.NotEqual(t, ReasonPrettyPrinted, recordError(t, err).Reason, "%q", record)
	}
}

// TestShape has the failures of single fields, of which all are reported.
func TestShape(t *testing.T) {
	for _, tt := range []struct {
		name   string
		record []byte
		reason Reason
		at     string
		want   []string
	}{
		{"array", []byte("[]"), ReasonWrongType, "[]", []string{"wrong_type"}},
		{"null", []byte(" null "), ReasonWrongType, "null", []string{"wrong_type"}},
		{"text", []byte(`"order"`), ReasonWrongType, `"order"`, []string{"wrong_type"}},
		{"null for text", edit(t, `"locale":"en"`, `"locale":null`), ReasonWrongType, "null", []string{"locale wrong_type"}},
		{"null for an optional text", edit(t, `"request_id":""`, `"request_id":null`), ReasonWrongType, "null", []string{"payment.request_id wrong_type"}},
		{"null for parts", edit(t, string(appendObject(nil, sampleOrder().Delivery, deliveryFields)), "null", string(appendItems(nil, sampleOrder())), "null"),
			ReasonWrongType, "null", []string{"delivery wrong_type", "items wrong_type"}},
		{"number for text", edit(t, `"shardkey":"9"`, `"shardkey":9`), ReasonWrongType, "9", []string{"shardkey wrong_type"}},
		{"text for number", edit(t, `"price":453`, `"price":"453"`), ReasonWrongType, `"453"`, []string{"items[0].price wrong_type"}},
		{"boolean for number", edit(t, `"price":453`, `"price":true`), ReasonWrongType, `true`, []string{"items[0].price wrong_type"}},
		{"number for time", edit(t, `"2021-11-26T06:22:19Z"`, `1637907739`), ReasonWrongType, `16379`, []string{"date_created wrong_type"}},
		{"point", edit(t, `"price":453`, `"price":453.0`), ReasonWrongType, `453.0`, []string{"items[0].price wrong_type"}},
		{"exponent", edit(t, `"price":453`, `"price":4e2`), ReasonWrongType, `4e2`, []string{"items[0].price wrong_type"}},
		{"exponent of an overflow", edit(t, `"price":453`, `"price":1E400`), ReasonWrongType, `1E400`, []string{"items[0].price wrong_type"}},
		{"overflow", edit(t, `"chrt_id":9934930`, `"chrt_id":9223372036854775808`), ReasonOutOfRange, `92233`, []string{"items[0].chrt_id out_of_range"}},
		{"overflow below", edit(t, `"chrt_id":9934930`, `"chrt_id":-9223372036854775809`), ReasonOutOfRange, `-92233`, []string{"items[0].chrt_id out_of_range"}},
		{"overflow far", edit(t, `"chrt_id":9934930`, `"chrt_id":1`+strings.Repeat("0", 400)), ReasonOutOfRange, `10000`, []string{"items[0].chrt_id out_of_range"}},
		{"items as object", edit(t, `"items":[`, `"items":{"a":[`, `}],"locale"`, `}]},"locale"`), ReasonWrongType, `{"a"`, []string{"items wrong_type"}},
		{"item as text", edit(t, `"items":[`, `"items":["x",`), ReasonWrongType, `"x"`, []string{"items[0] wrong_type"}},
		{
			"all at once, with rules and absent fields, the reason being the first in the record",
			edit(t, `"entry":"WBIL"`, `"entry":9223372036854775808`, `"email":"test@gmail.com"`, `"email":"nobody"`, `"custom_fee":0`, `"custom_fee":1.5`,
				`"amount":1817`, `"amount":-9223372036854775809`, `"sale":30,`, ``, `"sm_id":99`, `"sm_id":-1`, `,"oof_shard":"1"`, ``),
			ReasonWrongType, "9223", []string{
				"entry wrong_type", "delivery.email email", "payment.amount out_of_range", "payment.custom_fee wrong_type",
				"items[0].sale required", "sm_id min", "oof_shard required",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			decoded, err := New(Options{}).Decode(tt.record)
			re := recordError(t, err)
			require.Equal(t, tt.want, brief(re.Errors))
			require.Equal(t, StageDecode, re.Stage)
			require.Equal(t, tt.reason, re.Reason)
			require.True(t, strings.HasPrefix(string(tt.record[re.Offset:]), tt.at), "at %q", tt.record[re.Offset:])
			require.Nil(t, decoded.Order)
		})
	}
}

// TestAbsentFields takes away each member of the sample in turn.
func TestAbsentFields(t *testing.T) {
	c := New(Options{CheckSums: true})
	optional := map[string]bool{"payment.request_id": true, "internal_signature": true}
	check := func(t *testing.T, path, record string) {
		t.Helper()
		decoded, err := c.Decode([]byte(record))
		if optional[path] {
			require.NoError(t, err)
			return
		}
		require.Equal(t, []string{path + " required"}, briefOf(err))
		re := recordError(t, err)
		require.Equal(t, StageValidate, re.Stage)
		require.Equal(t, ReasonInvalid, re.Reason)
		require.EqualValues(t, -1, re.Offset)
		require.Equal(t, "is missing", re.Errors[0].Message)
		require.NotNil(t, decoded.Order)
	}
	without := func(member string) string {
		record := sampleRecord()
		require.Contains(t, record, member)
		record = strings.Replace(record, member, "", 1)
		return strings.NewReplacer(",,", ",", "{,", "{", ",}", "}").Replace(record)
	}
	memberOf := func(field string, value []byte) string { return `"` + field + `":` + string(value) }
	o := sampleOrder()
	for _, f := range named(orderFields) {
		t.Run(f.name, func(t *testing.T) {
			check(t, f.name, without(memberOf(f.name, valueOf(o, f))))
		})
	}
	for _, f := range named(deliveryFields) {
		t.Run("delivery."+f.name, func(t *testing.T) {
			check(t, "delivery."+f.name, without(memberOf(f.name, valueOf(o.Delivery, f))))
		})
	}
	for _, f := range named(paymentFields) {
		t.Run("payment."+f.name, func(t *testing.T) {
			check(t, "payment."+f.name, without(memberOf(f.name, valueOf(o.Payment, f))))
		})
	}
	for _, f := range named(itemFields) {
		t.Run("items[0]."+f.name, func(t *testing.T) {
			member := memberOf(f.name, valueOf(&o.Items[0], f))
			record := sampleRecord()
			items := strings.Index(record, `"items"`)
			tail := strings.Replace(record[items:], member, "", 1)
			tail = strings.NewReplacer(",,", ",", "{,", "{", ",}", "}").Replace(tail)
			check(t, "items[0]."+f.name, record[:items]+tail)
		})
	}
}

func valueOf[T any](v *T, f field[T]) []byte {
	object := string(appendObject(nil, v, []field[T]{f}))
	return []byte(strings.TrimSuffix(strings.TrimPrefix(object, "{"+f.member), "}"))
}

func TestEmptyObject(t *testing.T) {
	_, err := New(Options{}).Decode([]byte("{}"))
	require.Equal(t, []string{
		"order_uid required", "track_number required", "entry required", "delivery required", "payment required",
		"items required", "locale required", "customer_id required", "delivery_service required", "shardkey required",
		"sm_id required", "date_created required", "oof_shard required",
	}, briefOf(err))
}

func TestNamesAreCaseSensitive(t *testing.T) {
	decoded, err := New(Options{}).Decode(edit(t, `"order_uid"`, `"Order_UID"`))
	require.Equal(t, []string{"order_uid required"}, briefOf(err))
	require.Equal(t, []string{"Order_UID"}, decoded.Unknown)
}

func TestUnknownFields(t *testing.T) {
	record := edit(t,
		`"sale":30`, `"gift":false,"sale":30`,
		`"entry"`, `"colour":{"delivery":{"x":[1,2.5,"\u00e9",null,true,false]}},"entry"`,
		`"zip"`, `"floor":3,"zip"`,
		`"bank"`, `"`+strings.Repeat("Ы", 100)+`":3,"anna@example.com":1,"bank"`,
		`"items":[`, `"items":[`+strings.Replace(string(appendObject(nil, &sampleOrder().Items[0], itemFields)), "{", `{"gift":true,`, 1)+",")
	decoded, err := New(Options{}).Decode(record)
	require.NoError(t, err)
	require.Equal(t, []string{"colour", "delivery.floor", "payment." + strings.Repeat("Ы", 32) + "…", "payment.?", "items[].gift"}, decoded.Unknown)

	_, err = New(Options{RejectUnknown: true}).Decode(record)
	re := recordError(t, err)
	require.Equal(t, ReasonUnknownField, re.Reason)
	require.Equal(t, []string{
		"delivery.floor unknown_field", "payment." + strings.Repeat("Ы", 32) + "… unknown_field", "payment.? unknown_field",
		"items[0].gift unknown_field", "items[1].gift unknown_field", "colour unknown_field",
	}, brief(re.Errors))
	require.NotContains(t, err.Error(), "anna")
}

func TestUnknownFieldsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("{")
	for i := range 1000 {
		fmt.Fprintf(&b, `"f%d":0,`, i)
	}
	b.WriteString(sampleRecord()[1:])
	decoded, err := New(Options{}).Decode([]byte(b.String()))
	require.NoError(t, err)
	require.Len(t, decoded.Unknown, MaxUnknownFields)
	_, err = New(Options{RejectUnknown: true}).Decode([]byte(b.String()))
	require.Len(t, recordError(t, err).Errors, MaxUnknownFields)
}

func TestLimitsAreSettings(t *testing.T) {
	sample := []byte(sampleRecord())
	_, err := New(Options{MaxRecordBytes: len(sample)}).Decode(sample)
	require.NoError(t, err)
	_, err = New(Options{MaxRecordBytes: len(sample) - 1}).Decode(sample)
	require.Equal(t, ReasonTooLarge, recordError(t, err).Reason)

	item := string(appendObject(nil, &sampleOrder().Items[0], itemFields))
	three := edit(t, item, item+","+item+","+strings.Replace(item, `"sale":30`, `"sale":101`, 1)+`,7`)
	decoded, err := New(Options{MaxItems: 3}).Decode(three)
	require.Equal(t, []string{"items max_items", "items[2].sale max"}, briefOf(err))
	require.Len(t, decoded.Order.Items, 3)
	require.Contains(t, err.Error(), "at most 3 items")
}

func TestDepthLimitIsReached(t *testing.T) {
	// The order is the first level, so 63 more are left.
	record := []byte(`{"extra":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `,` + sampleRecord()[1:])
	_, err := New(Options{}).Decode(record)
	require.NoError(t, err)
}

func TestNothingOfTheRecordIsKept(t *testing.T) {
	record := edit(t, `Testov`, `Test\u00f6v`)
	decoded, err := New(Options{}).Decode(record)
	require.NoError(t, err)
	for i := range record {
		record[i] = 'x'
	}
	want := sampleOrder()
	want.Delivery.Name = "Test Testöv"
	require.Equal(t, want, decoded.Order)
}

func TestTextsOfEveryLength(t *testing.T) {
	// Texts are kept in blocks; none may run into another.
	c := New(Options{})
	for n := range 1100 {
		o := sampleOrder()
		o.Delivery.Address = strings.Repeat("a", n%1024+1)
		o.Items[0].Name = strings.Repeat("b", (n*7)%1024+1)
		decoded, err := c.Decode(AppendCanonical(nil, o))
		require.NoError(t, err)
		require.Equal(t, o, decoded.Order)
	}
}

func TestErrorText(t *testing.T) {
	_, err := New(Options{}).Decode([]byte(`{"order_uid":5`))
	require.EqualError(t, err, "decode: not_json at byte 14: the record ends, but a comma or } is expected")
	_, err = New(Options{}).Decode([]byte("{}"))
	require.EqualError(t, err, "validate: invalid: order_uid: is missing; track_number: is missing; entry: is missing; delivery: is missing; payment: is missing; and 8 more")
}
