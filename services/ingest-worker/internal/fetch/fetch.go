// Package fetch reads one partition of a Kafka topic exactly: each committed record
// once and in order.
//
// It sends the Fetch request itself, with kafka-go's protocol packages, because
// kafka-go's own readers cannot be exact: they never get past batches that compaction
// has emptied or cut, do not check checksums, do not distinguish null from empty, deliver
// the records of aborted transactions, and decompress without bound. In this package
//   - the CRC-32C of each batch is checked before its records are delivered;
//   - reading continues after a batch's last offset, whatever is left in the batch;
//   - isolation is always read_committed: records of aborted transactions and control
//     records are skipped and counted;
//   - compressed batches are decompressed as a stream, record by record, in bounded
//     memory, whatever their size; see [Config.MaxRecordBytes];
//   - only batches of format 2 are read, that of Kafka 0.11 and later. A batch of an older
//     format is a [*CorruptBatchError] that names the format.
package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/orderhub/orderhub/libs/platform/retry"
)

const (
	defaultMaxWait        = 500 * time.Millisecond
	defaultMaxBytes       = 4 << 20
	defaultMaxRecordBytes = 1 << 20
	defaultTimeout        = 10 * time.Second

	// maxBatchBytes is the largest batch. A batch arrives whole, whatever MaxBytes is, so
	// this bounds an answer's memory.
	maxBatchBytes = 100 << 20
)

// Config says what to read and how. Topic, Brokers and Dialer are required; for the rest
// zero means the default.
type Config struct {
	// Brokers are the addresses, host:port, that are asked in turn for the
	// partition's leader.
	Brokers []string
	// Dialer opens the connections. Its fields ClientID, Timeout (10 s if it is 0, for
	// connecting as a whole), SASLMechanism, DialFunc, which includes TLS, and KeepAlive
	// are used.
	Dialer *kafka.Dialer

	Topic     string
	Partition int

	// MaxWait is how long the broker may wait for the first new record before it sends
	// an empty answer; 500 ms by default.
	MaxWait time.Duration
	// MaxBytes is the size of an answer; 4 MiB by default. A first batch that is
	// larger arrives whole, up to 100 MiB.
	MaxBytes int32
	// MaxRecordBytes bounds what is kept of a record; 1 MiB by default. A longer value is
	// cut to so many bytes, and so are the key and all headers together; see [Cut]. A
	// record takes at most three times as much memory.
	MaxRecordBytes int
	// Timeout is how long a broker may be silent, beyond MaxWait, before the
	// connection is given up; 10 s by default.
	Timeout time.Duration

	// Admit, if set, is called with the size of each answer before memory is allocated
	// for it, and may wait. Its release is called once: by [Answer.Release], or by Fetch
	// if that fails. An error of Admit ends Fetch.
	Admit func(ctx context.Context, size int) (release func(), err error)
}

// Reader reads one partition over one connection to its leader, which it opens when it
// needs it, and again after each error. A Reader is for one goroutine at a time; its
// answers are independent of it.
type Reader struct {
	cfg    Config
	conn   *conn     // to the leader; nil if there is none
	known  []string  // the cluster's brokers as of the last metadata
	resume time.Time // the broker throttles until then
}

// NewReader returns a reader. It connects on first use.
func NewReader(cfg Config) *Reader {
	cfg.MaxWait = cmp.Or(cfg.MaxWait, defaultMaxWait)
	cfg.MaxBytes = min(cmp.Or(cfg.MaxBytes, defaultMaxBytes), maxBatchBytes)
	cfg.MaxRecordBytes = cmp.Or(cfg.MaxRecordBytes, defaultMaxRecordBytes)
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	if cfg.Admit == nil {
		cfg.Admit = func(context.Context, int) (func(), error) { return func() {}, nil }
	}
	return &Reader{cfg: cfg}
}

// Fetch requests the records from offset on. The answer may hold no record: none came
// within MaxWait, or there are only records that are not for consumers. Continue at
// [Answer.NextOffset] and call [Answer.Release] when done.
//
// Errors: [*OffsetOutOfRangeError] if the partition does not have the offset;
// [*CorruptBatchError] if the batch at the offset cannot be read; [*TooLargeError] if it
// is too large; ctx's own error, at once, when ctx ends. Any other error is of the network
// or the cluster, to be retried after a pause, and wraps a kafka.Error if the broker sent
// one. The connection is closed after an error, so the next call looks for the leader
// again.
func (r *Reader) Fetch(ctx context.Context, offset int64) (*Answer, error) {
	answer, err := r.fetch(ctx, offset)
	if errors.Is(err, kafka.OffsetOutOfRange) {
		err = r.outOfRange(ctx, offset)
	}
	if err != nil {
		return nil, r.fail(ctx, fmt.Sprintf("fetch %s/%d at offset %d", r.cfg.Topic, r.cfg.Partition, offset), err)
	}
	return answer, nil
}

// Offsets returns the offset of the first record that the partition has, and the end: one
// past the last offset that consumers can read, without open transactions. Errors are as
// those of Fetch, without its typed ones.
func (r *Reader) Offsets(ctx context.Context) (first, end int64, err error) {
	first, end, err = r.offsets(ctx)
	if err != nil {
		return 0, 0, r.fail(ctx, fmt.Sprintf("list offsets of %s/%d", r.cfg.Topic, r.cfg.Partition), err)
	}
	return first, end, nil
}

// emptyAnswers is after how many of them a broker has no more records, wherever the
// partition ends.
const emptyAnswers = 3

// Each calls use with the records in a range of offsets, and returns the offset up to which
// it read. A record is valid until use returns. Errors are as those of Fetch.
func (r *Reader) Each(ctx context.Context, from, end int64, use func(*Record)) (next int64, err error) {
	for empty := 0; from < end && empty < emptyAnswers; {
		answer, err := r.Fetch(ctx, from)
		if err != nil {
			return from, err
		}
		for {
			record, ok, err := answer.Next(ctx)
			if err != nil {
				answer.Release()
				return from, err
			}
			if !ok {
				break
			}
			use(&record)
		}
		empty++
		if next := answer.NextOffset(); next > from {
			from, empty = next, 0
		}
		answer.Release()
	}
	return from, nil
}

// Close closes the connection. To interrupt a Fetch cancel its context instead.
func (r *Reader) Close() error {
	if r.conn == nil {
		return nil
	}
	err := r.conn.Close()
	r.conn = nil
	return err
}

// fail closes the connection, on which an answer may be outstanding, and adds to the error
// what failed.
func (r *Reader) fail(ctx context.Context, doing string, err error) error {
	_ = r.Close() // it may be broken already, and err says why
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func (r *Reader) fetch(ctx context.Context, offset int64) (*Answer, error) {
	if err := r.rest(ctx); err != nil {
		return nil, err
	}
	conn, err := r.leader(ctx)
	if err != nil {
		return nil, err
	}
	for maxBytes := r.cfg.MaxBytes; ; {
		response, err := conn.fetch(ctx, r.cfg, offset, maxBytes)
		if err != nil {
			return nil, err
		}
		r.resume = time.Now().Add(response.throttle)
		answer, short, err := newAnswer(r.cfg, offset, response)
		if err == nil && short == 0 {
			return answer, nil
		}
		response.release()
		if err != nil {
			return nil, err
		}
		// Brokers send a first batch whole since Fetch version 3. One that does not must
		// not stop progress.
		if maxBytes >= maxBatchBytes {
			return nil, &TooLargeError{Topic: r.cfg.Topic, Partition: r.cfg.Partition, Size: short, Limit: int(maxBytes)}
		}
		maxBytes = max(int32(short), maxBytes*2)
	}
}

// rest waits while the broker throttles.
func (r *Reader) rest(ctx context.Context) error {
	pause := time.Until(r.resume)
	if pause <= 0 {
		return ctx.Err()
	}
	return retry.Sleep(ctx, pause)
}

func (r *Reader) outOfRange(ctx context.Context, offset int64) error {
	first, end, err := r.offsets(ctx)
	if err != nil {
		return fmt.Errorf("the offset is out of range, and the range is unknown: %w", err)
	}
	if first <= offset && offset <= end {
		return fmt.Errorf("refused, though the partition holds %d to %d by now: %w", first, end, kafka.OffsetOutOfRange)
	}
	return &OffsetOutOfRangeError{Topic: r.cfg.Topic, Partition: r.cfg.Partition, Offset: offset, First: first, End: end}
}

func (r *Reader) offsets(ctx context.Context) (first, end int64, err error) {
	conn, err := r.leader(ctx)
	if err != nil {
		return 0, 0, err
	}
	if first, err = conn.listOffset(ctx, r.cfg, kafka.FirstOffset); err != nil {
		return 0, 0, err
	}
	end, err = conn.listOffset(ctx, r.cfg, kafka.LastOffset)
	return first, end, err
}

// OffsetOutOfRangeError is the error of an offset that the partition does not have:
// retention has deleted it (Offset < First), or the log was truncated or the topic
// recreated (Offset > End). The caller decides where to continue.
type OffsetOutOfRangeError struct {
	Topic     string
	Partition int
	Offset    int64
	First     int64 // the first existing offset
	End       int64 // one past the last
}

func (e *OffsetOutOfRangeError) Error() string {
	return fmt.Sprintf("%s/%d: offset %d is out of range: the partition holds %d up to, but not including, %d",
		e.Topic, e.Partition, e.Offset, e.First, e.End)
}

// CorruptBatchError is the error of a batch that cannot be read. Fetching it again helps
// if the network or the disk of one broker caused it. Nothing of the batch was delivered,
// or only the records before the fault if the checksum was correct.
type CorruptBatchError struct {
	Topic     string
	Partition int
	Offset    int64 // the batch's first offset
	Next      int64 // one past its last offset; -1 if its header cannot be read
	Err       error // why
}

func (e *CorruptBatchError) Error() string {
	text := fmt.Sprintf("%s/%d: the batch at offset %d cannot be read: %v", e.Topic, e.Partition, e.Offset, e.Err)
	if e.Next >= 0 {
		text += fmt.Sprintf(" (the batch ends before offset %d)", e.Next)
	}
	return text
}

func (e *CorruptBatchError) Unwrap() error { return e.Err }

// TooLargeError is the error of an answer, or of its first batch, that is larger than this
// package reads into memory. Such a batch exists only if the topic's max.message.bytes
// allows it.
type TooLargeError struct {
	Topic     string
	Partition int
	Size      int // bytes
	Limit     int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s/%d: a batch or answer of %d bytes is over the limit of %d; decrease the topic's max.message.bytes, and skip this batch by setting the group's offset after it",
		e.Topic, e.Partition, e.Size, e.Limit)
}
