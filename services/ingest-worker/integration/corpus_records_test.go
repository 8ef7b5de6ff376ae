package integration

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// hostileRecord is a record that breaks services of this kind.
type hostileRecord struct {
	name          string
	value         []byte
	reason, stage string // of the dead letter; "" for one that is stored
}

// smallBroken are the hostile records that are no orders, but for large ones.
func smallBroken(t testing.TB) []hostileRecord {
	t.Helper()
	return slices.DeleteFunc(brokenRecords(t), func(r hostileRecord) bool { return len(r.value) > 10_000 })
}

// brokenRecords are no orders.
func brokenRecords(t testing.TB) (all []hostileRecord) {
	t.Helper()
	whole := string(order(t, "hostile", "a"))
	decode := func(name, reason, value string) {
		all = append(all, hostileRecord{name, []byte(value), reason, "decode"})
	}
	invalid := func(name, value string) {
		all = append(all, hostileRecord{name, []byte(value), "invalid", "validate"})
	}
	with := func(old, replacement string) string {
		t.Helper()
		if strings.Count(whole, old) != 1 {
			t.Fatalf("%q is not once in %s", old, whole)
		}
		return strings.Replace(whole, old, replacement, 1)
	}
	first := func(member string) string { return "{" + member + "," + whole[1:] }

	// Nothing, or no JSON.
	all = append(all, hostileRecord{"a tombstone", nil, "tombstone", "decode"})
	decode("no bytes", "empty", "")
	decode("white space", "empty", " \r\n\t ")
	decode("text", "not_json", "hello")
	decode("half an order", "not_json", whole[:len(whole)/2])
	decode("two byte order marks", "not_json", "\ufeff\ufeff"+whole)
	decode("single quotes", "not_json", strings.ReplaceAll(whole, `"`, `'`))
	decode("a comment", "not_json", "/* order */"+whole)
	decode("a comma at the end", "not_json", whole[:len(whole)-1]+",}")
	decode("NaN", "not_json", with(`"amount":1817`, `"amount":NaN`))
	decode("hexadecimal", "not_json", with(`"amount":1817`, `"amount":0x10`))
	decode("a leading zero", "not_json", with(`"amount":1817`, `"amount":01817`))
	decode("a plus sign", "not_json", with(`"amount":1817`, `"amount":+1817`))
	decode("a tab within a text", "not_json", with(`"locale":"en"`, "\"locale\":\"e\tn\""))
	decode("a bad escape", "not_json", with(`"locale":"en"`, `"locale":"\x41"`))
	decode("binary", "not_json", "\x00\x00\x00\x00\x01\x0cavro")
	decode("NULs alone", "not_json", strings.Repeat("\x00", 100))
	decode("one line of a pretty-printed file", "pretty_printed", `  "order_uid": "b563feb7b2b84b6test",`)
	decode("its last line", "pretty_printed", `}`)

	// Bytes and characters.
	decode("no UTF-8", "invalid_utf8", with(`"locale":"en"`, "\"locale\":\"\xff\""))
	decode("an overlong encoding", "invalid_utf8", with(`"locale":"en"`, "\"locale\":\"\xc0\xaf\""))
	decode("a surrogate as bytes", "invalid_utf8", with(`"locale":"en"`, "\"locale\":\"\xed\xa0\x80\""))
	decode("a character cut in two", "invalid_utf8", with(`"locale":"en"`, "\"locale\":\"\xe2\x82\""))
	decode("NUL as an escape", "nul_character", with(`"locale":"en"`, `"locale":"e\u0000n"`))
	decode("NUL in an unknown field", "nul_character", first(`"x":["\u0000"]`))
	decode("NUL in a name", "nul_character", first(`"x\u0000":1`))
	decode("a lone high surrogate", "lone_surrogate", with(`"locale":"en"`, `"locale":"\ud800"`))
	decode("a lone low surrogate", "lone_surrogate", with(`"locale":"en"`, `"locale":"\udc00\ud800"`))

	// Structure.
	decode("a second order behind", "trailing_data", whole+whole)
	decode("text behind", "trailing_data", whole+" x")
	decode("a name twice", "duplicate_name", first(`"order_uid":"other"`))
	decode("a name twice by an escape", "duplicate_name", first(`"order_\u0075id":"other"`))
	decode("a nested name twice", "duplicate_name", with(`"amount":1817`, `"amount":1817,"amount":1`))
	decode("an unknown name twice", "duplicate_name", first(`"x":{"y":1,"y":2}`))
	decode("nested too deep", "too_deep", first(`"x":`+strings.Repeat("[", 64)+strings.Repeat("]", 64)))
	decode("900,000 brackets", "too_deep", strings.Repeat("[", 900_000))
	decode("900,000 objects", "too_deep", strings.Repeat(`{"a":`, 180_000))

	// Types.
	decode("an array of orders", "wrapped", "["+whole+"]")
	for _, v := range []string{"null", "[]", `"x"`, "1", "true"} {
		decode("the record is "+v[:min(4, len(v))], "wrong_type", v)
	}
	decode("a text for a number", "wrong_type", with(`"amount":1817`, `"amount":"1817"`))
	decode("a number for a text", "wrong_type", with(`"locale":"en"`, `"locale":1`))
	decode("null for a text", "wrong_type", with(`"locale":"en"`, `"locale":null`))
	decode("100.0", "wrong_type", with(`"amount":1817`, `"amount":1817.0`))
	decode("1e2", "wrong_type", with(`"amount":1817`, `"amount":1e2`))
	decode("1e400", "wrong_type", with(`"amount":1817`, `"amount":1e400`))
	decode("more than 64 bits", "out_of_range", with(`"sm_id":99`, `"sm_id":9223372036854775808`))
	decode("less than 64 bits", "out_of_range", with(`"sm_id":99`, `"sm_id":-9223372036854775809`))
	decode("a number of 500,000 digits", "out_of_range", with(`"sm_id":99`, `"sm_id":`+strings.Repeat("9", 500_000)))
	decode("an object for the items", "wrong_type", `{"items":{}}`)
	decode("null for an item", "wrong_type", `{"items":[null]}`)

	// Rules.
	invalid("no fields", "{}")
	invalid("a name in capitals", with(`"order_uid"`, `"ORDER_UID"`))
	for _, uid := range []string{"", " ", ".", "..", "stream", "a b", "a/b", "../a", "é", "a%2Fb", "a\\\\b", strings.Repeat("x", 65), "a\\n"} {
		invalid("order_uid "+uid, with(`"order_uid":"hostile"`, `"order_uid":"`+uid+`"`))
	}
	invalid("a negative amount", with(`"amount":1817`, `"amount":-1`))
	invalid("an amount over 2^53", with(`"amount":1817`, `"amount":9007199254740992`))
	invalid("milliseconds for seconds", with(`"payment_dt":1637907727`, `"payment_dt":1637907727000`))
	invalid("no currency", with(`"currency":"USD"`, `"currency":"usd"`))
	for _, date := range []string{
		"0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2021-02-29T00:00:00Z", "2021-11-26T24:00:00Z", "2021-11-26T06:22:60Z",
		"2021-11-26 06:22:19Z", "2021-11-26T06:22:19", "2021-11-26T06:22:19+24:00", "0001-01-01T00:00:00+00:01", "",
	} {
		invalid("date_created "+date, with(`"date_created":"2021-11-26T06:22:19Z"`, `"date_created":"`+date+`"`))
	}
	invalid("no items", itemsOf(whole, 0))
	invalid("1,001 items", itemsOf(whole, 1001))
	return all
}

// itemsOf is the order with its only item n times.
func itemsOf(whole string, n int) string {
	from := strings.Index(whole, `"items":[`) + len(`"items":[`)
	to := from + strings.Index(whole[from:], "]")
	return whole[:from] + strings.TrimSuffix(strings.Repeat(whole[from:to]+",", n), ",") + whole[to:]
}

// acceptedRecords are orders, however strange; each has an order_uid of its own.
func acceptedRecords(t testing.TB) (all []hostileRecord) {
	t.Helper()
	n := 0
	with := func(name, old, replacement string) {
		t.Helper()
		n++
		whole := order(t, fmt.Sprintf("strange-%02d", n), "a")
		if bytes.Count(whole, []byte(old)) != 1 {
			t.Fatalf("%q is not once in %s", old, whole)
		}
		all = append(all, hostileRecord{name: name, value: bytes.Replace(whole, []byte(old), []byte(replacement), 1)})
	}
	signature := func(name, json string) { with(name, `"internal_signature":"a"`, `"internal_signature":"`+json+`"`) }
	signature("all ASCII escapes", `\"\\\/\b\f\n\r\t\u0001\u001f\u007f`)
	signature("COPY's own signs", `\\.\n\\N\t\\\\x`)
	signature("SQL", `'); DROP TABLE orders; --`)
	signature("placeholders", `?0 ?1 $1 :name @name ?? {0} %s %d ${x}`)
	signature("beyond the BMP", "😀𝄞\U0010ffff")
	signature("a surrogate pair as escapes", `\ud83d\ude00`)
	signature("right to left, joined, combined", "\u202e\u200dשלום a\u0301 e\u0301")
	signature("no characters, by Unicode", "\ufffe\uffff\ufdd0")
	signature("the replacement character itself", "\ufffd")
	signature("JSONP's line ends", "\u2028\u2029")
	signature("HTML", `<script>&amp;</script>`)
	signature("1,024 characters of four bytes", strings.Repeat("😀", 1024))
	signature("nothing", ``)
	signature("white space at both ends", `  x  `)
	with("no internal_signature", `"internal_signature":"a",`, ``)
	with("the largest number", `"sm_id":99`, `"sm_id":9007199254740991`)
	with("minus zero", `"sm_id":99`, `"sm_id":-0`)
	with("not paid yet", `"payment_dt":1637907727`, `"payment_dt":0`)
	with("the largest amount", `"amount":1817`, `"amount":9007199254740991`)
	for _, date := range []string{
		"0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1999-12-31T23:59:59.999999999Z", "2021-11-26T06:22:19.1234567Z",
		"2021-11-26T06:22:19.000Z", "2021-11-26T06:22:19+23:59", "2021-11-26T06:22:19-00:00", "2024-02-29T12:00:00-12:00", "1582-10-10T00:00:00Z", "1900-02-28T00:00:00Z",
		"2021-11-26t06:22:19z", "2016-12-31T23:59:60Z",
	} {
		with("date_created "+date, `"2021-11-26T06:22:19Z"`, `"`+date+`"`)
	}
	with("unknown fields", `"locale":"en"`, `"locale":"en","x":{"":[1e400,-0.0,null,"\u0001"]},"X":1`)
	with("nested as deep as may be", `"locale":"en"`, `"locale":"en","x":`+strings.Repeat("[", 63)+strings.Repeat("]", 63))
	with("escaped names", `"locale":"en"`, `"\u006cocale":"en"`)
	for _, uid := range []string{"-", "_", "...", "0", "abc", "ABC", "Abc", "--help", "null", "orders.dlq", strings.Repeat("x", 64)} {
		all = append(all, hostileRecord{name: "order_uid " + uid, value: order(t, uid, "a")})
	}
	spaced := order(t, "spaced", "a")
	all = append(all,
		hostileRecord{name: "a byte order mark", value: append([]byte("\ufeff"), order(t, "marked", "a")...)},
		hostileRecord{name: "white space around", value: []byte("\r\n\t " + string(spaced) + " \n\n")},
		hostileRecord{name: "1,000 items", value: []byte(itemsOf(string(order(t, "items", "a")), 1000))},
		hostileRecord{name: "as large as may be", value: append(order(t, "large", "a"), bytes.Repeat([]byte(" "), 1<<20)...)[:1<<20]},
	)
	return all
}
