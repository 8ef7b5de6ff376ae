package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func readSample(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "samples", name))
	require.NoError(tb, err)
	return data
}

// lastHash keeps what process makes from being left out.
var lastHash Hash

// process is all that the worker does with a record before the database. It
// gives the canonical JSON in buf.
func process(tb testing.TB, c *Codec, record []byte, buf []byte) []byte {
	decoded, err := c.Decode(record)
	if err != nil {
		tb.Fatal(err)
	}
	buf = AppendCanonical(buf[:0], decoded.Order)
	lastHash = ContentHash(buf)
	return buf
}

func BenchmarkSample(b *testing.B) {
	record := readSample(b, "model.json")
	c := New(Options{})
	decoded, err := c.Decode(record)
	require.NoError(b, err)
	canonical := AppendCanonical(nil, decoded.Order)
	var buf []byte

	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = process(b, c, record, buf)
		}
	})
	b.Run("decode+validate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Decode(record); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.checks.surelyValid(decoded.Order, DefaultMaxItems)
		}
	})
	b.Run("validator", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.ruleFailures(decoded.Order)
		}
	})
	b.Run("canonical", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = AppendCanonical(buf[:0], decoded.Order)
		}
	})
	b.Run("hash", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ContentHash(canonical)
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := json.Unmarshal(record, new(Order)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRatio sets decoding, validation, canonical JSON and hash of the
// sample against encoding/json.Unmarshal alone. They take turns, and medians
// count, so that other work on the machine doesn't.
func BenchmarkRatio(b *testing.B) {
	record := readSample(b, "model.json")
	c := New(Options{})
	var buf []byte
	var ours, theirs []time.Duration
	const turn = 20
	for b.Loop() {
		start := time.Now()
		for range turn {
			buf = process(b, c, record, buf)
		}
		middle := time.Now()
		for range turn {
			if err := json.Unmarshal(record, new(Order)); err != nil {
				b.Fatal(err)
			}
		}
		ours = append(ours, middle.Sub(start))
		theirs = append(theirs, time.Since(middle))
	}
	b.ReportMetric(float64(median(ours))/float64(median(theirs)), "×encoding/json")
	b.ReportMetric(float64(median(ours).Nanoseconds())/turn, "ns/order")
}

func median(of []time.Duration) time.Duration {
	slices.Sort(of)
	return of[len(of)/2]
}
