package model

import (
	"slices"
	"strings"
	"testing"
)

// seeds are records that reach far into the decoder.
func seeds(f *testing.F) [][]byte {
	var records [][]byte
	for _, v := range readVectors(f) {
		records = append(records, []byte(v.Input), []byte(v.Canonical))
	}
	slices.SortFunc(records, slices.Compare)
	sample := sampleRecord()
	for _, change := range []string{
		`"locale":null`, `"locale":"\u0000"`, `"locale":"\ud83d"`, `"locale":"\ud83d\ude00"`, "\"locale\":\"\xff\"", `"locale":"en","locale":"ru"`,
		`"locale":"en","loc\u0061le":"ru"`, `"locale":{"a":[1.5e-3,{"b":[]}],"a":0}`, `"x":[[[[[[]]]]]],"locale":"en"`, `"locale":-0`, `"sm_id":01`,
		`"locale":"en","":1`, `"Locale":"en"`,
	} {
		records = append(records, []byte(strings.Replace(sample, `"locale":"en"`, change, 1)))
	}
	for _, number := range []string{"-0", "1.0", "1e2", "9223372036854775807", "9223372036854775808", "-9223372036854775808", `"1"`, "null", "-", "01"} {
		records = append(records, []byte(strings.Replace(sample, `"status":202`, `"status":`+number, 1)))
	}
	for _, date := range []string{"2021-11-26T06:22:19,5Z", "2021-11-26T24:00:00Z", "0000-12-31T23:59:59-00:01", "9999-12-31T23:59:59-00:01", "2021-02-29T00:00:00Z"} {
		records = append(records, []byte(strings.Replace(sample, "2021-11-26T06:22:19Z", date, 1)))
	}
	for _, record := range []string{
		"", " ", "{", "}", "[]", "null", "5", `"order_uid": "x",`, "{}", `{"items":[]}`, `{"items":[{},{},5]}`, `{"delivery":{},"payment":[]}`,
		strings.Repeat(`{"a":`, 64) + "0" + strings.Repeat("}", 64), strings.Repeat("[", 70), sample + "\n", sample + sample, "\ufeff" + sample,
	} {
		records = append(records, []byte(record))
	}
	return records
}

// FuzzDecode checks the decoder against go-json-experiment/json, that decoding,
// canonical JSON and decoding again is a fixed point, and that nothing panics.
func FuzzDecode(f *testing.F) {
	for _, record := range seeds(f) {
		f.Add(record)
	}
	c, unusual := New(Options{}), New(Options{MaxItems: 2, MaxRecordBytes: 4096, CheckSums: true, RejectUnknown: true})
	f.Fuzz(func(t *testing.T, record []byte) {
		judge(t, c, record)
		if _, err := unusual.Decode(record); err != nil {
			judgeFailures(t, record, recordError(t, err).Errors)
		}
	})
}

// FuzzField puts any JSON in place of one field, which gets the fuzzer past
// the rest of the order.
func FuzzField(f *testing.F) {
	for i, value := range []string{
		`"x"`, `"\u00e9\n"`, `"\ud83d\ude00"`, "5", "-1", "1.5", "null", "true", "[]", "{}", `{"name":"x"}`, `[{"price":1}]`, `"2021-11-26T06:22:19.1+01:00"`,
		`"a@b.cd"`, `"+1234567"`, `"EUR"`, `"de-CH"`, "9223372036854775807", `"x","new":{"a":1}`,
	} {
		f.Add(uint8(i), []byte(value))
	}
	c := New(Options{})
	sample := sampleRecord()
	var values [][2]int // where the sample's values are
	for _, failure := range allPaths() {
		at := int(Locate([]byte(sample), []FieldError{{Path: failure}})[0])
		s := scanner{data: []byte(sample), pos: at}
		if fault := s.skip(0); fault != nil {
			f.Fatal(fault.message)
		}
		values = append(values, [2]int{at, s.pos})
	}
	f.Fuzz(func(t *testing.T, which uint8, value []byte) {
		at := values[int(which)%len(values)]
		judge(t, c, []byte(sample[:at[0]]+string(value)+sample[at[1]:]))
	})
}

// allPaths are the paths of all fields of the sample.
func allPaths() []string {
	paths := pathsOf(nil, "", orderFields)
	paths = pathsOf(paths, "delivery.", deliveryFields)
	paths = pathsOf(paths, "payment.", paymentFields)
	return pathsOf(paths, "items[0].", itemFields)
}

func pathsOf[T any](paths []string, prefix string, fields []field[T]) []string {
	for _, f := range fields {
		paths = append(paths, prefix+f.name)
	}
	return paths
}

// FuzzRules checks that the compiled checks and validator/v10 agree, with any
// text and any number in any field.
func FuzzRules(f *testing.F) {
	for i, text := range oddTexts {
		f.Add(uint8(i), text, uint8(i), oddNumbers[i%len(oddNumbers)])
	}
	c := New(Options{})
	f.Fuzz(func(t *testing.T, whichText uint8, text string, whichNumber uint8, number int64) {
		o := sampleOrder()
		texts, numbers := members(o)
		*texts[int(whichText)%len(texts)] = text
		*numbers[int(whichNumber)%len(numbers)] = number
		if failures := c.ruleFailures(o); (len(failures) == 0) != c.checks.surelyValid(o, DefaultMaxItems) {
			t.Fatalf("validator finds %v, the checks find otherwise", failures)
		}
	})
}
