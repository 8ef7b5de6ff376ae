package dlqview

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

var update = flag.Bool("update", false, "write the golden files anew")

func requireGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run the test with -update to write it")
	require.Equal(t, string(want), got, "run the test with -update if this is meant")
}

var at = time.UnixMilli(1_700_000_000_123).UTC()

func sample(t *testing.T) string {
	t.Helper()
	value, err := os.ReadFile("../../testdata/model.json")
	require.NoError(t, err)
	return string(value)
}

// itemOf is a letter as the worker would write it.
func itemOf(offset int64, value []byte, stage deadletter.Stage, reason string, failures ...model.FieldError) dlq.Item {
	l := deadletter.New(deadletter.Source{
		Topic: "orders", Partition: 1, Offset: offset, Timestamp: at, Key: []byte("b563feb7b2b84b6test"), Value: value,
		Headers: []deadletter.Header{{Key: "trace", Value: []byte("abc")}, {Key: "customer", Value: []byte("ann@example.org")}},
	}, deadletter.Cause{Reason: reason, Stage: stage, Errors: failures}, "orderhub", at.Add(time.Duration(offset)*time.Second))
	r := &kgo.Record{Topic: "orders.dlq", Key: []byte(l.ID), Value: l.Value}
	for _, h := range l.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return dlq.Item{Letter: letter.Parse(r), Ref: dlq.Ref{Status: letter.Open}}
}

func resolvedItem(item dlq.Item) dlq.Item {
	item.Ref.Status = letter.Resolved
	item.Resolution = &letter.Resolution{ID: item.ID, Kind: letter.Redriven, By: "ann", When: at.Add(time.Hour), Why: "price mended", Became: "orders/1/99"}
	return item
}

func show(t *testing.T, d Details, reveal bool) string {
	t.Helper()
	var text, asJSON bytes.Buffer
	l := Present(d, reveal)
	require.NoError(t, Style{}.Write(&text, "letter.txt", l))
	require.NoError(t, writeJSON(&asJSON, l))
	return text.String() + "--\n" + asJSON.String()
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

func valueText(value []byte, failures []model.FieldError, offset int64) string {
	var b strings.Builder
	if err := (Style{}).Write(&b, "value", ShowValue(value, failures, offset)); err != nil {
		panic(err)
	}
	return b.String()
}

func TestShowAnInvalidOrder(t *testing.T) {
	value := strings.NewReplacer(`"amount": 1817`, `"amount": -1`, `"brand": "Vivienne Sabo",`, ``).Replace(sample(t))
	item := resolvedItem(itemOf(7, []byte(value), deadletter.StageValidate, "invalid",
		model.FieldError{Path: "payment.amount", Rule: "min", Message: "must be at least 0"},
		model.FieldError{Path: "items[0].brand", Rule: "required", Message: "must be there"}))
	again := itemOf(99, []byte(value), deadletter.StageValidate, "invalid")
	requireGolden(t, "show_invalid", show(t, Details{Item: item, Offset: -1, History: []dlq.Item{item, again}}, false))
	revealed := show(t, Details{Item: item, Offset: -1}, true)
	for _, data := range []string{"Test Testov", "+9720000000", "Ploshad Mira 15", "test@gmail.com", "ann@example.org"} {
		require.Contains(t, revealed, data)
	}
}

func TestShowWhatIsNoJSON(t *testing.T) {
	var all strings.Builder
	for name, c := range map[string]struct {
		value  string
		offset int64
	}{
		"1 cut":       {`{"order_uid": "a", "delivery": {"name": "Ann Other", "phone": "+4912345678", "address": "Street 1", "email": "ann@exa`, 119},
		"2 line":      {`    "phone": "+9720000000",`, 4},
		"3 long":      {`{"x": "` + strings.Repeat("y", 300) + `" "name": 'Ann'}` + "\n}\n}", 309},
		"4 many":      {strings.Repeat("{\n", 10) + "oops: 1", 20},
		"5 not UTF-8": {"{\"order_uid\": \"\xff\xfe\", \"name\": \"\xd0\xaf\xff\"}", 15},
		"6 binary":    {"\x00\x01\x02\x03Ann Other\x00\x80\x81\x00\x01", 0},
		"7 wide":      {"{\"city\": \"東京\" oops}", 17},
		"8 controls":  {"{\"a\": \"\x1b[2J\u202e\" \n\t ]}", 6},
		"9 empty":     {"", -1},
	} {
		item := itemOf(3, []byte(c.value), deadletter.StageDecode, "not_json", model.FieldError{Rule: "not_json", Message: "is not JSON"})
		text := valueText(mask.Value(item.Value), item.Errors(), c.offset)
		fmt.Fprintf(&all, "%s\n%s\x00", name, text)
	}
	cases := strings.Split(strings.TrimSuffix(all.String(), "\x00"), "\x00")
	sorted := map[string]string{}
	for _, c := range cases {
		sorted[c[:1]] = c
	}
	var ordered strings.Builder
	for i := range 9 {
		ordered.WriteString(sorted[fmt.Sprint(i+1)])
	}
	got := ordered.String()
	require.NotContains(t, got, "Ann")
	require.NotContains(t, got, "+49")
	require.NotContains(t, got, "\x1b")
	requireGolden(t, "show_broken", got)
}

func TestShowAConflict(t *testing.T) {
	item := itemOf(5, []byte(sample(t)), deadletter.StageConflict, "conflict", model.FieldError{Path: "payment.amount", Rule: "conflict", Message: "differs from the stored order"})
	got := show(t, Details{Item: item, Offset: -1, Differences: []Difference{
		{Path: "delivery.email", Stored: `"a@b.c"`, Letter: `"d@e.f"`}, {Path: "payment.amount", Stored: "1817", Letter: "1818"},
	}}, false)
	require.NotContains(t, got, "a@b.c")
	requireGolden(t, "show_conflict", got[strings.Index(got, "Against"):strings.Index(got, "--\n")])
}

func TestALongValueIsShownAroundItsFailures(t *testing.T) {
	value := `{"items": [` + strings.Repeat("1,\n", 1000) + `{"price": -1}` + strings.Repeat(",2", 1000) + `]}`
	text := valueText(mask.Value([]byte(value)), []model.FieldError{{Path: "items[1000].price", Rule: "min", Message: "too small"}}, -1)
	require.Less(t, strings.Count(text, "\n"), 20)
	require.Contains(t, text, "^ too small [min]")
	require.Contains(t, text, "… 997 lines")
}

func TestClean(t *testing.T) {
	require.Equal(t, `a<U+001B>[31m<U+202E>b\n\xff`, Clean("a\x1b[31m\u202eb\n\xff"))
	require.Equal(t, "Ünïcödé 東京", Clean("Ünïcödé 東京"))
}

func TestTable(t *testing.T) {
	lines := []Line{}
	items := []dlq.Item{
		itemOf(7, []byte("{"), deadletter.StageDecode, "not_json", model.FieldError{Rule: "not_json", Message: "is not JSON: unexpected end of the record"}),
		resolvedItem(itemOf(6, []byte("{}"), deadletter.StageValidate, "invalid", model.FieldError{Path: "locale", Rule: "bcp47", Message: "must be a language"}, model.FieldError{Path: "entry"})),
	}
	var asJSON strings.Builder
	for _, item := range items {
		lines = append(lines, LineOf(&item.Letter, item.Ref.Status))
		require.NoError(t, writeJSON(&asJSON, lines[len(lines)-1]))
	}
	var all strings.Builder
	for _, columns := range []int{0, 120, 80, 20} {
		fmt.Fprintf(&all, "width %d\n", columns)
		var b strings.Builder
		table := NewTable(&b, Style{Width: columns})
		require.NoError(t, table.Write(lines))
		require.NoError(t, table.Write(lines[:1]))
		for line := range strings.Lines(b.String()) {
			if columns >= 80 {
				require.LessOrEqual(t, width(strings.TrimSuffix(line, "\n")), columns)
			}
		}
		all.WriteString(b.String())
	}
	requireGolden(t, "table", all.String()+asJSON.String())
	var coloured strings.Builder
	require.NoError(t, NewTable(&coloured, Style{Color: true}).Write(lines))
	require.Contains(t, coloured.String(), "\x1b[33mopen")
	require.Contains(t, coloured.String(), "\x1b[32mresolved")
}

func TestStats(t *testing.T) {
	group := func(reason string, partition int32, causes ...letter.Failure) *dlq.Group {
		return &dlq.Group{GroupKey: dlq.GroupKey{Reason: reason, SourceTopic: "orders", SourcePartition: partition}, Causes: causes}
	}
	price := letter.Failure{Rule: "min", Path: "items[].price"}
	locale := letter.Failure{Rule: "bcp47", Path: "locale"}
	one, two, three := group("invalid", 0, price, locale), group("invalid", 1, price), group("not_json", 1, letter.Failure{})
	var refs []dlq.Ref
	for i, g := range []*dlq.Group{one, one, two, three, two} {
		status := letter.Open
		if i == 2 {
			status = letter.Resolved
		}
		refs = append(refs, dlq.Ref{Group: g, Status: status, FailedAt: at.Add(-time.Duration(i*i) * time.Hour), Place: letter.Place{Offset: int64(i)}})
	}
	each := func(yield func(*dlq.Ref) bool) {
		for i := range refs {
			if !yield(&refs[i]) {
				return
			}
		}
	}
	none := func(func(*dlq.Ref) bool) {}
	counted := dlq.StatsOf(each, dlq.StatsOptions{})
	for _, c := range counted.Causes {
		c.Sample = fmt.Sprintf("orders/0/%d/00000000", c.Newest.Place.Offset)
	}
	var b strings.Builder
	require.NoError(t, ShowStats(&b, Style{}, counted))
	require.NoError(t, writeJSON(&b, counted))
	require.NoError(t, ShowStats(&b, Style{}, dlq.StatsOf(none, dlq.StatsOptions{})))
	require.NoError(t, writeJSON(&b, dlq.StatsOf(none, dlq.StatsOptions{})))
	requireGolden(t, "stats", b.String())
}
