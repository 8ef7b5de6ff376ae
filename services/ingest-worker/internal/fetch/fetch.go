// Package fetch reads one partition of a Kafka topic exactly: each committed
// record once, in order, with nothing left out and nothing made up.
//
// It speaks the Fetch request itself, over kafka-go's protocol packages, because
// kafka-go's own readers cannot be exact: they stand still on batches that
// compaction has emptied or cut, compare no checksums, cannot tell null from
// empty, deliver the records of aborted transactions, and decompress without
// bound. Here
//   - the CRC-32C of each batch is compared before its records are delivered;
//   - reading goes on after a batch's last offset, whatever is left in it;
//   - isolation is always read_committed: records of aborted transactions and
//     control records are skipped and counted;
//   - compressed batches are decompressed as a stream, record by record, in
//     bounded memory, however much they hold; see [Config.MaxRecordBytes];
//   - only batches of format 2 are read, the one of Kafka 0.11 and later. One of
//     an older format is a [*CorruptBatchError] that names the format.
package fetch

import (
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

	// maxBatchBytes is how large a single batch may be. A batch arrives whole,
	// whatever MaxBytes says, so this bounds an answer's memory.
	maxBatchBytes = 100 << 20
)

// Config says what to read and how. Topic, Brokers and Dialer are needed; for
// the rest zero means the default.
type Config struct {
	// Brokers are the addresses, host:port, that are asked in turn for the
	// partition's leader.
	Brokers []string
	// Dialer opens the connections. Of its fields ClientID, Timeout (10 s where
	// it is 0, for all of connecting), TLS, SASLMechanism, DialFunc, LocalAddr
	// and KeepAlive are used.
	Dialer *kafka.Dialer

	Topic     string
	Partition int

	// MaxWait is how long the broker may wait for the first new record before it
	// gives an empty answer; 500 ms by default.
	MaxWait time.Duration
	// MaxBytes is the size of an answer; 4 MiB by default. A first batch that is
	// larger arrives whole, up to 100 MiB.
	MaxBytes int32
	// MaxRecordBytes bounds what is kept of a record; 1 MiB by default. A longer
	// value is cut to so many bytes, and so are the key, and the headers taken
	// together; see [Cut]. A record takes no more than three times as much memory.
	MaxRecordBytes int
	// Timeout is how long a broker may be silent, beyond MaxWait, before the
	// connection is given up; 10 s by default.
	Timeout time.Duration

	// Admit, where set, is called with the size of each answer before memory is
	// taken for it, and may wait for room. Its release is called once: by
	// [Answer.Release], or by Fetch if that fails. An error of Admit's ends Fetch.
	Admit func(ctx context.Context, size int) (release func(), err error)
}

// Reader reads one partition over one connection to its leader, which it opens
// when it is needed, and anew after each error. A Reader is for one goroutine at a
// time; the answers it gave are independent of it.
type Reader struct {
	cfg    Config
	conn   *conn     // to the leader; nil when there is none
	known  []string  // the cluster's brokers by the last metadata
	resume time.Time // the broker asked for quiet until then
}

// NewReader makes a reader. It connects on first use.
func NewReader(cfg Config) *Reader {
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = defaultMaxWait
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	cfg.MaxBytes = min(cfg.MaxBytes, maxBatchBytes)
	if cfg.MaxRecordBytes <= 0 {
		cfg.MaxRecordBytes = defaultMaxRecordBytes
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Admit == nil {
		cfg.Admit = func(context.Context, int) (func(), error) { return func() {}, nil }
	}
	return &Reader{cfg: cfg}
}

// Fetch asks for the records from offset on. The answer may hold no record: none
// came within MaxWait, or what is there is not for consumers. Go on at
// [Answer.NextOffset] and call [Answer.Release] when done.
//
// Errors: [*OffsetOutOfRangeError] where the partition doesn't hold the offset;
// [*CorruptBatchError] where the batch at the offset cannot be read;
// [*TooLargeError] where it is too large; ctx's own error, at once, when ctx ends;
// anything else is trouble with the network or the cluster, to be retried after a
// pause, and is a kafka.Error underneath where the broker named it. The
// connection is closed after an error, so the next call looks for the leader anew.
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

// Offsets asks for the offset of the first record that the partition holds, and
// for the end: one past the last that consumers can read, not counting open
// transactions. Errors are as those of Fetch, without its typed ones.
func (r *Reader) Offsets(ctx context.Context) (first, end int64, err error) {
	first, end, err = r.offsets(ctx)
	if err != nil {
		return 0, 0, r.fail(ctx, fmt.Sprintf("list offsets of %s/%d", r.cfg.Topic, r.cfg.Partition), err)
	}
	return first, end, nil
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

// fail closes the connection, on which an answer may be outstanding, and says
// what was being done.
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
		// Brokers send a first batch whole since Fetch version 3. One that
		// doesn't must not hold us in place.
		if maxBytes >= maxBatchBytes {
			return nil, &TooLargeError{Topic: r.cfg.Topic, Partition: r.cfg.Partition, Size: short, Limit: int(maxBytes)}
		}
		maxBytes = max(int32(short), maxBytes*2)
	}
}

// rest waits out the time for which the broker throttles us.
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
