package model

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// keeping decodes the sample with members in front of those of the order and of its parts.
func keeping(t *testing.T, order, delivery, payment, item string) *Order {
	t.Helper()
	record := strings.NewReplacer(`{"order_uid"`, `{`+order+`"order_uid"`, `{"name"`, `{`+delivery+`"name"`,
		`{"transaction"`, `{`+payment+`"transaction"`, `{"chrt_id"`, `{`+item+`"chrt_id"`).Replace(sampleRecord())
	decoded, err := New(Options{KeepUnknown: true}).Decode([]byte(record))
	require.NoError(t, err)
	return decoded.Order
}

// Members of unknown objects that look like an order's own do not mislead the masks, and
// nothing unknown is left.
func TestAMaskedOrderHasNoUnknownFields(t *testing.T) {
	hostile := `"planted":{"a":1,"payment":{"transaction":"planted","request_id":""},"customer_id":"planted","delivery_service":"x","oof_shard":"1","items":null,"b":"\"}]"},`
	o := keeping(t, hostile, hostile, hostile, hostile)
	canonical := AppendCanonical(nil, o)
	require.Equal(t, 12, strings.Count(string(canonical), "planted"))
	masked := AppendMasked(nil, canonical)
	require.NotContains(t, string(masked), "planted")
	require.Equal(t, string(AppendMasked(nil, AppendCanonical(nil, sampleOrder()))), string(masked))
	o.Delivery, o.Items = nil, nil
	require.NotContains(t, string(AppendMasked(nil, AppendCanonical(nil, o))), "planted")
}

func TestUnknownFieldsHaveBounds(t *testing.T) {
	many := func(n int) (members string) {
		for i := range n {
			members += `"x` + strconv.Itoa(i) + `":1,`
		}
		return members
	}
	keeping(t, many(MaxKeptFields), "", "", many(MaxKeptFields))
	keeping(t, `"n":`+strings.Repeat("9", maxDigits)+`,`, "", "", `"n":1e`+strconv.Itoa(maxDigits-1)+`,`)
	for record, problem := range map[string]string{
		string(edit(t, `{"name"`, `{`+many(MaxKeptFields+1)+`"name"`)):                                             "delivery: has 65 unknown fields; 64 can be kept",
		string(edit(t, `{"name"`, `{"x":"`+strings.Repeat("x", MaxKeptBytes)+`","name"`)):                          "delivery: has unknown fields beyond the 65536 bytes that can be kept of a record",
		string(edit(t, `{"chrt_id"`, `{"x":1e`+strconv.Itoa(maxDigits)+`,"chrt_id"`)):                              "items[0]: has an unknown field with a number of more than 512 digits",
		string(edit(t, `{"chrt_id"`, `{"x":{"y":[1e-99999999999999999999]},"chrt_id"`)):                            "items[0]: has an unknown field with a number of more than 512 digits",
		string(edit(t, `{"order_uid"`, `{"x":`+strings.Repeat("9", maxDigits+1)+`,"order_uid"`, `"USD"`, `"usd"`)): "has an unknown field with a number of more than 512 digits",
	} {
		_, err := New(Options{}).Decode([]byte(strings.Replace(record, `"usd"`, `"USD"`, 1)))
		require.NoError(t, err, "where they are not kept")
		_, err = New(Options{KeepUnknown: true}).Decode([]byte(record))
		require.Equal(t, ReasonUnknownField, recordError(t, err).Reason)
		require.Contains(t, recordError(t, err).Error(), problem)
		require.NotContains(t, err.Error(), "9999")
	}
}

func TestStoredUnknownFields(t *testing.T) {
	for stored, want := range map[string]Unknown{
		`{}`: "{}", ` {"b": 1.0, "aa": [1, {"d": 2, "c": "x: 1e5"}]}`: `{"aa":[1,{"c":"x: 1e5","d":2}],"b":1.0}`, `null`: "", `[1]`: "", `"x"`: "", ``: "",
		`{"items": 1, "order_uid": "x", "name": "not the delivery's"}`: `{"name":"not the delivery's"}`, // somebody wrote known fields there
	} {
		require.Equal(t, want, StoredUnknown[Order]([]byte(stored)), stored)
	}
	require.Equal(t, Unknown(`{"items":1}`), StoredUnknown[Delivery]([]byte(`{"items": 1, "name": "x"}`)))
	o := keeping(t, `"b":1,"a":2,`, "", "", `"colour":"red",`)
	canonical := AppendCanonical(nil, o)
	require.Equal(t, o.UnknownFields, StoredUnknown[Order](canonical), "of a whole order")

	read, err := ReadCanonical(canonical)
	require.NoError(t, err)
	require.Equal(t, canonical, AppendCanonical(nil, read))
	require.Empty(t, Diff(o, read))
	o.UnknownFields, o.Items[0].UnknownFields, o.Delivery, o.Payment.Amount = `{"ITEMS":7,"a":2}`, `{"colour":"blue"}`, nil, 5
	changed, err := ReadCanonical(AppendCanonical(nil, o))
	require.NoError(t, err)
	paths := []string{"delivery", "payment.amount", "items[0].colour", "ITEMS", "b"}
	require.Equal(t, paths, Diff(read, changed))
	for i, want := range []string{"null", "5", `"blue"`, "7", ""} {
		require.Equal(t, want, string(ValueAt(changed, paths[i])), paths[i])
	}
}

func TestUnknownFieldsAreComparedIfBothWereKept(t *testing.T) {
	c := New(Options{KeepUnknown: true})
	red := keeping(t, `"b":1,"a@b.example":2,"c":3,`, `"floor":1,`, "", `"colour":"red",`)
	blue := keeping(t, `"b":2,"c":3,"d":4,`, "", `"x":[],`, `"colour":"blue",`)
	none := keeping(t, "", "", "", "")
	require.Equal(t, []string{"delivery.floor", "payment.x", "items[0].colour", "?", "b", "d"}, Diff(red, blue))
	require.Equal(t, Diff(red, blue), c.Differs(red, blue))
	require.Equal(t, "2", string(ValueAt(red, "?")))
	require.Nil(t, ValueAt(keeping(t, `"a b":1,"c d":2,`, "", "", ""), "?"), "which of them differs is not known")
	require.Equal(t, []string{"delivery.floor", "items[0].colour", "?", "b", "c"}, c.Differs(red, none))
	require.Empty(t, c.Differs(red, sampleOrder()), "whose fields were not kept")
	require.Empty(t, c.Differs(sampleOrder(), blue))
	require.NotEqual(t, KeptHash(AppendCanonical(nil, red)), KeptHash(AppendCanonical(nil, blue)))
	require.Equal(t, sampleOrder(), red.WithoutUnknown())
	require.NotEmpty(t, red.Items[0].UnknownFields, "which does not change the order")
}
