package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/model"
)

func TestSampleOrdersAreStoredAsTheyAre(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	other, err := os.ReadFile("testdata/order1001test.json")
	require.NoError(t, err)
	b.produce(0, sample(t), other)
	b.drained()

	require.Equal(t, canonical(t, sample(t)), b.stored("b563feb7b2b84b6test"))
	require.Equal(t, canonical(t, other), b.stored("order1001test"))
	for _, table := range []string{"orders", "deliveries", "payments", "items"} {
		require.Equal(t, 2, b.count(table), table)
	}
	require.Empty(t, b.letters())
	require.Equal(t, 2, w.metric("orderhub_ingest_records_total", "outcome=stored"))
	b.eventually("no record waits", func() (bool, string) {
		records, seconds := w.metric("orderhub_ingest_lag_records"), w.metric("orderhub_ingest_lag_seconds")
		return w.hasSeries("orderhub_ingest_lag_records", "partition=0") && records == 0 && seconds == 0, fmt.Sprintf("%d records, %d s", records, seconds)
	})
}

func TestSameContentIsADuplicateAndOtherContentAConflict(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	first := order(t, "twice", "a")
	var spaced bytes.Buffer
	require.NoError(t, json.Indent(&spaced, first, " ", "\t"))
	b.produce(0, first)
	b.drained()
	changed := bytes.Replace(order(t, "twice", "b"), []byte(`"amount":1817`), []byte(`"amount":1818`), 1)
	b.produce(0, spaced.Bytes(), changed)
	b.drained()

	require.Equal(t, canonical(t, first), b.stored("twice"), "the first writer wins")
	require.Equal(t, 1, w.metric("orderhub_ingest_records_total", "outcome=duplicate"))
	l := b.letterOf(0, 2)
	require.Equal(t, changed, l.Value)
	require.Equal(t, "conflict", l.Headers["dlq-reason"])
	require.Equal(t, "conflict", l.Headers["dlq-stage"])
	var failures []model.FieldError
	require.NoError(t, json.Unmarshal([]byte(l.Headers["dlq-errors"]), &failures))
	var paths []string
	for _, f := range failures {
		paths = append(paths, f.Path)
	}
	require.Equal(t, []string{"payment.amount", "internal_signature"}, paths)
	require.NotContains(t, l.Headers["dlq-errors"], "1818", "values stay in the record's own bytes")
	require.Len(t, b.letters(), 1)
}

// All in one batch: the first wins, equals are duplicates, others conflicts.
func TestSameUIDWithinABatch(t *testing.T) {
	b := setup(t, 1)
	b.produce(0, order(t, "x", "1"), order(t, "y", "1"), order(t, "x", "2"), order(t, "x", "1"), order(t, "x", "3"),
		order(t, "y", "1"), order(t, "x", "2"))
	w := b.startWorker()
	b.drained()

	require.Equal(t, canonical(t, order(t, "x", "1")), b.stored("x"))
	require.Equal(t, 2, w.metric("orderhub_ingest_records_total", "outcome=stored"))
	require.Equal(t, 2, w.metric("orderhub_ingest_records_total", "outcome=duplicate"))
	require.Equal(t, 3, w.metric("orderhub_dead_letters_total", "reason=conflict"))
	for _, offset := range []int{2, 4, 6} {
		b.letterOf(0, offset)
	}
}

// After some batches of new orders the worker no longer looks them up beforehand.
// One that is there is found all the same, and the rest of its batch stored.
func TestAnOrderThatIsThereAmongNewOnes(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	for i := range 8 {
		b.produce(0, order(t, fmt.Sprintf("new%d", i), "1"))
		b.drained() // a batch each
	}
	for range 2 {
		b.produce(0, order(t, "new8", "1"), order(t, "new3", "1"), order(t, "new4", "2"), order(t, "new9", "1"))
		b.drained()
	}
	require.Equal(t, 10, b.count("orders"))
	require.Equal(t, 10, w.metric("orderhub_ingest_records_total", "outcome=stored"))
	require.Equal(t, 4, w.metric("orderhub_ingest_records_total", "outcome=duplicate"))
	require.Equal(t, 2, w.metric("orderhub_dead_letters_total", "reason=conflict"))
	require.Equal(t, canonical(t, order(t, "new4", "1")), b.stored("new4"), "the first writer wins")
}

// A record that equals the rows as they are now is a duplicate, whoever made or
// changed them; so is one that equals what the worker once stored.
func TestRowsMadeOrChangedByHand(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	b.produce(0, order(t, "hand", "a"))
	b.drained()
	b.exec(`UPDATE orders SET internal_signature = 'b' WHERE order_uid = 'hand'`)
	b.produce(0, order(t, "hand", "a"), order(t, "hand", "b"), order(t, "hand", "c"))
	b.drained()
	require.Equal(t, 2, w.metric("orderhub_ingest_records_total", "outcome=duplicate"))
	require.Equal(t, "conflict", b.letterOf(0, 3).Headers["dlq-reason"])

	b.exec(`UPDATE orders SET content_hash = NULL WHERE order_uid = 'hand'`)
	b.produce(0, order(t, "hand", "b"), order(t, "hand", "a"))
	b.drained()
	require.Equal(t, 3, w.metric("orderhub_ingest_records_total", "outcome=duplicate"))
	require.Equal(t, "conflict", b.letterOf(0, 5).Headers["dlq-reason"], "without a hash only the rows count")

	// An order half deleted by hand is compared with what is left of it.
	b.exec(`DELETE FROM items WHERE order_uid = 'hand'`)
	b.exec(`UPDATE orders SET content_hash = NULL WHERE order_uid = 'hand'`)
	b.produce(0, order(t, "hand", "b"))
	b.drained()
	require.Contains(t, b.letterOf(0, 6).Headers["dlq-errors"], `"path":"items"`)
}

func TestWhatIsNoOrderBecomesADeadLetterAndThePartitionGoesOn(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	megabyte := []byte(`"` + strings.Repeat("x", 1_000_000) + `"`)
	huge := []byte(strings.Repeat("y", 3<<20))
	cases := []struct {
		name, reason, stage string
		value               []byte
	}{
		{"no JSON", "not_json", "decode", []byte("hello")},
		{"a tombstone", "tombstone", "decode", nil},
		{"an empty value", "empty", "decode", []byte{}},
		{"a megabyte", "wrong_type", "decode", megabyte},
		{"more than a record may have", "too_large", "decode", huge},
		{"an array", "wrong_type", "decode", []byte("[]")},
		{"null", "wrong_type", "decode", []byte("null")},
		{"NUL", "nul_character", "decode", []byte(strings.Replace(string(order(t, "nul", "a")), `"en"`, `"\u0000"`, 1))},
		{"no UTF-8", "invalid_utf8", "decode", []byte("{\"a\":\"\xff\"}")},
		{"a broken rule", "invalid", "validate", []byte(strings.Replace(string(order(t, "neg", "a")), `"amount":1817`, `"amount":-1`, 1))},
	}
	for _, c := range cases {
		b.produce(0, c.value)
	}
	b.produce(0, order(t, "after", "a"))
	b.drained()

	require.NotEmpty(t, b.stored("after"))
	require.Equal(t, 1, b.count("orders"))
	for offset, c := range cases {
		l := b.letterOf(0, offset)
		require.Equal(t, c.reason, l.Headers["dlq-reason"], c.name)
		require.Equal(t, c.stage, l.Headers["dlq-stage"], c.name)
		if c.name == "more than a record may have" {
			require.Equal(t, huge[:1<<20], l.Value)
			require.Contains(t, l.Headers["dlq-truncated"], fmt.Sprintf(`"size":%d`, len(huge)))
			continue
		}
		require.True(t, bytes.Equal(c.value, l.Value), c.name+": the value is untouched")
		require.Equal(t, c.value == nil, l.Headers["dlq-value"] == "null", c.name)
	}
	require.Equal(t, len(cases), w.metric("orderhub_ingest_records_total", "outcome=dead_letter"))
	require.Equal(t, 1, w.metric("orderhub_ingest_records_total", "outcome=stored"))
}

func TestAPrettyPrintedFileSentLineByLineIsNamedAsSuch(t *testing.T) {
	b := setup(t, 1)
	b.startWorker()
	lines := bytes.Split(bytes.TrimSpace(sample(t)), []byte("\n"))
	b.produce(0, lines...)
	b.produce(0, order(t, "after", "a"))
	b.drained()
	require.NotEmpty(t, b.stored("after"))
	found := b.letters()
	require.Len(t, found, len(lines))
	for _, l := range found {
		require.Equal(t, "pretty_printed", l.Headers["dlq-reason"], string(l.Value))
		require.Contains(t, l.Headers["dlq-errors"], "one line")
	}
}

func TestADeadLetterSaysWhereItCameFrom(t *testing.T) {
	b := setup(t, 2)
	b.startWorker()
	record := &kgo.Record{
		Topic: ordersTopic, Partition: 1, Key: []byte{0xff, 'k'}, Value: []byte("{"),
		Headers: []kgo.RecordHeader{
			{Key: "trace", Value: []byte("1")}, {Key: "trace", Value: []byte("2")},
			{Key: "dlq-reason", Value: []byte("old")}, {Key: "dlq-redrive-count", Value: []byte("2")},
			{Key: "dlq-origin", Value: []byte("orders/0/9/aaaaaaaa")},
		},
	}
	require.NoError(t, b.kafka.ProduceSync(b.ctx, record).FirstErr())
	b.drained()
	l := b.letterOf(1, 0)
	require.Regexp(t, `^orders/1/0/[0-9a-f]{8}$`, l.ID)
	require.NotEqual(t, "old", l.Headers["dlq-reason"])
	require.Equal(t, "2", l.Headers["trace"])
	require.Equal(t, "orders", l.Headers["dlq-source-topic"])
	require.Equal(t, "1", l.Headers["dlq-source-partition"])
	require.Equal(t, "0", l.Headers["dlq-source-offset"])
	require.Equal(t, "\xffk", l.Headers["dlq-source-key"])
	require.Equal(t, record.Timestamp.UTC().Format("2006-01-02T15:04:05.999999999Z07:00"), l.Headers["dlq-source-timestamp"])
	require.Equal(t, group, l.Headers["dlq-consumer-group"])
	require.NotEmpty(t, l.Headers["dlq-failed-at"])
	require.Equal(t, "2", l.Headers["dlq-redrive-count"])
	require.Equal(t, "orders/0/9/aaaaaaaa", l.Headers["dlq-origin"])
}

// One record that the database refuses must not fail its batch.
func TestTheDatabaseRefusesOneRecordOfABatch(t *testing.T) {
	b := setup(t, 1)
	b.exec(`ALTER TABLE payments ADD CONSTRAINT no_such_bank CHECK (bank <> 'forbidden')`)
	for i := range 50 {
		o := order(t, fmt.Sprintf("o%02d", i), "a")
		if i == 7 || i == 31 {
			o = bytes.Replace(o, []byte(`"bank":"alpha"`), []byte(`"bank":"forbidden"`), 1)
		}
		b.produce(0, o)
	}
	w := b.startWorker()
	b.drained()
	require.Equal(t, 48, b.count("orders"))
	require.Len(t, b.letters(), 2)
	for _, offset := range []int{7, 31} {
		l := b.letterOf(0, offset)
		require.Equal(t, "refused_by_database", l.Headers["dlq-reason"])
		require.Equal(t, "write", l.Headers["dlq-stage"])
		require.Contains(t, l.Headers["dlq-errors"], "no_such_bank")
		require.NotContains(t, l.Headers["dlq-errors"], "forbidden")
	}
	require.Equal(t, 48, w.metric("orderhub_ingest_records_total", "outcome=stored"))
}
