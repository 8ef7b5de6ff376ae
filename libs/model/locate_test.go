package model

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLocate(t *testing.T) {
	record := []byte(strings.NewReplacer(`"sale": 30`, `"sale": 101`, `"USD"`, `"usd"`, `    "city": "Kiryat Mozkin",`+"\n", ``,
		`"entry"`, `"extra": [[], {"entry": 1}], "entry"`).Replace(string(readSample(t, "model.json"))))
	_, err := New(Options{}).Decode(record)
	re := recordError(t, err)
	require.Equal(t, []string{"delivery.city required", "payment.currency iso4217", "items[0].sale max"}, brief(re.Errors))

	failures := append(slices.Clone(re.Errors), FieldError{Path: "entry"}, FieldError{Path: ""}, FieldError{Path: "items[7].price"}, FieldError{Path: "oof"})
	want := []string{`{
    "name"`, `"usd"`, `101`, `"WBIL"`, `{
  "order_uid"`, `[
`, `{
  "order_uid"`}
	for i, offset := range Locate(record, failures) {
		require.True(t, strings.HasPrefix(string(record[offset:]), want[i]), "%s at %q", failures[i].Path, record[offset:])
	}
	line, column := LineColumn(record, Locate(record, failures)[2])
	require.Equal(t, []int{32, 15}, []int{line, column})
}

func TestLocateInBrokenRecords(t *testing.T) {
	failures := []FieldError{{Path: "entry"}, {Path: "locale"}}
	require.Equal(t, []int64{9, 0}, Locate([]byte(`{"entry":5,"locale"`), failures))
	require.Equal(t, []int64{0, 0}, Locate(nil, failures))
	require.Equal(t, []int64{1, 1}, Locate([]byte(` nonsense`), failures))
	deep := []FieldError{{Path: "a.a.a"}}
	require.Equal(t, []int64{15}, Locate([]byte(strings.Repeat(`{"a":`, 100)), deep)[:1])
}

func TestLineColumn(t *testing.T) {
	record := []byte("ab\nжй\n\nx")
	for _, tt := range []struct{ offset, line, column int }{
		{-1, 1, 1}, {0, 1, 1}, {2, 1, 3}, {3, 2, 1}, {5, 2, 2}, {7, 2, 3}, {8, 3, 1}, {9, 4, 1}, {10, 4, 2}, {99, 4, 2},
	} {
		line, column := LineColumn(record, int64(tt.offset))
		require.Equal(t, []int{tt.line, tt.column}, []int{line, column}, "%d", tt.offset)
	}
}
