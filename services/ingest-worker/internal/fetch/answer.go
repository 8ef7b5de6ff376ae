package fetch

import (
	"context"
	"fmt"
	"sync"
)

// Answer is what a Fetch brought. It is for one goroutine at a time.
type Answer struct {
	// LastStableOffset is one past the last offset that consumers can read,
	// LogStartOffset the first; -1 if the broker does not say.
	LastStableOffset int64
	LogStartOffset   int64
	// How many records of the answer are not for consumers, by the batches' headers:
	// those of aborted transactions, and the transactions' markers.
	AbortedRecords int
	ControlRecords int

	cfg     Config
	release func()
	next    int64         // where to fetch on
	wanted  int64         // records before it are not delivered
	batches []batch       // to be delivered, including the present one
	reading *recordReader // of the first batch; nil until it is begun
	read    int32         // how many records of the first batch were read
	before  int64         // the offset of the last of them
	memory  memory
	wide    bool  // the first batch needs a large zstd window
	err     error // what ended the answer
}

// newAnswer reads the headers of the batches of a response. If the response has only a
// part of the first one, short is the number of bytes to request instead.
func newAnswer(cfg Config, offset int64, r *response) (a *Answer, short int, err error) {
	a = &Answer{
		LastStableOffset: r.lastStableOffset, LogStartOffset: r.logStartOffset,
		cfg: cfg, release: sync.OnceFunc(r.release), next: offset, wanted: offset,
	}
	transactions := newTransactions(r.aborted)
	for rest := r.records; len(rest) > 0; {
		b, size, ok, err := parseBatch(rest)
		if err == nil && !ok {
			if len(rest) < len(r.records) {
				break // the answer is full; the next one begins with this batch
			}
			if size > maxBatchBytes {
				return nil, 0, &TooLargeError{Topic: cfg.Topic, Partition: cfg.Partition, Size: size, Limit: maxBatchBytes}
			}
			return nil, max(size, 1), nil
		}
		aborted := false
		if err == nil {
			aborted, err = transactions.aborts(&b)
		}
		if err != nil {
			if a.next > offset {
				break // the batches before it are valid; the next answer begins with it
			}
			return nil, 0, a.corrupt(&b, err)
		}
		a.add(b, aborted)
		rest = rest[size:]
	}
	return a, 0, nil
}

func (a *Answer) add(b batch, aborted bool) {
	if b.last < a.next {
		return
	}
	a.next = b.last + 1
	switch {
	case b.control():
		a.ControlRecords += int(b.count)
	case aborted:
		a.AbortedRecords += int(b.count)
	case b.count > 0:
		a.batches = append(a.batches, b)
	}
}

func (a *Answer) corrupt(b *batch, err error) error {
	next := int64(-1)
	if b.last >= 0 {
		next = b.last + 1
	}
	return &CorruptBatchError{Topic: a.cfg.Topic, Partition: a.cfg.Partition, Offset: b.base, Next: next, Err: err}
}

// NextOffset is the offset to fetch next: past the last batch's last offset, even if
// batches were emptied or cut by compaction, or skipped; the requested offset if there are
// no batches. It is known from the beginning, so that the next Fetch can run while this
// answer's records are processed. It is valid only if Next ends without an error.
func (a *Answer) NextOffset() int64 { return a.next }

// Next returns the next record from the requested offset on, or ok = false after the last.
// The error is a [*CorruptBatchError], or ctx's if that ends during decompression. Every
// further call returns the same error; fetch again after the last record.
func (a *Answer) Next(ctx context.Context) (rec Record, ok bool, err error) {
	for a.err == nil && len(a.batches) > 0 {
		rec, ok, err = a.step(ctx)
		if err != nil {
			a.fault(ctx, err)
		} else if ok {
			return rec, true, nil
		}
	}
	return Record{}, false, a.err
}

// step reads one record, or ends the first batch; ok is false if that gives no record to
// deliver.
func (a *Answer) step(ctx context.Context) (Record, bool, error) {
	b := &a.batches[0]
	if a.reading == nil {
		reading, err := newRecordReader(ctx, b, a.cfg.MaxRecordBytes, a.wide, &a.memory)
		if err != nil {
			return Record{}, false, err
		}
		a.reading, a.read, a.before = reading, 0, b.base-1
	}
	if a.read == b.count {
		if err := a.reading.end(ctx); err != nil {
			return Record{}, false, err
		}
		a.closeSource()
		a.batches = a.batches[1:]
		a.wide = false
		return Record{}, false, nil
	}
	rec, err := a.reading.next(ctx, a.wanted)
	if err != nil {
		return Record{}, false, err
	}
	a.read++
	switch {
	case rec.Offset < b.base || rec.Offset > b.last:
		return Record{}, false, errRecordOffset
	case rec.Offset <= a.before:
		return Record{}, false, errRecordSequence
	}
	a.before = rec.Offset
	if rec.Offset < a.wanted {
		return Record{}, false, nil
	}
	a.wanted = rec.Offset + 1
	return rec, true, nil
}

// fault ends the answer with an error, unless the batch can be read with a wide window.
func (a *Answer) fault(ctx context.Context, err error) {
	a.closeSource()
	if needsWide(err) && !a.wide {
		a.wide = true // records that were delivered are before wanted
		return
	}
	if ctx.Err() != nil {
		a.err = fmt.Errorf("read %s/%d: %w", a.cfg.Topic, a.cfg.Partition, ctx.Err())
		return
	}
	a.err = a.corrupt(&a.batches[0], err)
}

func (a *Answer) closeSource() {
	if a.reading != nil {
		a.reading.close()
		a.reading = nil
	}
}

// Release releases what Config.Admit admitted and what decompression uses. It must be
// called, and can be called again. Next must not be called after it.
func (a *Answer) Release() {
	a.closeSource()
	a.batches, a.memory = nil, memory{}
	a.release()
}
