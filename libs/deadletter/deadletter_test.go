package deadletter

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
)

var (
	at    = time.UnixMilli(1637907727123)
	cause = Cause{Reason: "not_json", Stage: StageDecode, Errors: []model.FieldError{{Rule: "not_json", Message: "is not JSON"}}}
)

func header(l Letter, key string) (value string, there bool) {
	for _, h := range l.Headers {
		if h.Key == key {
			return string(h.Value), true
		}
	}
	return "", false
}

// The digits are fixed, so that letters written by one version are found by
// another.
func TestIDIsStable(t *testing.T) {
	id := ID(Source{Topic: "orders", Partition: 3, Offset: 17, Timestamp: at, Value: []byte("{")})
	require.Equal(t, "orders/3/17/16596534", id)
}

func TestIDTellsRecordsApart(t *testing.T) {
	base := Source{Topic: "orders", Partition: 3, Offset: 17, Timestamp: at, Value: []byte("{")}
	again := base
	again.Headers, again.Key = []Header{{Key: "x"}}, []byte("k")
	require.Equal(t, ID(base), ID(again))
	other := base
	other.Value = []byte("[")
	require.NotEqual(t, ID(base), ID(other))
	other = base
	other.Timestamp = at.Add(time.Millisecond)
	require.NotEqual(t, ID(base), ID(other))
}

func TestALetterHasTheSourceUntouched(t *testing.T) {
	source := Source{
		Topic: "orders", Partition: 3, Offset: 17, Timestamp: at, Key: []byte{0xff, 0}, Value: []byte("{\xff\x00"),
		Headers: []Header{{"a", []byte("1")}, {"a", nil}, {"dlq-reason", []byte("forged")}, {"dlq-stage", nil}},
	}
	l := New(source, cause, "orderhub", at.Add(time.Second))
	require.Equal(t, source.Value, l.Value)
	require.Equal(t, source.Headers[:2], l.Headers[:2], "the source's own headers, unchanged")
	for name, want := range map[string]string{
		HeaderReason: "not_json", HeaderStage: "decode", HeaderSourceTopic: "orders", HeaderSourcePartition: "3",
		HeaderSourceOffset: "17", HeaderSourceTimestamp: "2021-11-26T06:22:07.123Z", HeaderSourceKey: "\xff\x00",
		HeaderConsumerGroup: "orderhub", HeaderFailedAt: "2021-11-26T06:22:08.123Z", HeaderRedriveCount: "0",
		HeaderOrigin: l.ID, HeaderErrors: `[{"path":"","rule":"not_json","message":"is not JSON"}]`,
	} {
		got, there := header(l, name)
		require.True(t, there, name)
		require.Equal(t, want, got, name)
	}
	_, there := header(l, HeaderValue)
	require.False(t, there)
}

func TestANullValueIsNoTombstone(t *testing.T) {
	l := New(Source{Topic: "orders"}, cause, "g", at)
	require.NotNil(t, l.Value)
	require.Empty(t, l.Value)
	value, _ := header(l, HeaderValue)
	require.Equal(t, "null", value)
	_, there := header(l, HeaderSourceKey)
	require.False(t, there, "a null key has no header")
}

func TestARedriveKeepsCountAndOrigin(t *testing.T) {
	l := New(Source{Topic: "orders", Headers: []Header{{HeaderRedriveCount, []byte("2")}, {HeaderOrigin, []byte("orders/0/1/aaaaaaaa")}}}, cause, "g", at)
	count, _ := header(l, HeaderRedriveCount)
	origin, _ := header(l, HeaderOrigin)
	require.Equal(t, "2", count)
	require.Equal(t, "orders/0/1/aaaaaaaa", origin)

	forged := New(Source{Topic: "orders", Headers: []Header{{HeaderRedriveCount, []byte("many")}}}, cause, "g", at)
	count, _ = header(forged, HeaderRedriveCount)
	require.Equal(t, "0", count)
}

// Records may have no timestamp, or one that no database knows. Their redriven copies are as new.
func TestAStampCanBeWritten(t *testing.T) {
	for written, kafka := range map[string]time.Time{
		"1970-01-01T00:00:00Z": {}, "9999-12-31T23:59:59.999Z": time.UnixMilli(at.UnixNano()), "2021-11-26T06:22:07.123Z": at,
	} {
		source := Source{Topic: "orders", Timestamp: kafka}
		header, _ := header(New(source, cause, "g", at), HeaderSourceTimestamp)
		require.Equal(t, written, header)
		stamp := source.Stamp(nil)
		require.Equal(t, written, stamp.Time.Format(time.RFC3339Nano))
		again := Source{Topic: "orders", Timestamp: at, Headers: []Header{{HeaderOriginPartition, []byte("0")}, {HeaderOriginOffset, []byte("0")}, {HeaderOriginTimestamp, []byte(header)}}}
		require.Equal(t, stamp, again.Stamp(nil))

		again.Headers = append(again.Headers, Header{HeaderNATSTimestamp, []byte("2020-01-01T00:00:00.0009Z")})
		require.Equal(t, "2020-01-01T00:00:00Z", again.Stamp(nil).Time.Format(time.RFC3339Nano), "as in NATS, however often the bridge sends it")
	}
}

func TestErrorsAreBounded(t *testing.T) {
	var failures []model.FieldError
	for range 10_000 {
		failures = append(failures, model.FieldError{Path: "items[1].price", Rule: "min", Message: "must be at least 0"})
	}
	l := New(Source{Topic: "orders"}, Cause{Reason: "invalid", Stage: StageValidate, Errors: failures}, "g", at)
	text, _ := header(l, HeaderErrors)
	require.Less(t, len(text), maxErrorsBytes+200)
	var kept []model.FieldError
	require.NoError(t, json.Unmarshal([]byte(text), &kept))
	last := kept[len(kept)-1]
	require.Equal(t, "more", last.Rule)
	require.Contains(t, last.Message, "more failures")
	require.Equal(t, failures[0], kept[0])
}

func TestTruncate(t *testing.T) {
	l := New(Source{Topic: "orders", Value: bytes.Repeat([]byte("x"), 100)}, cause, "g", at)
	l.Truncate(100)
	_, there := header(l, HeaderTruncated)
	require.False(t, there)
	l.Truncate(10)
	l.Truncate(5)
	require.Len(t, l.Value, 5)
	text, _ := header(l, HeaderTruncated)
	var whole Truncation
	require.NoError(t, json.Unmarshal([]byte(text), &whole))
	require.EqualValues(t, 100, whole.Size, "of the value before the first cut")
	require.Equal(t, hexSum(bytes.Repeat([]byte("x"), 100)), whole.SHA256)
	require.Equal(t, 1, strings.Count(names(l), HeaderTruncated))
}

func TestShortenUntilNothingIsLeft(t *testing.T) {
	l := New(Source{Topic: "orders", Headers: []Header{{"a", make([]byte, 1000)}}, Value: make([]byte, 250_000)}, cause, "g", at)
	for _, size := range []int{200_000, 10_000, 0, 0} {
		require.Contains(t, names(l), "a,", "the headers go last")
		require.True(t, l.Shorten())
		require.Len(t, l.Value, size)
	}
	require.NotContains(t, names(l), "a,")
	require.False(t, l.Shorten())
}

func TestDropSourceHeaders(t *testing.T) {
	l := New(Source{Topic: "orders", Key: []byte("k"), Headers: []Header{{"a", make([]byte, 1<<20)}}}, cause, "g", at)
	l.DropSourceHeaders()
	require.Less(t, l.Size(), 2000)
	require.NotContains(t, names(l), "a,")
}

func names(l Letter) string {
	var b strings.Builder
	for _, h := range l.Headers {
		b.WriteString(h.Key + ",")
	}
	return b.String()
}
