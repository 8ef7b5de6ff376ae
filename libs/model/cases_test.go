package model

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// readCase returns the records of a file of testdata/cases, one a line.
func readCase(tb testing.TB, name string) []string {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "cases", name))
	require.NoError(tb, err)
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// onlyFailure decodes a record that must have one failure.
func onlyFailure(t *testing.T, record string) (Reason, FieldError) {
	t.Helper()
	_, err := New(Options{}).Decode([]byte(record))
	re := recordError(t, err)
	require.Len(t, re.Errors, 1, "%v", err)
	require.True(t, re.Offset >= -1 && re.Offset <= int64(len(record)))
	return re.Reason, re.Errors[0]
}

// TestByteOrderMark: a mark in front of a record is accepted, and the record is the same
// as without it.
func TestByteOrderMark(t *testing.T) {
	c := New(Options{})
	for _, record := range readCase(t, "bom-crlf.jsonl") {
		decoded, err := c.Decode([]byte(record))
		require.NoError(t, err)
		plain, err := c.Decode([]byte(strings.TrimPrefix(record, ByteOrderMark)))
		require.NoError(t, err)
		require.Equal(t, plain, decoded)
	}
	record := ByteOrderMark + string(edit(t, `"locale":"en"`, `"locale":"?"`))
	_, err := c.Decode([]byte(record))
	at := Locate([]byte(record), recordError(t, err).Errors)[0]
	require.True(t, strings.HasPrefix(record[at:], `"?"`), "places count the mark")
	_, err = c.Decode([]byte(ByteOrderMark + "\r\n"))
	require.Equal(t, ReasonEmpty, recordError(t, err).Reason)
	_, failure := onlyFailure(t, ByteOrderMark+"hello")
	require.Equal(t, "not_json", failure.Rule)
}

// TestCausesHaveRules: records that are not JSON, or have more than the JSON, have one
// failure each, whose rule and message name the cause.
func TestCausesHaveRules(t *testing.T) {
	sample := sampleRecord()
	with := func(old, replacement string) string { return string(edit(t, old, replacement)) }
	utf16Bytes := func(s string, high int) string {
		var b []byte
		for _, u := range utf16.Encode([]rune(s)) {
			pair := [2]byte{byte(u), byte(u >> 8)}
			b = append(b, pair[high], pair[1-high])
		}
		return string(b)
	}
	registry, err := os.ReadFile("testdata/cases/schema-registry.bin")
	require.NoError(t, err)
	for _, tt := range []struct{ name, record, rule, message string }{
		{"schema registry", string(registry), ruleRegistry, "prefix of 5 bytes (schema id 12)"},
		{"schema registry, id is a bracket", "\x00\x00\x00\x00{" + sample, ruleRegistry, "(schema id 123)"},
		{"schema registry, mark", "\x00\x00\x00\x01\x02\ufeff" + sample, ruleRegistry, "(schema id 258)"},
		{"schema registry, long id", "\x00\x00\x00\x00\x00\x00\x00\x01\x00" + sample, ruleRegistry, "prefix of 9 bytes (schema id 256)"},
		{"Glue", "\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10" + sample, ruleRegistry, "schema id 0102030405060708090a0b0c0d0e0f10"},
		{"Avro with a registry", "\x00\x00\x00\x00\x07\x0corder", ruleRegistryBinary, "(schema id 7), but no JSON follows: it is probably Avro or Protobuf"},
		{"base64", base64.StdEncoding.EncodeToString([]byte(sample)), ruleBase64, "base64"},
		{"Avro file", "Obj\x01\x04", ruleBinary, "Avro file"},
		{"Java", "\xac\xed\x00\x05sr", ruleBinary, "serialized Java object"},
		{"other bytes", "\x81\xa3foo\xff", ruleBinary, "is no text"},
		{"XML", "<order/>", ruleMarkup, "XML or HTML"},
		{"gzip", "\x1f\x8b\x08\x00rest", ruleCompressed, "gzip"},
		{"zstd", "\x28\xb5\x2f\xfd\x00", ruleCompressed, "zstd"},
		{"zlib", "\x78\x9c\x00", ruleCompressed, "zlib"},
		{"UTF-16 of Windows", "\xff\xfe" + utf16Bytes(sample, 0), ruleUTF16, "UTF-16"},
		{"UTF-16, the other way", "\xfe\xff" + utf16Bytes(sample, 1), ruleUTF16, "UTF-16"},
		{"UTF-16 without mark", utf16Bytes(sample, 0), ruleUTF16, "UTF-16"},
		{"UTF-16 without mark, the other way", utf16Bytes(sample, 1), ruleUTF16, "UTF-16"},

		{"zero width space in front", "\u200b" + sample, ruleInvisible, "begins with the invisible character U+200B (zero width space)"},
		{"mark behind white space", " \ufeff" + sample, ruleInvisible, "U+FEFF (byte order mark)"},
		{"no-break space in front", "\u00a0" + sample, ruleInvisible, "U+00A0 (no-break space)"},
		{"JSON text sequence", "\x1e" + sample + "\n", ruleInvisible, "U+001E (record separator)"},
		{"word joiner behind", sample + "\u2060", ruleInvisible, "followed by the invisible character U+2060 (word joiner)"},
		{"mark behind", sample + "\r\n\ufeff", ruleInvisible, "U+FEFF"},
		{"Ctrl-Z behind", sample + "\x1a", ruleInvisible, "U+001A"},
		{"mark in an array", with(`"items":[`, `"items":[`+ByteOrderMark), ruleInvisible, "U+FEFF (byte order mark) stands here"},
		{"zero width space between members", with(`,"entry"`, ",\u200b\"entry\""), ruleInvisible, "U+200B"},
		{"NULs behind", sample + "\x00\x00\x00", ruleNULPadding, "followed by 3 NUL bytes"},
		{"NULs in front", "\x00\x00\x00\x00\x00" + sample, ruleNULPadding, "follows 5 NUL bytes"},

		{"two orders", sample + sample, ruleSeveralValues, "several JSON values"},
		{"two lines", sample + "\n" + sample + "\n", ruleSeveralValues, "several JSON values"},
		{"two orders with a comma", sample + "," + sample, ruleSeveralValues, "several JSON values"},
		{"comment in front", "// order\n" + sample, ruleComment, "no comments"},
		{"comment behind", sample + " /* order */", ruleComment, "no comments"},
		{"comment inside", with(`,"entry"`, `,/* e */"entry"`), ruleComment, "no comments"},
		{"comma behind the last member", sample[:len(sample)-1] + " , }", ruleTrailingComma, "no comma after the last member"},
		{"comma behind the last item", with(`}],"locale"`, `},],"locale"`), ruleTrailingComma, "no comma"},
		{"NaN", with(`"sm_id":99`, `"sm_id":NaN`), ruleNumber, "no NaN"},
		{"minus infinity", with(`"sm_id":99`, `"sm_id":-Infinity`), ruleNumber, "infinite"},
		{"leading zero", with(`"sm_id":99`, `"sm_id":099`), ruleNumber, "leading zeros"},
		{"plus", with(`"sm_id":99`, `"sm_id":+99`), ruleNumber, "begin with a digit"},
		{"Python", with(`"sm_id":99`, `"sm_id":None`), ruleLiteral, "Python's None"},
		{"JavaScript", with(`"sm_id":99`, `"sm_id":undefined`), ruleLiteral, "undefined"},
		{"single quotes", strings.ReplaceAll(sample, `"`, `'`), ruleQuotes, "straight double quotation marks"},
		{"typographic quotes", with(`"locale":"en"`, `"locale":“en”`), ruleQuotes, "straight double"},
		{"name without quotes", with(`"locale":"en"`, `locale:"en"`), ruleQuotes, "names must be in quotation marks"},
		{"cut off", sample[:len(sample)/2], ruleIncomplete, "the record ends"},
		{"line end in a text", with(`"locale":"en"`, "\"locale\":\"e\nn\""), "not_json", "must be escaped"},
		{"text", "hello", "not_json", "a JSON value is expected here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reason, failure := onlyFailure(t, tt.record)
			require.Equal(t, tt.rule, failure.Rule, failure.Message)
			require.Contains(t, failure.Message, tt.message)
			require.Contains(t, []Reason{ReasonNotJSON, ReasonTrailingData}, reason)
		})
	}
}

// TestInvisibleInFields: the failure of a field names the character that nobody sees.
func TestInvisibleInFields(t *testing.T) {
	for change, message := range map[string]string{
		"\"locale\":\"en\u200b\"": "it contains the invisible character U+200B (zero width space)",
		`"locale":"en "`:          "there is white space around it",
	} {
		_, failure := onlyFailure(t, string(edit(t, `"locale":"en"`, change)))
		require.Contains(t, failure.Message, message)
	}
	for _, field := range []string{`"locale":"en"`, `"currency":"USD"`, `"email":"test@gmail.com"`, `"phone":"+9720000000"`} {
		name, _, _ := strings.Cut(field, ":")
		_, failure := onlyFailure(t, string(edit(t, field, name+`:""`)))
		require.Contains(t, failure.Message, "; it is empty (a rules file can make it optional)")
	}
	_, failure := onlyFailure(t, string(edit(t, `+9720000000`, "\u202a+9720000000\u202c")))
	require.Contains(t, failure.Message, "U+202A")
	_, failure = onlyFailure(t, string(edit(t, `test@gmail.com`, "test@gmail.com\ufeff")))
	require.Contains(t, failure.Message, "U+FEFF")
	_, failure = onlyFailure(t, string(edit(t, `"order_uid":"b5`, "\"order_uid\":\"\u00a0b5")))
	require.Contains(t, failure.Message, "U+00A0")
}

// TestWrappedOrders: an order inside of something else is one failure, which says where
// the order is.
func TestWrappedOrders(t *testing.T) {
	sample := sampleRecord()
	quoted := func(s string) string {
		b, err := json.Marshal(s)
		require.NoError(t, err)
		return string(b)
	}
	connect := `{"schema":{"type":"struct","fields":[]},"payload":`
	events := `{"specversion":"1.0","id":"1","source":"shop","type":"order",`
	for _, tt := range []struct{ name, record, rule, path, message string }{
		{"Connect", readCase(t, "connect-envelope.json")[0], ruleConnect, "payload", "Kafka Connect's envelope of schema and payload; the order is in payload; send"},
		{"Connect without schema", `{"schema":null,"payload":` + sample + `}`, ruleConnect, "payload", "the order is in payload"},
		{"Connect, mark in front", ByteOrderMark + connect + sample + "}", ruleConnect, "payload", "payload"},
		{"Connect with a text", connect + quoted(sample) + "}", ruleConnect, "payload", "the order is in payload, as a string that holds JSON"},
		{"Connect twice", connect + connect + sample + "}}", ruleConnect, "payload.payload", "the order is in payload.payload"},
		{"Connect without an order", connect + `{"id":1}}`, ruleConnect, "", "no order in it"},
		{"text", readCase(t, "text-in-json.json")[0], ruleTextOfJSON, "", "is a string that holds JSON; send the order itself"},
		{"text in a text", quoted(quoted(sample)), ruleTextOfJSON, "", "a string that holds JSON"},
		{"text in base64", quoted(base64.StdEncoding.EncodeToString([]byte(sample))), ruleTextOfJSON, "", "a string that holds JSON, encoded in base64; send"},
		{"Connect with base64", connect + quoted(base64.StdEncoding.EncodeToString([]byte(sample))) + "}", ruleConnect, "payload", "the order is in payload, encoded in base64"},
		{"CloudEvents", events + `"data":` + sample + "}", ruleCloudEvents, "data", "a CloudEvents event; the order is in data"},
		{"CloudEvents with a text", events + `"data":` + quoted(sample) + "}", ruleCloudEvents, "data", "as a string that holds JSON"},
		{"CloudEvents in base64", events + `"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(sample)) + `"}`, ruleCloudEvents, "data_base64", "encoded in base64"},
		{"Debezium", `{"before":` + sample + `,"after":` + sample + `,"op":"u"}`, ruleDebezium, "after", "a change event of Debezium; the order is in after"},
		{"Debezium in Connect", connect + `{"before":null,"after":` + sample + `,"op":"c"}}`, ruleDebezium, "payload.after", "the order is in payload.after"},
		{"Debezium's outbox", connect + `{"op":"c","after":{"id":1,"payload":` + quoted(sample) + `}}}`, ruleDebezium, "payload.after.payload", "as a string"},
		{"some envelope", `{"event":"created","order":` + sample + `}`, ruleEnvelope, "order", "an envelope; the order is in order"},
		{"row of an outbox", `{"order_uid":"b563feb7b2b84b6test","payload":` + quoted(sample) + `}`, ruleEnvelope, "payload", "as a string that holds JSON"},
		{"array", "[" + sample + "]", ruleArray, "[0]", "an array; the order is in [0]"},
		{"array of several", "[" + sample + "," + sample + "]", ruleArray, "", "an array of 2 orders; send each as a record of its own"},
		{"envelope of an array", `{"orders":[` + sample + `]}`, ruleEnvelope, "orders[0]", "orders[0]"},
		{"personal name", `{"anna@example.com":` + sample + `}`, ruleEnvelope, "?", "the order is in ?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reason, failure := onlyFailure(t, tt.record)
			require.Equal(t, ReasonWrapped, reason)
			require.Equal(t, tt.rule, failure.Rule)
			require.Equal(t, tt.path, failure.Path)
			require.Contains(t, failure.Message, tt.message)
		})
	}
	for _, other := range []string{"{}", `"text"`, `{"data":{"x":1}}`, `{"order_uid":"b563feb7b2b84b6test","data":{"x":1}}`, `[1,2]`, `{"delivery":` + sample + `}`} {
		_, err := New(Options{}).Decode([]byte(other))
		require.NotEqual(t, ReasonWrapped, recordError(t, err).Reason, other)
	}
}

// TestIntegersBeyond2To53: an integer that JSON readers would round is refused.
func TestIntegersBeyond2To53(t *testing.T) {
	_, err := New(Options{}).Decode([]byte(strings.Join(readCase(t, "big-id.json"), "\n")))
	require.Equal(t, []string{"items[0].chrt_id max", "sm_id max"}, briefOf(err))
	require.ErrorContains(t, err, "must be at most 9007199254740991, the largest integer that every JSON reader keeps")
	for _, path := range allPaths() {
		for i, number := range []string{"9007199254740991", "9007199254740992"} {
			at := Locate([]byte(sampleRecord()), []FieldError{{Path: path}})[0]
			s := scanner{data: []byte(sampleRecord()), pos: int(at)}
			if c := s.peek(); !isDigit(c) || strings.HasSuffix(path, ".sale") || strings.HasSuffix(path, ".payment_dt") {
				continue // these have smaller bounds
			}
			require.Nil(t, s.skip(0))
			_, err := New(Options{}).Decode([]byte(sampleRecord()[:at] + number + sampleRecord()[s.pos:]))
			require.Equal(t, i == 0, err == nil, "%s: %v", path, err)
		}
	}
}

// TestTimeForms: what RFC 3339 allows is accepted, and the failure of any other form says
// what is wrong with it.
func TestTimeForms(t *testing.T) {
	for i, want := range []string{
		"the offset must have a colon, as in +03:00, not +0300", "the offset must have a colon, as in +03:00, not +0300",
		"T must stand between date and time, not a space", "", "the zone is missing: Z for UTC, or an offset such as +03:00",
	} {
		record := readCase(t, "dates.jsonl")[i]
		if want == "" {
			_, err := New(Options{}).Decode([]byte(record))
			require.NoError(t, err)
			continue
		}
		_, failure := onlyFailure(t, record)
		require.Equal(t, FieldError{"date_created", "rfc3339", messageTime + ": " + want}, failure)
	}
	for value, want := range map[string]string{
		`"2024-05-29 10:00:00"`:                        "not a space; the zone is missing",
		`"2024-05-29 10:00:00 +0300"`:                  "not a space; no space may stand before the zone; the offset must have a colon",
		`"2024-05-29 10:00:00 +0300 MSK"`:              "not a space",
		`"2024-05-29T10:00:00+03"`:                     "the offset must have hours and minutes",
		`"2024-05-29T10:00Z"`:                          "the seconds are missing",
		`"2024-05-29T10:00:00,5Z"`:                     "the fraction must follow a point",
		`"2024-05-29T10:00:00.Z"`:                      "digits must follow the point",
		`"2024-05-29T10:00:00 UTC"`:                    "not a name",
		`"2024-05-29T10:00:00+03:00[Europe/Moscow]"`:   "the zone's name after the offset must be left out",
		`"2024-05-29"`:                                 "this is a date without a time",
		`"2024-05-29T25:00:00Z"`:                       "there is no such month, day, hour",
		`"2024-05-29T24:00:00Z"`:                       "there is no such month, day, hour",
		`"2024-02-30T10:00:00Z"`:                       "there is no such month, day, hour",
		`"2024-05-29T10:00:60Z"`:                       "there is no such month, day, hour",
		`"1717000000"`:                                 "Unix time in seconds",
		`"1717000000000"`:                              "Unix time in milliseconds",
		`1717000000`:                                   "Unix time in seconds",
		`1717000000000`:                                "Unix time in milliseconds",
		`1717000000000000000`:                          "Unix time in nanoseconds",
		`1717000000.5`:                                 "this is a number",
		`[2024,5,29,10,0]`:                             "Jackson",
		`"20240529T100000Z"`:                           "hyphens of the date and the colons",
		`"20240529"`:                                   "a date without hyphens",
		`"29.05.2024 10:00:00"`:                        "year-month-day",
		`"05/29/2024"`:                                 "year-month-day",
		`"2024/05/29 10:00:00"`:                        "joined by hyphens",
		`"Wed, 29 May 2024 10:00:00 +0300"`:            "RFC 2822",
		`"Wed May 29 2024 10:00:00 GMT+0300 (Moscow)"`: "JavaScript",
		`"/Date(1717000000000)/"`:                      "Microsoft",
		`"2024-5-29T10:00:00Z"`:                        "two digits each",
		`"2024-W22-3T10:00:00Z"`:                       "not a week",
		`"2024-05-29T10:00:00Z "`:                      "white space around it",
		`" 2024-05-29T10:00:00Z"`:                      "white space around it",
		"\"2024-05-29T10:00:00Z\u200b\"":               "U+200B",
		`""`:                                           "it is empty",
		`"soon"`:                                       messageTime,
	} {
		_, failure := onlyFailure(t, string(edit(t, `"2021-11-26T06:22:19Z"`, value)))
		require.Equal(t, "date_created", failure.Path)
		require.Contains(t, failure.Message, want, value)
		require.Contains(t, failure.Message, "2021-11-26T06:22:19Z")
	}
}

// TestUnpaidOrders: payment_dt 0 means not paid yet.
func TestUnpaidOrders(t *testing.T) {
	decoded, err := New(Options{}).Decode([]byte(readCase(t, "cash-on-delivery.json")[0]))
	require.NoError(t, err)
	require.Zero(t, decoded.Order.Payment.PaymentDT)
}

// TestNumbersForTexts: all failures of a record are in one letter.
func TestNumbersForTexts(t *testing.T) {
	_, err := New(Options{}).Decode([]byte(readCase(t, "numbers-for-texts.json")[0]))
	require.Equal(t, []string{"delivery.zip wrong_type", "items[0].size wrong_type", "shardkey wrong_type", "oof_shard wrong_type"}, briefOf(err))
}
