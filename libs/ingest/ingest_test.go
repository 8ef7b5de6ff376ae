package ingest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/ingest/normalize"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
)

// decisions is a Writer that decides each order as its uid says.
type decisions map[string]orderwrite.Entry

func (d decisions) Write(_ context.Context, entries []*orderwrite.Entry) error {
	for _, e := range entries {
		decided := d[e.Order.OrderUID]
		e.Outcome, e.Differs, e.Refusal = decided.Outcome, decided.Differs, decided.Refusal
	}
	return nil
}

// Every record ends as stored, duplicate or dead letter, and each dead letter has
// the stage and the reason of its failure.
func TestOutcomes(t *testing.T) {
	sample, err := os.ReadFile("../model/testdata/samples/order1001test.json")
	require.NoError(t, err)
	value := func(uid string) []byte { return []byte(strings.Replace(string(sample), "order1001test", uid, 1)) }
	writer := decisions{
		"stored": {Outcome: orderwrite.Stored}, "duplicate": {Outcome: orderwrite.Duplicate},
		"conflict": {Outcome: orderwrite.Conflict, Differs: []string{"payment.amount"}},
		"refused":  {Outcome: orderwrite.Refused, Refusal: "the database refuses the order"},
	}
	cut := &deadletter.Truncation{Size: 3 << 20, SHA256: "00"}
	var unknown []string
	decoder := NewDecoder(model.New(model.Options{}), func(field string) { unknown = append(unknown, field) })
	cases := []struct {
		source  deadletter.Source
		outcome Outcome
		stage   deadletter.Stage
		reason  string
		message string
	}{
		{source: deadletter.Source{Value: []byte(`{"x":1,` + string(value("stored")[1:]))}, outcome: Stored},
		{source: deadletter.Source{Value: value("duplicate")}, outcome: Duplicate},
		{deadletter.Source{Value: value("conflict")}, DeadLetter, deadletter.StageConflict, "conflict", "differs from the stored order"},
		{deadletter.Source{Value: value("refused")}, DeadLetter, deadletter.StageWrite, "refused_by_database", "the database refuses the order"},
		{deadletter.Source{Value: []byte("{")}, DeadLetter, deadletter.StageDecode, "pretty_printed", "the record looks like one line"},
		{deadletter.Source{Value: []byte(`{"x":1}`)}, DeadLetter, deadletter.StageValidate, "invalid", "is missing"},
		{deadletter.Source{}, DeadLetter, deadletter.StageDecode, "tombstone", "null value"},
		{deadletter.Source{Value: value("stored"), Truncated: cut}, DeadLetter, deadletter.StageDecode, "too_large", "has 3145728 bytes; the limit is 1048576"},
	}
	records := make([]*Record, len(cases))
	for i, c := range cases {
		c.source.Topic, c.source.Offset = "orders", int64(i)
		records[i] = decoder.Decode(c.source)
	}
	require.Equal(t, []string{"x"}, unknown)
	require.Equal(t, Pending, records[0].Outcome())
	require.NoError(t, Store(t.Context(), writer, records))

	letters := Letters(records, "group", time.Now())
	for i, c := range cases {
		require.Equal(t, c.outcome, records[i].Outcome(), i)
		cause := records[i].Cause()
		if c.outcome != DeadLetter {
			require.Nil(t, cause)
			continue
		}
		require.Equal(t, c.stage, cause.Stage)
		require.Equal(t, c.reason, cause.Reason)
		require.Contains(t, cause.Errors[0].Message, c.message)
		require.Equal(t, deadletter.ID(records[i].Source), letters[0].ID)
		require.Equal(t, c.reason, letters[0].Reason)
		letters = letters[1:]
	}
	require.Empty(t, letters)
}

// Each letter names the rules file by which its record was judged.
func TestLettersNameTheRules(t *testing.T) {
	named, err := model.NewRules("shop-1", nil)
	require.NoError(t, err)
	for _, codec := range []*model.Codec{model.New(model.Options{Rules: named}), model.New(model.Options{})} {
		records := []*Record{NewDecoder(codec, nil).Decode(deadletter.Source{Topic: "orders", Value: []byte("{}")})}
		written := Letters(records, "group", time.Now())[0]
		record := &kgo.Record{Key: []byte(written.ID), Value: written.Value}
		for _, h := range written.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		parsed := letter.Parse(record)
		require.Equal(t, codec.Rules().Version(), parsed.Rules)
		require.Empty(t, parsed.SourceHeaders)
	}
}

// The hash is that of the raw reading, whatever is normalized.
func TestHashCoversTheRawReading(t *testing.T) {
	sample, err := os.ReadFile("../model/testdata/samples/model.json")
	require.NoError(t, err)
	record := []byte(strings.Replace(string(sample), `"locale": "en"`, `"locale": "ru_RU"`, 1))
	loose, err := model.NewRules("", []model.FieldRule{{Path: "locale", Rules: []string{"any_locale"}}})
	require.NoError(t, err)
	raw := NewDecoder(model.New(model.Options{Rules: loose}), nil).Decode(deadletter.Source{Value: record})
	normalized := NewDecoder(model.New(model.Options{Normalizer: normalize.New(""), Normalize: true}), nil).Decode(deadletter.Source{Value: record})
	require.Equal(t, "ru_RU", raw.Order().Locale)
	require.Equal(t, "ru-RU", normalized.Order().Locale)
	require.Equal(t, raw.entry.Hash, normalized.entry.Hash)
}

// TestAllocations adds only the stamp to those of package model's test.
func TestAllocations(t *testing.T) {
	sample, err := os.ReadFile("../model/testdata/samples/model.json")
	require.NoError(t, err)
	decoder := NewDecoder(model.New(model.Options{}), nil)
	source := deadletter.Source{Topic: "orders", Timestamp: time.UnixMilli(1), Value: sample}
	var record Record
	decoder.DecodeInto(&record, source)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { decoder.DecodeInto(&record, source) }), 5.0)
}

// knownErasures are what a writer knows that several partitions share.
type knownErasures struct{ known *erased.Known }

func (k *knownErasures) Known() *erased.Known          { return k.known }
func (k *knownErasures) Refresh(context.Context) error { return nil } // another partition has done it

// Another partition reads the erased orders anew while letters are sent: they are compared with
// what it has read, though a refresh of their own finds nothing new.
func TestLettersAreComparedWithErasuresThatAnotherPartitionHasRead(t *testing.T) {
	records := []*Record{NewDecoder(model.New(model.Options{}), nil).Decode(deadletter.Source{Topic: "orders", Value: []byte("{}")})}
	erasures, sent := &knownErasures{new(erased.Known)}, 0
	_, err := SendLetters(t.Context(), records, erasures, "group", func(context.Context, []deadletter.Letter) error {
		if sent++; sent == 1 {
			erasures.known = new(erased.Known)
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, sent)
}
