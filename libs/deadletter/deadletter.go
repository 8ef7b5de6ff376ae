// Package deadletter defines the form of a dead letter: a record that could not be
// stored, as it is in the dead-letter topic. Operators look at it there, repair it
// and send it again.
//
// The key is the letter's [ID], the value the source record's bytes untouched,
// and the headers are the source record's own, unchanged, plus ours. The same
// source record gives the same id however often it is read, so the compacted
// topic keeps one letter of it.
package deadletter

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/model"
)

// The headers that a letter has besides its source record's own.
const (
	HeaderReason          = "dlq-reason"           // a stable code, see Reason
	HeaderStage           = "dlq-stage"            // decode, validate, conflict or write
	HeaderErrors          = "dlq-errors"           // JSON array of {path, rule, message}
	HeaderSourceTopic     = "dlq-source-topic"     //
	HeaderSourcePartition = "dlq-source-partition" // decimal
	HeaderSourceOffset    = "dlq-source-offset"    // decimal
	HeaderSourceTimestamp = "dlq-source-timestamp" // RFC 3339
	HeaderSourceKey       = "dlq-source-key"       // the source record's key, raw; absent where the key is null
	HeaderConsumerGroup   = "dlq-consumer-group"   //
	HeaderFailedAt        = "dlq-failed-at"        // RFC 3339
	HeaderRedriveCount    = "dlq-redrive-count"    // decimal, 0 for a record that was never redriven
	HeaderOrigin          = "dlq-origin"           // id of the first letter in a row of redrives
	HeaderRules           = "dlq-rules"            // version of the rules file; absent without one
	HeaderTruncated       = "dlq-truncated"        // JSON Truncation, where the value was cut
	HeaderValue           = "dlq-value"            // "null" where the source's value is null and the letter's empty
)

// Headers of a copy whose value was edited before it was sent back. They
// stay with the record: a letter of it has them among its source's headers.
const (
	HeaderEditedBy   = "dlq-edited-by"   // who
	HeaderEditedFrom = "dlq-edited-from" // id of the letter with the value as it was
)

// Headers of a redriven copy that say as which record it counts among the versions of its
// order: as the first one, of the letter that HeaderOrigin names. They stay with the
// record, too.
const (
	HeaderOriginPartition = "dlq-origin-partition" // decimal
	HeaderOriginOffset    = "dlq-origin-offset"    // decimal
	HeaderOriginTimestamp = "dlq-origin-timestamp" // RFC 3339
)

// HeaderNATSTimestamp is of the bridge: when NATS stored the message. RFC 3339.
const HeaderNATSTimestamp = "nats-timestamp"

// The headers by which other tools find where a record came from. The names, and the
// numbers as big-endian bytes, are those of Spring Kafka, which more tools read than any
// others; it has none for the key. They repeat what ours say, and Parse ignores them.
const (
	SpringTopic     = "kafka_dlt-original-topic"
	SpringPartition = "kafka_dlt-original-partition"
	SpringOffset    = "kafka_dlt-original-offset"
	SpringTimestamp = "kafka_dlt-original-timestamp"
	SpringKey       = "kafka_dlt-original-key" // raw; absent where the key is null or long
	SpringGroup     = "kafka_dlt-original-consumer-group"
	SpringClass     = "kafka_dlt-exception-fqcn"    // the reason
	SpringMessage   = "kafka_dlt-exception-message" // the first failure
)

// maxKeyForOthers keeps a long key from being in the letter twice.
const maxKeyForOthers = 1 << 10

// ForOthers says whether a header of our letters is one that only other tools read.
func ForOthers(name string) bool {
	switch name {
	case SpringTopic, SpringPartition, SpringOffset, SpringTimestamp, SpringKey, SpringGroup, SpringClass, SpringMessage:
		return true
	}
	return false
}

// ours says whether a header name is one of those above.
func ours(name string) bool {
	switch name {
	case HeaderReason, HeaderStage, HeaderErrors, HeaderSourceTopic, HeaderSourcePartition, HeaderSourceOffset,
		HeaderSourceTimestamp, HeaderSourceKey, HeaderConsumerGroup, HeaderFailedAt, HeaderRedriveCount,
		HeaderOrigin, HeaderRules, HeaderTruncated, HeaderValue:
		return true
	}
	return ForOthers(name)
}

// Stage says where a record failed.
type Stage string

// The stages, in the order in which a record passes them.
const (
	StageDecode   Stage = "decode"
	StageValidate Stage = "validate"
	StageConflict Stage = "conflict" // the order is stored with other content
	StageWrite    Stage = "write"    // the database refused the order for its content
)

// Reasons of the stages after validation; those before are model.Reason.
const (
	ReasonConflict = "conflict"
	ReasonRefused  = "refused_by_database"
)

// Reasons returns the reasons that a letter of the worker can have.
func Reasons() []string {
	reasons := []string{ReasonConflict, ReasonRefused}
	for _, reason := range model.Reasons() {
		reasons = append(reasons, string(reason))
	}
	return reasons
}

// maxErrorsBytes bounds the header dlq-errors. What is cut off is counted in
// its last entry.
const maxErrorsBytes = 32 << 10

// Header is a record's header.
type Header struct {
	Key   string
	Value []byte
}

// IsTombstone reports whether it removes a letter.
func (l *Letter) IsTombstone() bool { return l.Value == nil }

// Source is the record that could not be stored.
type Source struct {
	Topic     string
	Partition int
	Offset    int64
	Timestamp time.Time // to the millisecond, as Kafka keeps it
	Key       []byte    // nil means null
	Value     []byte    // nil means null
	Headers   []Header
	// Truncated says that Value is only the beginning.
	Truncated *Truncation
}

// Stamp says how new the record is: a redriven copy is as new as the first record, and a
// message of NATS, which the bridge may send twice or late, as new as it is there. nil is that
// of a value that is no record of a topic.
func (s *Source) Stamp(version *int64) *model.Stamp {
	if s.Topic == "" {
		return nil
	}
	stamp := &model.Stamp{Version: version, Time: writable(s.Timestamp), Partition: int32(s.Partition), Offset: s.Offset}
	// Nearly all records have none of these headers: each error of parsing would be allocated.
	if origin := s.Header(HeaderOriginPartition); origin != nil {
		partition, failed := strconv.ParseInt(string(origin), 10, 32)
		offset, wrong := strconv.ParseInt(string(s.Header(HeaderOriginOffset)), 10, 64)
		at, err := time.Parse(time.RFC3339, string(s.Header(HeaderOriginTimestamp)))
		if failed == nil && wrong == nil && err == nil {
			stamp.Time, stamp.Partition, stamp.Offset = writable(at), int32(partition), offset
		}
	}
	if stored := s.Header(HeaderNATSTimestamp); stored != nil {
		if at, err := time.Parse(time.RFC3339, string(stored)); err == nil {
			stamp.Time = writable(at)
		}
	}
	return stamp
}

// writable is the nearest time that RFC 3339 and PostgreSQL can write. Producers may send any
// number, such as nanoseconds for milliseconds, or none.
func writable(t time.Time) time.Time {
	return time.UnixMilli(min(max(t.UnixMilli(), 0), lastMilli)).UTC()
}

const lastMilli = 253402300799999 // of the year 9999

// Header is the value of the last header with a name; nil if there is none.
func (s *Source) Header(name string) (value []byte) {
	for _, h := range s.Headers {
		if h.Key == name {
			value = h.Value
		}
	}
	return value
}

// headerCost is what a header counts for besides its bytes.
const headerCost = 64

// Cut keeps limit bytes of the key, of the value, and of all headers together, as the
// worker does while it reads, and says so in Truncated. Without it a record that is larger
// would have a letter with another id.
func (s *Source) Cut(limit int) {
	headers, room := 0, limit
	for _, h := range s.Headers {
		if room -= headerCost + len(h.Key) + len(h.Value); room < 0 {
			break
		}
		headers++
	}
	if len(s.Key) <= limit && len(s.Value) <= limit && headers == len(s.Headers) {
		return
	}
	size, sum := int64(-1), [sha256.Size]byte{} // of null
	if s.Value != nil {
		size, sum = int64(len(s.Value)), sha256.Sum256(s.Value)
	}
	s.Truncated = &Truncation{Size: size, SHA256: hex.EncodeToString(sum[:])}
	s.Key, s.Value, s.Headers = s.Key[:min(len(s.Key), limit)], s.Value[:min(len(s.Value), limit)], s.Headers[:headers]
}

// Truncation says what a value was before it was cut.
type Truncation struct {
	Size   int64  `json:"size"`   // in bytes
	SHA256 string `json:"sha256"` // of the whole value, lower-case hex
}

// Cause is why the record could not be stored.
type Cause struct {
	Reason string
	Stage  Stage
	Errors []model.FieldError
	// Rules is the version of the rules file by which the record was judged; "" without
	// one.
	Rules string
}

// Letter is a dead letter as a record of the dead-letter topic.
type Letter struct {
	ID      string
	Reason  string
	Value   []byte // nil: a tombstone, which removes the letter
	Headers []Header
}

// New writes the letter of a source record. The letter shares the source's
// bytes.
func New(source Source, cause Cause, group string, failedAt time.Time) Letter {
	id := ID(source)
	letter := Letter{ID: id, Reason: cause.Reason, Value: source.Value, Headers: make([]Header, 0, len(source.Headers)+22)}
	origin, redrives := id, "0"
	for _, h := range source.Headers {
		switch {
		case h.Key == HeaderOrigin && len(h.Value) > 0:
			origin = string(h.Value)
		case h.Key == HeaderRedriveCount && isCount(h.Value):
			redrives = string(h.Value)
		case !ours(h.Key):
			letter.Headers = append(letter.Headers, h)
		}
	}
	add := func(key, value string) {
		letter.Headers = append(letter.Headers, Header{Key: key, Value: []byte(value)})
	}
	add(HeaderReason, cause.Reason)
	add(HeaderStage, string(cause.Stage))
	add(HeaderErrors, errorsJSON(cause.Errors))
	add(HeaderSourceTopic, source.Topic)
	add(HeaderSourcePartition, strconv.Itoa(source.Partition))
	add(HeaderSourceOffset, strconv.FormatInt(source.Offset, 10))
	add(HeaderSourceTimestamp, writable(source.Timestamp).Format(time.RFC3339Nano))
	if source.Key != nil {
		letter.Headers = append(letter.Headers, Header{Key: HeaderSourceKey, Value: source.Key})
	}
	add(HeaderConsumerGroup, group)
	add(HeaderFailedAt, failedAt.UTC().Format(time.RFC3339Nano))
	add(HeaderRedriveCount, redrives)
	add(HeaderOrigin, origin)
	if cause.Rules != "" {
		add(HeaderRules, cause.Rules)
	}
	if source.Value == nil {
		letter.Value = []byte{}
		add(HeaderValue, "null")
	}
	if source.Truncated != nil {
		letter.Headers = append(letter.Headers, truncatedHeader(*source.Truncated))
	}
	if IsNATS(source.Topic) { // to which other tools cannot send anything back
		return letter
	}
	add(SpringTopic, source.Topic)
	letter.Headers = append(letter.Headers,
		Header{SpringPartition, binary.BigEndian.AppendUint32(nil, uint32(source.Partition))},
		Header{SpringOffset, binary.BigEndian.AppendUint64(nil, uint64(source.Offset))},
		Header{SpringTimestamp, binary.BigEndian.AppendUint64(nil, uint64(source.Timestamp.UnixMilli()))})
	if source.Key != nil && len(source.Key) <= maxKeyForOthers {
		letter.Headers = append(letter.Headers, Header{SpringKey, source.Key})
	}
	add(SpringGroup, group)
	add(SpringClass, cause.Reason)
	if len(cause.Errors) > 0 {
		add(SpringMessage, cause.Errors[0].String())
	}
	return letter
}

// ID names the letter of a source record: its coordinates, and 8 hex digits of
// the SHA-256 over its timestamp (milliseconds since 1970, 8 bytes, big-endian)
// and value, so that a topic made anew does not overwrite the letters of the one
// before. Of a value that was cut before it was read whole, its SHA-256 stands
// for it. The coordinates of a NATS message have no partition: nats/STREAM/SEQUENCE.
func ID(source Source) string {
	h := sha256.New()
	var millis [8]byte
	binary.BigEndian.PutUint64(millis[:], uint64(source.Timestamp.UnixMilli()))
	h.Write(millis[:])
	if source.Truncated != nil {
		h.Write([]byte(source.Truncated.SHA256))
	} else {
		h.Write(source.Value)
	}
	digits := hex.EncodeToString(h.Sum(nil)[:4])
	if IsNATS(source.Topic) {
		return fmt.Sprintf("%s/%d/%s", source.Topic, source.Offset, digits)
	}
	return fmt.Sprintf("%s/%d/%d/%s", source.Topic, source.Partition, source.Offset, digits)
}

// natsPrefix marks a source topic that is a NATS stream: no Kafka topic has a slash.
const natsPrefix = "nats/"

// NATSTopic is the source topic of a message of a NATS stream (a channel in NATS
// Streaming) that could not be produced. The source's offset is the message's
// sequence, and it has no partition. It is redriven to the topic of the orders.
func NATSTopic(stream string) string { return natsPrefix + stream }

// IsNATS reports whether a source topic is a NATS stream.
func IsNATS(topic string) bool { return strings.HasPrefix(topic, natsPrefix) }

// Shorten cuts a letter that the topic refuses for its size, each time further: first the
// value, then the source's headers. It reports whether anything could be cut.
func (l *Letter) Shorten() bool {
	for _, size := range []int{900_000, 200_000, 10_000, 0} {
		if len(l.Value) > size {
			l.Truncate(size)
			return true
		}
	}
	before := l.Size()
	l.DropSourceHeaders()
	return l.Size() < before
}

// Truncate cuts the letter's value to size bytes and says so in a header. It is
// for a letter that the topic does not take whole. A letter that is cut already
// keeps what the header says of the whole value.
func (l *Letter) Truncate(size int) {
	if len(l.Value) <= size {
		return
	}
	whole := Truncation{Size: int64(len(l.Value)), SHA256: hexSum(l.Value)}
	l.Value = l.Value[:size]
	for _, h := range l.Headers {
		if h.Key == HeaderTruncated {
			return
		}
	}
	l.Headers = append(l.Headers, truncatedHeader(whole))
}

// DropSourceHeaders leaves only our own headers, for a source record whose
// headers alone are larger than the topic takes.
func (l *Letter) DropSourceHeaders() {
	kept := make([]Header, 0, len(l.Headers))
	for _, h := range l.Headers {
		if ours(h.Key) && h.Key != HeaderSourceKey && h.Key != SpringKey || strings.HasPrefix(h.Key, HeaderOrigin) {
			kept = append(kept, h)
		}
	}
	l.Headers = kept
}

// Size is about how many bytes the letter takes as a record.
func (l *Letter) Size() int {
	size := len(l.ID) + len(l.Value) + 32
	for _, h := range l.Headers {
		size += len(h.Key) + len(h.Value) + 8
	}
	return size
}

func truncatedHeader(t Truncation) Header {
	value, err := json.Marshal(t)
	if err != nil {
		panic(err) // a number and a string
	}
	return Header{Key: HeaderTruncated, Value: value}
}

func hexSum(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:])
}

func errorsJSON(failures []model.FieldError) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, f := range failures {
		one, err := json.Marshal(f)
		if err != nil {
			panic(err) // strings only
		}
		if b.Len()+len(one) > maxErrorsBytes {
			rest, _ := json.Marshal(model.FieldError{Rule: "more", Message: fmt.Sprintf("and %d more failures", len(failures)-i)})
			one, failures = rest, nil
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(one)
		if failures == nil {
			break
		}
	}
	b.WriteByte(']')
	return b.String()
}

func isCount(value []byte) bool {
	n, err := strconv.Atoi(string(value))
	return err == nil && n >= 0
}
