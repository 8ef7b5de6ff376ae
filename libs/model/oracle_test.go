package model

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
)

// The oracle is a second opinion on records, by go-json-experiment/json, which
// is as strict about JSON as this package: UTF-8, surrogates, duplicate names.

// shapes are the fields of an order's objects by JSON kind: 't'ext, 'n'umber;
// capitals for those that may be absent.
var shapes = map[string]string{
	"": "order_uid:t track_number:t entry:t locale:t internal_signature:T customer_id:t delivery_service:t shardkey:t " +
		"sm_id:n date_created:t oof_shard:t delivery:o payment:o items:a",
	"delivery": "name:t phone:t zip:t city:t address:t region:t email:t",
	"payment": "transaction:t request_id:T currency:t provider:t amount:n payment_dt:n bank:t delivery_cost:n " +
		"goods_total:n custom_fee:n",
	"item": "chrt_id:n track_number:t price:n rid:t name:t sale:n size:t total_price:n nm_id:n brand:t status:n",
}

// shapeFailures gives what is wrong with an object's shape, as path and rule.
func shapeFailures(found map[string]string, shape, prefix string, value jsontext.Value) {
	var members map[string]jsontext.Value
	if json.Unmarshal(value, &members) != nil || members == nil {
		found[strings.TrimSuffix(prefix, ".")] = "wrong_type"
		return
	}
	for field := range strings.FieldsSeq(shapes[shape]) {
		name, kind, _ := strings.Cut(field, ":")
		path := prefix + name
		member, there := members[name]
		switch {
		case !there:
			if kind != "T" {
				found[path] = "required"
			}
		case kind == "o":
			shapeFailures(found, name, path+".", member)
		case kind == "a":
			var items []jsontext.Value
			if json.Unmarshal(member, &items) != nil || items == nil {
				found[path] = "wrong_type"
			}
			for i, item := range items {
				shapeFailures(found, "item", fmt.Sprintf("%s[%d].", path, i), item)
			}
		case kind == "n":
			if rule := integerFailure(member); rule != "" {
				found[path] = rule
			}
		case member.Kind() != '"':
			found[path] = "wrong_type"
		}
	}
}

func integerFailure(value jsontext.Value) string {
	if value.Kind() != '0' || bytes.ContainsAny(value, ".eE") {
		return "wrong_type"
	}
	if _, err := strconv.ParseInt(string(value), 10, 64); err != nil {
		return "out_of_range"
	}
	return ""
}

// judge decodes a record, and checks what comes out against the oracle and
// against what must always hold.
func judge(t testing.TB, c *Codec, record []byte) {
	before := bytes.Clone(record)
	decoded, err := c.Decode(record)
	require.Equal(t, before, record, "the record must stay as it is")
	valid := jsontext.Value(bytes.TrimPrefix(record, []byte(ByteOrderMark))).IsValid()
	if err == nil {
		require.True(t, valid)
		judgeAccepted(t, c, record, decoded.Order)
		return
	}
	re := recordError(t, err)
	require.LessOrEqual(t, len(decoded.Unknown), MaxUnknownFields)
	switch re.Reason {
	case ReasonNotJSON, ReasonPrettyPrinted, ReasonTrailingData, ReasonInvalidUTF8, ReasonLoneSurrogate,
		ReasonDuplicateName, ReasonEmpty, ReasonTombstone:
		require.False(t, valid, "%s: %q", re, record)
	case ReasonNUL, ReasonTooDeep, ReasonTooLarge: // the oracle doesn't mind
	case ReasonWrapped:
		require.True(t, valid, "%s: %q", re, record)
	case ReasonWrongType, ReasonOutOfRange, ReasonInvalid:
		require.True(t, valid, "%s: %q", re, record)
		want := map[string]string{}
		shapeFailures(want, "", "", bytes.TrimPrefix(record, []byte(ByteOrderMark)))
		got := map[string]string{}
		for _, f := range re.Errors {
			if f.Message == messageMissing || f.Rule == "wrong_type" || f.Rule == "out_of_range" {
				got[f.Path] = f.Rule
			}
		}
		if !slices.Contains(brief(re.Errors), "items max_items") {
			require.Equal(t, want, got, "%q", record)
		}
	default:
		t.Fatalf("reason %q: %q", re.Reason, record)
	}
	if re.Reason != ReasonTombstone && re.Reason != ReasonTooLarge && re.Stage == StageDecode {
		require.True(t, re.Offset >= 0 && re.Offset <= int64(len(record)), "offset %d of %d", re.Offset, len(record))
	}
	judgeFailures(t, record, re.Errors)
}

func judgeFailures(t testing.TB, record []byte, failures []FieldError) {
	paths := map[string]bool{}
	for _, f := range failures {
		require.False(t, paths[f.Path] && f.Rule != string(ReasonUnknownField), "%s is reported twice", f.Path)
		paths[f.Path] = true
		require.NotEmpty(t, f.Rule)
		require.NotEmpty(t, f.Message)
	}
	sorted := slices.Clone(failures)
	sortFailures(sorted)
	require.Equal(t, sorted, failures)
	for _, offset := range Locate(record, failures) {
		require.True(t, offset >= 0 && offset <= int64(len(record)))
	}
}

// judgeAccepted has what is true of accepted records.
func judgeAccepted(t testing.TB, c *Codec, record []byte, o *Order) {
	record = bytes.TrimPrefix(record, []byte(ByteOrderMark))
	var want Order
	if err := json.Unmarshal(record, &want); err != nil { // Go's times have no lower case and no leap second
		require.ErrorContains(t, err, "date_created", "%q", record)
		want = *o
	}
	want.DateCreated = toMicrosecond(want.DateCreated)
	require.Equal(t, &want, o)
	found := map[string]string{}
	shapeFailures(found, "", "", record)
	require.Empty(t, slices.Collect(maps.Keys(found)))
	require.Empty(t, c.ruleFailures(o), "validator has the last word")
	texts, _ := members(o)
	for _, text := range texts {
		require.True(t, isText(*text), "PostgreSQL must take %q", *text)
	}
	require.True(t, isInYearRange(o.DateCreated))
	require.Equal(t, 0, o.DateCreated.Nanosecond()%1000)

	canonical := AppendCanonical(nil, o)
	require.True(t, jsontext.Value(canonical).IsValid())
	again, err := c.Decode(canonical)
	require.NoError(t, err)
	require.Equal(t, o, again.Order)
	require.Empty(t, again.Unknown)
	require.Equal(t, canonical, AppendCanonical(nil, again.Order), "a fixed point")
}
