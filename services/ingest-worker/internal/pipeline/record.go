package pipeline

import (
	"encoding/hex"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
)

// record is a decoded record in the queue.
type record struct {
	*ingest.Record
	offset int64
	bytes  int64 // of key and value, for the batch policy
	cost   int64 // bytes of the budget
}

// overhead is what a record takes besides its own bytes: the decoded order's
// structs, the entry, slices and headers.
const overhead = 1 << 10

// cost estimates a record's share of memory: its bytes, the decoded order's
// strings, and its rows in the buffers of COPY.
func cost(r fetch.Record) int64 {
	size := len(r.Key) + 3*len(r.Value) + overhead
	for _, h := range r.Headers {
		size += len(h.Key) + len(h.Value) + 64
	}
	return int64(size)
}

// sourceOf returns a fetched record as a source record. It shares the bytes.
func sourceOf(r fetch.Record, topic string, partition int) deadletter.Source {
	source := deadletter.Source{Topic: topic, Partition: partition, Offset: r.Offset, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		source.Headers = append(source.Headers, deadletter.Header(h))
	}
	if r.Cut != nil {
		source.Truncated = &deadletter.Truncation{Size: r.Cut.Size, SHA256: hex.EncodeToString(r.Cut.SHA256[:])}
	}
	return source
}
