// Package archive keeps dead letters outside of Kafka and brings them back: as
// JSON lines, each a letter with its resolution, to the byte as they stood in the
// topic.
package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/index"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/deadletter/resolution"
	"github.com/orderhub/orderhub/libs/deadletter/store"
)

// Version is that of the lines.
const Version = 1

// Entry is a line: a letter, and its resolution if it has one.
type Entry struct {
	Version int          `json:"version"`
	ID      string       `json:"id"`
	Status  index.Status `json:"status"`
	// Masked says that people's data was taken out, so that the entry is no copy.
	Masked     bool    `json:"masked,omitempty"`
	Letter     Record  `json:"letter"`
	Resolution *Record `json:"resolution,omitempty"`
}

// Record is one of Kafka's. Bytes are base64 in JSON; null stays null.
type Record struct {
	Partition int32     `json:"partition"`
	Timestamp time.Time `json:"timestamp"`
	Key       []byte    `json:"key"`
	Value     []byte    `json:"value"`
	Headers   []Header  `json:"headers,omitempty"`
}

// Header is one of a record.
type Header struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

// EntryOf makes the entry of a letter that was loaded.
func EntryOf(item *store.Item) Entry {
	e := Entry{Version: Version, ID: item.ID, Status: item.Ref.Status, Letter: recordOf(item.Record)}
	if item.ResolutionRecord != nil {
		r := recordOf(item.ResolutionRecord)
		e.Resolution = &r
	}
	return e
}

func recordOf(r *kgo.Record) Record {
	made := Record{Partition: r.Partition, Timestamp: r.Timestamp.UTC(), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		made.Headers = append(made.Headers, Header{h.Key, h.Value})
	}
	return made
}

// Record is the record for a partition of a topic.
func (r *Record) Record(topic string, partition int32) *kgo.Record {
	made := &kgo.Record{Topic: topic, Partition: partition, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		made.Headers = append(made.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return made
}

// ErrEntry says that what is to be imported is wrong, not the broker.
var ErrEntry = errors.New("cannot be imported")

// Reader reads entries.
type Reader struct {
	decoder *json.Decoder
	read    int
}

// NewReader returns a Reader.
func NewReader(r io.Reader) *Reader { return &Reader{decoder: json.NewDecoder(r)} }

// Next gives the next entry, or io.EOF after the last. Any other error names the
// entry by its number, and is an ErrEntry.
func (r *Reader) Next() (Entry, error) {
	var e Entry
	r.read++
	err := r.decoder.Decode(&e)
	if errors.Is(err, io.EOF) {
		return e, io.EOF
	}
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return e, fmt.Errorf("entry %d %w: %w", r.read, ErrEntry, err)
	}
	return e, nil
}

// check refuses what would not be the same letter again.
func (e *Entry) check() error {
	switch {
	case e.Version != Version || e.ID == "":
		return errors.New("is no letter that 'dlq export' wrote")
	case e.Masked:
		return fmt.Errorf("%s: people's data was masked in it: export with --reveal to import", e.ID)
	}
	if l := letter.Parse(e.Letter.Record("", 0)); l.Format != letter.Orderhub || l.ID != e.ID {
		return fmt.Errorf("%s: is a letter that others wrote, which is known by its place in its own topic", e.ID)
	}
	if e.Resolution == nil {
		return nil
	}
	if id, is := resolution.Of(e.Resolution.Record("", 0)); !is || id != e.ID || e.Resolution.Value == nil {
		return fmt.Errorf("%s: its resolution is not one of it", e.ID)
	}
	return nil
}
