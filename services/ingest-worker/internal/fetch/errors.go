package fetch

import "fmt"

// OffsetOutOfRangeError says that the partition doesn't hold Offset: retention
// has passed it by (Offset < First), or the log was truncated or the topic made
// anew (Offset > End). Going on elsewhere is for the caller to decide and to say.
type OffsetOutOfRangeError struct {
	Topic     string
	Partition int
	Offset    int64
	First     int64 // the first offset that is there
	End       int64 // one past the last
}

func (e *OffsetOutOfRangeError) Error() string {
	return fmt.Sprintf("%s/%d: offset %d is out of range: the partition holds %d up to, but not including, %d",
		e.Topic, e.Partition, e.Offset, e.First, e.End)
}

// CorruptBatchError says that a batch cannot be read. Fetching it again helps
// where the network or the disk of one broker is to blame. Nothing of the batch
// was delivered, or, where its checksum was right and its content was not, only
// the records before the fault.
type CorruptBatchError struct {
	Topic     string
	Partition int
	Offset    int64 // the batch's first offset
	Next      int64 // one past its last offset; -1 where its header cannot be read
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

// TooLargeError says that the broker's answer, or the first batch in it, is larger
// than this package takes into memory. Such a batch can only be there where the
// topic's max.message.bytes allows it.
type TooLargeError struct {
	Topic     string
	Partition int
	Size      int // bytes
	Limit     int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s/%d: a batch or answer of %d bytes is over the limit of %d; lower the topic's max.message.bytes, and pass this batch by setting the group's offset after it",
		e.Topic, e.Partition, e.Size, e.Limit)
}
