package fetch

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"
)

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	written := []rawRecord{
		{delta: 0, key: nil, value: nil},
		{delta: 1, key: []byte{}, value: []byte{}},
		{delta: 2, key: []byte("k"), value: []byte("v"), headers: []Header{{"a", []byte("1")}, {"", nil}, {"a", []byte{}}}},
		{delta: 3, key: make([]byte, 300), value: make([]byte, 70_000)},
	}
	for codec := compress.None; codec <= compress.Zstd; codec++ {
		t.Run(codec.String(), func(t *testing.T) {
			a := answerTo(t, 10, nil, batchWith(10, written...).with(codec).encode())
			records, err := drain(a)
			require.NoError(t, err)
			require.Len(t, records, len(written))
			for i, got := range records {
				require.Equal(t, Record{
					Offset: 10 + int64(i), Timestamp: time.UnixMilli(testTime + int64(i)),
					Key: written[i].key, Value: written[i].value, Headers: written[i].headers,
				}, got)
			}
			require.EqualValues(t, 14, a.NextOffset())
		})
	}
}

func TestLogAppendTimeIsTheBatchs(t *testing.T) {
	b := batchOf(0, "a", "b", "c")
	b.attributes |= logAppendTimeFlag
	records, err := drain(answerTo(t, 0, nil, b.encode()))
	require.NoError(t, err)
	require.Equal(t, time.UnixMilli(testTime+2), records[0].Timestamp)
}

func TestRecordsBeforeTheOffsetAreSkipped(t *testing.T) {
	for codec := compress.None; codec <= compress.Zstd; codec++ {
		a := answerTo(t, 12, nil, batchOf(10, "a", "b", "c", "d").with(codec).encode(), batchOf(14, "e").encode())
		requireSeen(t, a, 15, seen{12, "c"}, seen{13, "d"}, seen{14, "e"})
	}
}

func TestBatchesThatCompactionEmptiedOrCut(t *testing.T) {
	for codec := compress.None; codec <= compress.Zstd; codec++ {
		t.Run(codec.String(), func(t *testing.T) {
			empty := batchWith(20).endingAt(29)
			empty.payload = nil
			holes := batchWith(30, rawRecord{delta: 3, value: []byte("a")}, rawRecord{delta: 5, value: []byte("b")}).with(codec).endingAt(39)
			requireSeen(t, answerTo(t, 20, nil, empty.encode()), 30)
			requireSeen(t, answerTo(t, 20, nil, empty.encode(), holes.encode()), 40, seen{33, "a"}, seen{35, "b"})
			requireSeen(t, answerTo(t, 36, nil, holes.encode()), 40) // all that is left is before the offset
			requireSeen(t, answerTo(t, 30, nil, batchOf(50, "far").encode()), 51, seen{50, "far"})
		})
	}
}

func TestNothingNewLeavesTheOffset(t *testing.T) {
	requireSeen(t, answerTo(t, 7, nil), 7)
	requireSeen(t, answerTo(t, 7, nil, batchOf(5, "old", "older").encode()), 7)
}

func TestPartialBatchAtTheEndIsLeftForLater(t *testing.T) {
	first, second := batchOf(0, "a", "b").encode(), batchOf(2, "c").encode()
	for cut := range second {
		requireSeen(t, answerTo(t, 0, nil, first, second[:cut]), 2, seen{0, "a"}, seen{1, "b"})
	}
}

func TestPartialFirstBatchIsAskedForWhole(t *testing.T) {
	b := batchOf(0, "value").encode()
	for cut := 1; cut < len(b); cut++ {
		_, short, err := newAnswer(testConfig(), 0, respond(nil, b[:cut]))
		require.NoError(t, err)
		if cut < countedAt {
			require.Equal(t, 1, short)
		} else {
			require.Equal(t, len(b), short)
		}
	}
	binary.BigEndian.PutUint32(b[lengthAt:], 1<<30)
	_, _, err := newAnswer(testConfig(), 0, respond(nil, b))
	var tooLarge *TooLargeError
	require.ErrorAs(t, err, &tooLarge)
	require.Equal(t, 1<<30+countedAt, tooLarge.Size)
}

func TestControlBatchesAreSkipped(t *testing.T) {
	a := answerTo(t, 0, nil, batchOf(0, "a").by(1).encode(), marker(1, 1, true).encode(), batchOf(2, "b").encode(), marker(3, 9, false).encode())
	requireSeen(t, a, 4, seen{0, "a"}, seen{2, "b"})
	require.Equal(t, 2, a.ControlRecords)
	require.Zero(t, a.AbortedRecords)
}

func TestAbortedTransactionsAreSkipped(t *testing.T) {
	// Producer 1 aborts what it wrote at 0 to 1 and 4; producer 2 commits 2 to 3
	// in between; then producer 1 commits 6. Producer 3 is idempotent only.
	log := [][]byte{
		batchOf(0, "x", "x").by(1).encode(),
		batchOf(2, "a", "b").by(2).encode(),
		batchOf(4, "x").by(1).with(compress.Zstd).encode(),
		marker(5, 1, false).encode(),
		batchOf(6, "c").by(1).encode(),
		marker(7, 1, true).encode(),
		marker(8, 2, true).encode(),
		batchOf(9, "d").encode(),
	}
	aborted := []abortedTransaction{{producer: 1, first: 0}}
	a := answerTo(t, 0, aborted, log...)
	requireSeen(t, a, 10, seen{2, "a"}, seen{3, "b"}, seen{6, "c"}, seen{9, "d"})
	require.Equal(t, 3, a.AbortedRecords)
	require.Equal(t, 3, a.ControlRecords)

	// The same from the middle of the aborted transaction on.
	requireSeen(t, answerTo(t, 3, aborted, log[1:]...), 10, seen{3, "b"}, seen{6, "c"}, seen{9, "d"})

	// Two transactions of one producer, listed in any order.
	aborted = []abortedTransaction{{producer: 5, first: 12}, {producer: 5, first: 10}}
	a = answerTo(t, 10, aborted,
		batchOf(10, "x").by(5).encode(), marker(11, 5, false).encode(),
		batchOf(12, "x").by(5).encode(), marker(13, 5, false).encode(), batchOf(14, "e").by(5).encode())
	requireSeen(t, a, 15, seen{14, "e"})
}

func TestAnAbortMarkerThatCompactionEmptied(t *testing.T) {
	empty := marker(1, 1, false)
	empty.count, empty.payload = 0, nil
	a := answerTo(t, 0, nil, batchOf(0, "a").by(1).encode(), empty.encode(), batchOf(2, "b").encode())
	requireSeen(t, a, 3, seen{0, "a"}, seen{2, "b"})
}

func requireCorrupt(t *testing.T, b []byte, why string) {
	t.Helper()
	require.ErrorContains(t, corruptError(t, b), why)
}

// corruptError is the error in an answer that begins with the batch.
func corruptError(t *testing.T, b []byte) *CorruptBatchError {
	t.Helper()
	a, _, err := newAnswer(testConfig(), 0, respond(nil, b))
	if err == nil {
		defer a.Release()
		_, err = drain(a)
		_, again := drain(a)
		require.Equal(t, err, again)
	}
	var corrupt *CorruptBatchError
	require.ErrorAs(t, err, &corrupt)
	require.Equal(t, "orders", corrupt.Topic)
	require.Equal(t, 3, corrupt.Partition)
	return corrupt
}

func TestEachFlippedBitIsNoticed(t *testing.T) {
	good := batchOf(0, "some value", "another").encode()
	for i := crcAt; i < len(good); i++ {
		for bit := range 8 {
			bad := append([]byte(nil), good...)
			bad[i] ^= 1 << bit
			require.ErrorContains(t, corruptError(t, bad), "offset 0 cannot be read: its checksum")
		}
	}
}

func TestCorruptBatchAfterGoodOnesWaitsForItsTurn(t *testing.T) {
	bad := batchOf(2, "x").encode()
	bad[len(bad)-1] ^= 1
	a := answerTo(t, 0, nil, batchOf(0, "a", "b").encode(), bad)
	requireSeen(t, a, 2, seen{0, "a"}, seen{1, "b"})
	_, _, err := newAnswer(testConfig(), 2, respond(nil, bad))
	require.ErrorContains(t, err, "offset 2")
}

func TestImpossibleBatches(t *testing.T) {
	change := func(edit func(b []byte)) []byte {
		b := batchOf(0, "a", "b").encode()
		edit(b)
		return seal(b)
	}
	put32 := binary.BigEndian.PutUint32
	requireCorrupt(t, change(func(b []byte) { put32(b[lengthAt:], 1<<31) }), "length")
	requireCorrupt(t, change(func(b []byte) { put32(b[lengthAt:], 4) }), "length")
	requireCorrupt(t, change(func(b []byte) { put32(b[lengthAt:], 20) }), "shorter than its header")
	requireCorrupt(t, change(func(b []byte) { b[magicAt] = 1 }), "message format 1")
	requireCorrupt(t, change(func(b []byte) { put32(b[checkedAt+2:], 1<<31) }), "offsets")
	requireCorrupt(t, change(func(b []byte) { put32(b[checkedAt+36:], 3) }), "3 records in 2 offsets")
	requireCorrupt(t, change(func(b []byte) { put32(b[checkedAt+36:], 1<<31) }), "records in 2 offsets")
	requireCorrupt(t, change(func(b []byte) { b[checkedAt+1] = 7 }), "codec 7")
}

func TestImpossibleRecords(t *testing.T) {
	whole := rawRecord{value: []byte("value")}.body()
	varint := func(v int64) []byte { return binary.AppendVarint(nil, v) }
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	tests := map[string]struct {
		payload []byte
		count   int32
		why     error
	}{
		"missing":            {nil, 1, errBatchEnds},
		"too many":           {appendRecords(nil, rawRecord{}, rawRecord{delta: 1}), 1, errBatchLonger},
		"negative length":    {varint(-5), 1, errRecordLength},
		"no length":          {[]byte{0xff, 0xff}, 1, errBatchEnds},
		"empty":              {varint(0), 1, errRecordEnds},
		"cut":                {join(varint(int64(len(whole)-1)), whole[:len(whole)-1]), 1, errRecordEnds},
		"longer":             {join(varint(int64(len(whole)+1)), whole, []byte{0}), 1, errRecordLonger},
		"long value":         {join(varint(6), []byte{0, 0, 0, 1}, varint(1 << 30)[:2]), 1, errRecordEnds},
		"after the batch":    {appendRecords(nil, rawRecord{delta: 9}), 1, errRecordOffset},
		"before the batch":   {appendRecords(nil, rawRecord{delta: -1}), 1, errRecordOffset},
		"twice":              {appendRecords(nil, rawRecord{delta: 1}, rawRecord{delta: 1}), 2, errRecordSequence},
		"negative headers":   {join(varint(7), []byte{0, 0, 0, 1, 1}, varint(-1), []byte{0}), 1, errHeaderCount},
		"too many headers":   {join(varint(9), []byte{0, 0, 0, 1, 1}, varint(1<<26)), 1, errRecordEnds},
		"header without key": {join(varint(8), []byte{0, 0, 0, 1, 1}, varint(1), []byte{1, 1}), 1, errHeaderKey},
	}
	for name, test := range tests {
		for codec := compress.None; codec <= compress.Zstd; codec++ {
			t.Run(name+" "+codec.String(), func(t *testing.T) {
				b := rawBatch{lastDelta: 5, producer: -1, count: test.count, payload: test.payload, codec: codec}
				if len(b.payload) == 0 && codec == compress.Snappy {
					t.Skip("the framing writes nothing for nothing")
				}
				corrupt := corruptError(t, b.encode())
				require.ErrorIs(t, corrupt, test.why)
				require.EqualValues(t, 6, corrupt.Next)
			})
		}
	}
}
