package orderfile_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/jsonsplit"
	"github.com/orderhub/orderhub/services/orderctl/internal/orderfile"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

func read(t *testing.T, input string, codec *model.Codec) []orderfile.Entry {
	t.Helper()
	var all []orderfile.Entry
	r := orderfile.NewReader(strings.NewReader(input), codec)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, e)
	}
}

func sample(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../../testdata/" + name)
	require.NoError(t, err)
	return string(b)
}

func places(e orderfile.Entry) []string {
	var all []string
	for _, f := range e.Failures {
		all = append(all, fmt.Sprintf("%d:%d %s %s", f.Line, f.Column, f.Path, f.Rule))
	}
	return all
}

func TestSamplesAreValidAndCompacted(t *testing.T) {
	input := sample(t, "model.json") + sample(t, "order1001test.json")
	entries := read(t, input, model.New(model.Options{CheckSums: true, RejectUnknown: true}))
	require.Len(t, entries, 2)
	require.Equal(t, "b563feb7b2b84b6test", entries[0].UID)
	require.Equal(t, "order1001test", entries[1].UID)
	for _, e := range entries {
		require.Empty(t, e.Failures)
		require.NotContains(t, string(e.Record), "\n")
	}
	require.True(t, strings.HasPrefix(string(entries[0].Record), `{"order_uid":"b563feb7b2b84b6test","track_number":"WBILMTESTTRACK","entry":"WBIL","delivery":{"name":"Test Testov",`))
	require.NotContains(t, string(entries[1].Record), "request_id", "the record is otherwise untouched")
}

// The worker accepts a byte order mark in front of each record.
func TestMarksInFrontOfOrders(t *testing.T) {
	one, codec := sample(t, "model.json"), model.New(model.Options{})
	entries := read(t, strings.Repeat("\ufeff"+one+"\r\n", 3), codec)
	require.Len(t, entries, 3)
	for i, e := range entries {
		require.Empty(t, e.Failures)
		require.Equal(t, read(t, one, codec)[0].Record, e.Record)
		require.Equal(t, 1+i*(strings.Count(one, "\n")+1), e.Line)
	}
	require.NotEmpty(t, read(t, "[{},\ufeff{}]", codec)[1].Failures[0].Line)
}

func TestNumbersAndTextsAreUntouched(t *testing.T) {
	entries := read(t, "{ \"a\": 1.50e+02,\n \"b\": \"\\u00e4\\/\",\n \"a\": 9007199254740993 }", nil)
	require.Len(t, entries, 1)
	want := []byte(`{"a":1.50e+02,"b":"\u00e4\/","a":9007199254740993}`)
	require.Equal(t, want, entries[0].Record)
}

func TestFailuresHaveTheirPlaces(t *testing.T) {
	pretty := sample(t, "model.json")
	bad := strings.NewReplacer(`"sale": 30`, `"sale": 130`, `test@gmail.com`, `nobody`, `"USD"`, `"usd"`).Replace(pretty)
	missing := strings.Replace(pretty, `  "locale": "en",`+"\n", "", 1)
	wrongType := strings.Replace(pretty, `"amount": 1817`, `"amount": "1817"`, 1)
	nul := strings.Replace(pretty, "Kiryat", `\u0000`, 1)
	codec := model.New(model.Options{})

	input := bad + missing + wrongType + nul + "{\"order_uid\": tru}\n"
	lines := strings.Count(pretty, "\n")
	entries := read(t, input, codec)
	require.Len(t, entries, 5)
	require.Equal(t, []string{"12:14 delivery.email email", "17:17 payment.currency iso4217", "33:15 items[0].sale max"}, places(entries[0]))
	require.Equal(t, []string{fmt.Sprintf("%d:1 locale required", lines+1)}, places(entries[1]))
	require.Equal(t, []string{fmt.Sprintf("%d:15 payment.amount wrong_type", 2*lines-1+19)}, places(entries[2]))
	require.Len(t, entries[3].Failures, 1)
	require.Equal(t, 3*lines-1+9, entries[3].Failures[0].Line)
	require.Equal(t, "nul_character", entries[3].Failures[0].Rule)
	require.Equal(t, []string{fmt.Sprintf("%d:18  not_json", 4*lines)}, places(entries[4]))
	for i := range 4 {
		require.Equal(t, "b563feb7b2b84b6test", entries[i].UID)
	}
}

func TestPlacesWithinOneLine(t *testing.T) {
	entries := read(t, `[{"order_uid":"ä"}, {"order_uid":7}]`, model.New(model.Options{}))
	require.Len(t, entries, 2)
	require.Contains(t, places(entries[0]), strings.Join([]string{"1:15", "order_uid", "order_uid"}, " "))
	require.Contains(t, places(entries[1]), "1:34 order_uid wrong_type")
}

func TestUnknownFieldsAreToldOrRefused(t *testing.T) {
	input := strings.Replace(sample(t, "model.json"), `"entry"`, `"colour": 1, "entry"`, 1)
	entries := read(t, input, model.New(model.Options{}))
	require.Empty(t, entries[0].Failures)
	require.Equal(t, []string{"colour"}, entries[0].Unknown)

	entries = read(t, input, model.New(model.Options{RejectUnknown: true}))
	require.Len(t, entries[0].Failures, 1)
	require.Equal(t, "unknown_field", entries[0].Failures[0].Rule)
}

// A value that is too large only by its white space is not too large.
func TestSizeIsThatOfTheRecord(t *testing.T) {
	input := strings.Replace(sample(t, "model.json"), "{", "{"+strings.Repeat(" ", model.DefaultMaxRecordBytes), 1)
	entries := read(t, input, model.New(model.Options{}))
	require.Len(t, entries, 1)
	require.Empty(t, entries[0].Failures)
}

// Each fault that a JSON file can hold is found there too.
func TestSynthesizedFaultsAreFound(t *testing.T) {
	g, err := synth.New(synth.Options{Count: len(synth.Faults()), MinItems: 1, MaxItems: 3, Invalid: 1})
	require.NoError(t, err)
	for {
		r, err := g.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		failed := false
		for _, e := range read(t, string(r.Value), model.New(model.Options{})) {
			failed = failed || len(e.Failures) > 0
		}
		switch r.Fault {
		case "tombstone", "empty_value", "white_space": // nothing is there
			require.False(t, failed)
		case "trailing_data", "array": // which a file may have
			require.False(t, failed, r.Fault)
		default:
			require.True(t, failed, r.Fault)
		}
	}
}

func TestFileThatCannotHoldOrders(t *testing.T) {
	_, err := orderfile.NewReader(strings.NewReader("\xff\xfe{\x00"), nil).Next()
	require.ErrorIs(t, err, jsonsplit.ErrUTF16)
}
