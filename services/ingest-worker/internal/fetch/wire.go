package fetch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"
)

// The supported versions of Fetch: 4 introduced isolation levels, and 11 is the last that
// kafka-go can write.
const (
	oldestFetch = 4
	newestFetch = 11
)

const (
	readCommitted = 1
	readBytes     = 1 << 20 // read from the network under one deadline
	// envelopeBytes bounds what an answer has besides its records, mainly the list of
	// aborted transactions.
	envelopeBytes = 4 << 20
)

var errMalformed = errors.New("the broker's answer is malformed")

// response is a partition's part of the answer to a Fetch.
type response struct {
	throttle         time.Duration
	lastStableOffset int64
	logStartOffset   int64
	aborted          []abortedTransaction
	records          []byte
	release          func() // releases what was admitted
}

// fetch requests records and returns the answer, or the broker's error as a kafka.Error.
func (c *conn) fetch(ctx context.Context, cfg Config, offset int64, maxBytes int32) (*response, error) {
	request := &fetchapi.Request{
		ReplicaID:      -1, // a consumer
		MaxWaitTime:    int32(cfg.MaxWait.Milliseconds()),
		MinBytes:       1,
		MaxBytes:       maxBytes,
		IsolationLevel: readCommitted,
		SessionEpoch:   -1, // no session
		Topics: []fetchapi.RequestTopic{{
			Topic: cfg.Topic,
			Partitions: []fetchapi.RequestPartition{{
				Partition:          int32(cfg.Partition),
				CurrentLeaderEpoch: -1,
				FetchOffset:        offset,
				LogStartOffset:     -1,
				PartitionMaxBytes:  maxBytes,
			}},
		}},
	}
	limit := int(maxBytes) + maxBatchBytes + envelopeBytes
	data, release, err := c.exchange(ctx, cfg, cfg.MaxWait, limit, func(correlation int32) error {
		return protocol.WriteRequest(c, c.fetchVersion, correlation, c.clientID, request)
	})
	if err != nil {
		return nil, err
	}
	r, err := parseResponse(data, c.fetchVersion, c.correlation, cfg)
	if err != nil {
		release()
		return nil, err
	}
	r.release = release
	return r, nil
}

// exchange sends a request for which the broker may wait, and reads the answer, without the
// length before it.
func (c *conn) exchange(ctx context.Context, cfg Config, wait time.Duration, limit int, send func(correlation int32) error) (data []byte, release func(), err error) {
	defer c.closeOn(ctx)()
	c.correlation++
	if err := c.SetDeadline(time.Now().Add(wait + cfg.Timeout)); err != nil {
		return nil, nil, err
	}
	if err := send(c.correlation); err != nil {
		return nil, nil, fmt.Errorf("send to %s: %w", c.RemoteAddr(), err)
	}
	var length [4]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return nil, nil, fmt.Errorf("receive from %s: %w", c.RemoteAddr(), noEOF(err))
	}
	size := int(int32(binary.BigEndian.Uint32(length[:])))
	switch {
	case size < 0:
		return nil, nil, fmt.Errorf("%w: its length is %d", errMalformed, size)
	case size > limit:
		return nil, nil, &TooLargeError{Topic: cfg.Topic, Partition: cfg.Partition, Size: size, Limit: limit}
	}
	release, err = cfg.Admit(ctx, size)
	if err != nil {
		return nil, nil, err
	}
	data = make([]byte, size)
	for rest := data; len(rest) > 0; {
		part := rest[:min(len(rest), readBytes)]
		err := c.SetDeadline(time.Now().Add(cfg.Timeout))
		if err == nil {
			_, err = io.ReadFull(c, part)
		}
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("receive from %s: %w", c.RemoteAddr(), noEOF(err))
		}
		rest = rest[len(part):]
	}
	return data, release, nil
}

// noEOF distinguishes a closed connection from the end of the topic.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseResponse reads an answer to a Fetch of the given version for one partition.
func parseResponse(data []byte, version int16, correlation int32, cfg Config) (*response, error) {
	w := wire{b: data}
	if got := w.int32(); got != correlation {
		return nil, fmt.Errorf("%w: it is number %d instead of %d", errMalformed, got, correlation)
	}
	r := &response{throttle: time.Duration(w.int32()) * time.Millisecond}
	if version >= 7 {
		if code := w.int16(); code != 0 && !w.short {
			return nil, kafka.Error(code)
		}
		w.int32() // session
	}
	if topics := w.int32(); topics != 1 && !w.short {
		return nil, fmt.Errorf("%w: it has %d topics instead of 1", errMalformed, topics)
	}
	topic := string(w.bytes(int(w.int16())))
	partitions, partition, code := w.int32(), w.int32(), w.int16()
	if !w.short && (topic != cfg.Topic || partitions != 1 || int(partition) != cfg.Partition) {
		return nil, fmt.Errorf("%w: it is for %s/%d", errMalformed, topic, partition)
	}
	w.int64() // the high watermark
	r.lastStableOffset, r.logStartOffset = w.int64(), -1
	if version >= 5 {
		r.logStartOffset = w.int64()
	}
	const transactionBytes = 16
	if count := int(w.int32()); count > 0 && w.has(count, transactionBytes) {
		r.aborted = make([]abortedTransaction, count)
		for i := range r.aborted {
			r.aborted[i] = abortedTransaction{producer: w.int64(), first: w.int64()}
		}
	}
	if version >= 11 {
		w.int32() // the preferred read replica
	}
	r.records = w.bytes(int(w.int32()))
	if w.short {
		return nil, fmt.Errorf("%w: it ends too early", errMalformed)
	}
	if code != 0 {
		return nil, kafka.Error(code)
	}
	return r, nil
}

// wire reads the primitives of Kafka's protocol. After the end of the data it returns zeros
// and sets short.
type wire struct {
	b     []byte
	short bool
}

func (w *wire) bytes(n int) []byte {
	if n <= 0 { // -1 is null
		return nil
	}
	if !w.has(n, 1) {
		return nil
	}
	b := w.b[:n:n]
	w.b = w.b[n:]
	return b
}

// has reports whether so many elements of a size are left.
func (w *wire) has(count, size int) bool {
	if count > len(w.b)/size {
		w.b, w.short = nil, true
	}
	return !w.short
}

func (w *wire) int16() int16 {
	if b := w.bytes(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (w *wire) int32() int32 {
	if b := w.bytes(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (w *wire) int64() int64 {
	if b := w.bytes(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// uvarint reads a length of the protocol's compact forms, which is one more than it says.
func (w *wire) uvarint() int {
	n, size := binary.Uvarint(w.b)
	if size <= 0 || n > 1<<30 {
		w.b, w.short = nil, true
		return 0
	}
	w.b = w.b[size:]
	return int(n)
}

// compact skips a text or bytes.
func (w *wire) compact() { w.bytes(w.uvarint() - 1) }

// tags skips tagged fields.
func (w *wire) tags() {
	for range w.uvarint() {
		w.uvarint()
		w.bytes(w.uvarint())
		if w.short {
			return
		}
	}
}
