package fetch

import "fmt"

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
