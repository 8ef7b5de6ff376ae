package fetch

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/segmentio/kafka-go/compress"
)

// BenchmarkAnswer reads records of 1 kB from answers of 4 MB in batches of 100.
// One operation is one record.
func BenchmarkAnswer(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	records := make([]rawRecord, 100)
	for i := range records {
		value := make([]byte, 1000)
		for j := range value {
			value[j] = "0123456789abcdef"[random.IntN(16)] // compresses to a half
		}
		records[i] = rawRecord{delta: int64(i), key: []byte("b563feb7b2b84b6test"), value: value}
	}
	for codec := compress.None; codec <= compress.Zstd; codec++ {
		b.Run(codec.String(), func(b *testing.B) {
			var batches [][]byte
			for i := range 40 {
				batch := batchWith(int64(i*len(records)), records...).with(codec)
				batches = append(batches, batch.encode())
			}
			response := respond(nil, batches...)
			b.SetBytes(1000)
			b.ReportAllocs()
			for read := 0; read < b.N; {
				a, _, err := newAnswer(testConfig(), 0, response)
				if err != nil {
					b.Fatal(err)
				}
				for ; read < b.N; read++ {
					_, ok, err := a.Next(context.Background())
					if err != nil {
						b.Fatal(err)
					}
					if !ok {
						break
					}
				}
				a.Release()
			}
		})
	}
}
