package httpapi

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

var testdata = filepath.Join("..", "..", "..", "..", "libs", "model", "testdata")

// schemaCheck compares what the served schema says of a record with what the codec says.
type schemaCheck struct {
	schema *jsonschema.Schema
	codec  *model.Codec
}

func newSchemaCheck(t *testing.T) *schemaCheck {
	t.Helper()
	served := setup(t, time.Hour, cache.StoreOptions{}).ask(t, "GET", "/schemas/order.json")
	require.Equal(t, 200, served.status)
	require.Equal(t, "application/schema+json", served.header.Get("Content-Type"))
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(served.body))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("order.json", document))
	schema, err := compiler.Compile("order.json")
	require.NoError(t, err)
	return &schemaCheck{schema, model.New(model.Options{})}
}

// same requires one answer of both, and returns it.
func (s *schemaCheck) same(t *testing.T, record []byte) (accepted bool) {
	t.Helper()
	_, refused := s.codec.Decode(record)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(bytes.TrimPrefix(record, []byte(model.ByteOrderMark))))
	if err != nil {
		require.Error(t, refused, "%s", record)
		return false
	}
	err = s.schema.Validate(value)
	if err == nil && refused != nil && strings.Contains(refused.Error(), "must be an integer without decimal point") {
		return false // to JSON Schema, 100.0 is an integer
	}
	require.Equal(t, refused == nil, err == nil, "%s\ncodec: %v\nschema: %v", record, refused, err)
	return refused == nil
}

// TestTheSchemaSaysWhatTheCodecSays of the model's samples, vectors and cases.
func TestTheSchemaSaysWhatTheCodecSays(t *testing.T) {
	check := newSchemaCheck(t)
	files, err := filepath.Glob(filepath.Join(testdata, "*", "*.json*"))
	require.NoError(t, err)
	accepted, refused := 0, 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		records := [][]byte{data}
		switch {
		case filepath.Ext(file) == ".jsonl":
			records = bytes.Split(bytes.TrimSpace(data), []byte("\n"))
		case filepath.Base(filepath.Dir(file)) == "vectors":
			var vector struct{ Input string }
			require.NoError(t, json.Unmarshal(data, &vector))
			records = [][]byte{[]byte(vector.Input)}
		}
		for _, record := range records {
			if check.same(t, record) {
				accepted++
			} else {
				refused++
			}
		}
	}
	require.Greater(t, accepted, 20)
	require.Greater(t, refused, 5)
}

// TestTheSchemaHasTheRulesOfEachField gives every field values at the limits of its rules.
func TestTheSchemaHasTheRulesOfEachField(t *testing.T) {
	check := newSchemaCheck(t)
	values := []any{
		nil, true, []any{}, map[string]any{}, "", "x", "a\x00b", "stream", ".", "..", "a,b", strings.Repeat("я", 64), strings.Repeat("x", 65),
		strings.Repeat("я", 128), strings.Repeat("x", 33), strings.Repeat("x", 129), strings.Repeat("x", 257), strings.Repeat("x", 1025),
		json.Number("-1"), 0, 1, 100, 101, json.Number("1.5"), json.Number("9007199254740991"), json.Number("9007199254740992"), model.MaxPaymentDT, model.MaxPaymentDT + 1,
		"+1234567", "+123456", "+123456789012345", "+1234567890123456", "+0123456789", "12345678", "+12345 678",
		"a@b.c", "a@b", "a.b@c.d", "a..b@c.d", ".a@c.d", "a.@c.d", "a@-b.c", "a@b-.c", "a@b--b.c", "я@ж.рф", "a b@c.d", "a@b@c.d", "a@b..c", "a@b.c.", `"a"@b.c`, "!#$%&'*+-/=?^_`{|}~@b.c",
		"USD", "usd", "RUR", "EEK", "en", "pt-BR", "pt_BR", "zh-Hant-TW", "x", "en-", "de-DE-u-co-phonebk", "EN-us-x-A", "en-a-bbb-x-a",
		"2021-11-26T06:22:19Z", "2021-11-26t06:22:19.123456789z", "2021-11-26T06:22:19+02:00", "2021-11-26 06:22:19Z", "2021-11-26T06:22:19", "2021-13-26T06:22:19Z", "2016-12-31T23:59:60Z", "2021-11-26T24:00:00Z", "2021-11-26T06:22:19+24:00", "2021-11-26",
	}
	var order map[string]any
	sample, err := os.ReadFile(filepath.Join(testdata, "samples", "model.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(sample, &order))
	item := order["items"].([]any)[0].(map[string]any)
	accepted := 0
	for _, object := range []map[string]any{order, order["delivery"].(map[string]any), order["payment"].(map[string]any), item} {
		for name, whole := range maps.Clone(object) {
			try := func() {
				record, err := json.Marshal(order)
				require.NoError(t, err)
				if check.same(t, record) {
					accepted++
				}
			}
			delete(object, name)
			try()
			for _, object[name] = range values {
				try()
			}
			object[name] = whole
		}
	}
	require.Greater(t, accepted, 200)
	order["items"] = make([]any, 0, model.DefaultMaxItems+1)
	for len(order["items"].([]any)) <= model.DefaultMaxItems {
		order["items"] = append(order["items"].([]any), item)
	}
	record, err := json.Marshal(order)
	require.NoError(t, err)
	require.False(t, check.same(t, record), "too many items")
}
