package dlq

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// An archive keeps letters outside of Kafka, as JSON lines, each a letter with its
// resolution, byte for byte as they are in the topic.

// archiveVersion is that of the lines.
const archiveVersion = 1

// ArchiveEntry is a line of an archive: a letter, and its resolution if it has one.
type ArchiveEntry struct {
	Version int           `json:"version"`
	ID      string        `json:"id"`
	Status  letter.Status `json:"status"`
	// Masked says that personal data was removed, so that the entry is no copy.
	Masked     bool           `json:"masked,omitempty"`
	Letter     ArchiveRecord  `json:"letter"`
	Resolution *ArchiveRecord `json:"resolution,omitempty"`
}

// ArchiveRecord is a record of Kafka. Bytes are base64 in JSON; null stays null.
type ArchiveRecord struct {
	Partition int32           `json:"partition"`
	Timestamp time.Time       `json:"timestamp"`
	Key       []byte          `json:"key"`
	Value     []byte          `json:"value"`
	Headers   []ArchiveHeader `json:"headers,omitempty"`
}

// ArchiveHeader is a header of a record.
type ArchiveHeader struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

// ArchiveEntryOf makes the entry of a letter that was loaded.
func ArchiveEntryOf(item *Item) ArchiveEntry {
	e := ArchiveEntry{Version: archiveVersion, ID: item.ID, Status: item.Ref.Status, Letter: archiveRecordOf(item.Record)}
	if item.ResolutionRecord != nil {
		r := archiveRecordOf(item.ResolutionRecord)
		e.Resolution = &r
	}
	return e
}

func archiveRecordOf(r *kgo.Record) ArchiveRecord {
	made := ArchiveRecord{Partition: r.Partition, Timestamp: r.Timestamp.UTC(), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		made.Headers = append(made.Headers, ArchiveHeader(h))
	}
	return made
}

func (r *ArchiveRecord) record(topic string, partition int32) *kgo.Record {
	made := &kgo.Record{Topic: topic, Partition: partition, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		made.Headers = append(made.Headers, kgo.RecordHeader(h))
	}
	return made
}

// ErrEntry means that the archive is wrong, not the broker.
var ErrEntry = errors.New("cannot be imported")

// ErrThere says that a letter was not imported.
var ErrThere = errors.New("is there already")

// check refuses what would not be the same letter again.
func (e *ArchiveEntry) check() error {
	switch {
	case e.Version != archiveVersion || e.ID == "":
		return errors.New("is no letter that 'dlq export' wrote")
	case e.Masked:
		return fmt.Errorf("%s: personal data is masked in it: export with --reveal to import", e.ID)
	}
	if l := letter.Parse(e.Letter.record("", 0)); l.Format != letter.Orderhub || l.ID != e.ID {
		return fmt.Errorf("%s: another system wrote this letter, and identifies it by its place in its own topic", e.ID)
	}
	if e.Resolution == nil {
		return nil
	}
	if id, is := letter.ResolutionOf(e.Resolution.record("", 0)); !is || id != e.ID || e.Resolution.Value == nil {
		return fmt.Errorf("%s: its resolution belongs to another letter, or is none", e.ID)
	}
	return nil
}

// Import writes the letters of an archive, with their resolutions, that the topic
// does not have, to the partition that to names, or by its key, or as they were where
// that partition exists. It calls before with the ids of letters that it is about to write,
// some at a time, and writes nothing more after an error of it. It calls done for each
// letter, with ErrThere or ErrErased if it was not written. What is there stays as it is, so
// an interrupted import can be run again. An error of the archive names the entry by its
// number, and is an ErrEntry.
func (q *Queue) Import(ctx context.Context, archive io.Reader, to Target, before func(ids []string) error, done func(id string, why error)) error {
	if !q.onlyOurs() {
		return errors.New("letters cannot be imported into a topic that others write")
	}
	partitions, err := q.client.Partitions(ctx, q.opts.Topic)
	if err != nil {
		return err
	}
	if to.Partition != nil && *to.Partition >= partitions {
		return fmt.Errorf("%w: topic %s has no partition %d, only 0 to %d", ErrTarget, q.opts.Topic, *to.Partition, partitions-1)
	}
	place := func(e *ArchiveEntry) {
		switch was := e.Letter.Partition; {
		case to.Partition != nil:
			e.Letter.Partition = *to.Partition
		case to.ByKey || was < 0 || was >= partitions:
			e.Letter.Partition = partitionOf(e.ID, partitions)
		}
	}
	view, err := q.Scan(ctx, letter.Filter{})
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(archive)
	var some []ArchiveEntry
	for read := 1; ; read++ {
		var e ArchiveEntry
		failure := decoder.Decode(&e)
		if failure == nil {
			failure = e.check()
		}
		if failure == nil {
			place(&e)
			if some = append(some, e); len(some) < chunkLetters {
				continue
			}
		}
		if err := q.insert(ctx, view, some, before, done); err != nil || errors.Is(failure, io.EOF) {
			return err
		}
		if failure != nil {
			return fmt.Errorf("entry %d %w: %w", read, ErrEntry, failure)
		}
		some = nil
	}
}

// insert writes the resolutions first: where it fails in between, no letter is
// open that was not.
func (q *Queue) insert(ctx context.Context, view *View, entries []ArchiveEntry, before func(ids []string) error, done func(id string, why error)) error {
	if err := view.Refresh(ctx); err != nil { // orders may be erased meanwhile
		return err
	}
	why := make([]error, len(entries))
	var ids []string
	var resolutions, letters []*kgo.Record
	for i := range entries {
		e := &entries[i]
		l := letter.Parse(e.Letter.record("", 0))
		erased, err := q.IsErased(l.SourceKey, l.Value)
		if err != nil {
			return err
		}
		known, exists := view.lookup(e.ID)
		switch {
		case erased:
			why[i] = ErrErased
			continue
		case exists && known.HasLetter():
			why[i] = ErrThere
			continue
		}
		partition := e.Letter.Partition
		if exists {
			partition = known.resolution().Partition // as it is there
		}
		ids = append(ids, e.ID)
		letters = append(letters, e.Letter.record(q.opts.Topic, partition))
		if e.Resolution != nil && !exists {
			resolutions = append(resolutions, e.Resolution.record(q.opts.Topic, partition))
		}
	}
	if len(ids) > 0 {
		if err := before(ids); err != nil {
			return err
		}
	}
	for _, records := range [][]*kgo.Record{resolutions, letters} {
		if err := q.client.produceAll(ctx, records); err != nil {
			return err
		}
	}
	for i, e := range entries {
		done(e.ID, why[i])
	}
	return nil
}

// partitionOf is the partition that an id decides.
func partitionOf(id string, partitions int32) int32 {
	sum := sha256.Sum256([]byte(id))
	return int32(binary.BigEndian.Uint32(sum[:]) % uint32(partitions))
}
