package letter

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// HeaderResolution marks a resolution; its value is the ResolutionKind.
const HeaderResolution = "dlq-resolution"

const keySuffix = "/resolution"

// ResolutionKind says what was done with a letter.
type ResolutionKind string

// The kinds.
const (
	Redriven  ResolutionKind = "redriven"
	Discarded ResolutionKind = "discarded"
)

// Resolution is what was done with a letter.
type Resolution struct {
	ID     string         `json:"-"` // the letter's
	Kind   ResolutionKind `json:"-"`
	By     string         `json:"by"`
	When   time.Time      `json:"when"`
	Why    string         `json:"why,omitempty"`
	Became string         `json:"became,omitempty"` // of a redriven letter: topic/partition/offset of the copy
	Edited bool           `json:"edited,omitempty"` // the copy's value is not the letter's
}

// ResolutionKey is the key of a letter's resolution.
func ResolutionKey(id string) string { return id + keySuffix }

// Record writes a resolution.
func (r Resolution) Record(topic string, partition int32) *kgo.Record {
	r.When = r.When.UTC()
	value, err := json.Marshal(r)
	if err != nil {
		panic(err) // texts, and a time of this millennium
	}
	return &kgo.Record{
		Topic: topic, Partition: partition, Key: []byte(ResolutionKey(r.ID)), Value: value,
		Headers: []kgo.RecordHeader{{Key: HeaderResolution, Value: []byte(r.Kind)}},
	}
}

// UndoRecord is the tombstone of a letter's resolution.
func UndoRecord(topic string, partition int32, id string) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(ResolutionKey(id))}
}

// ResolutionOf says whether a record is a resolution or the tombstone of one (its value is
// nil then), and of which letter.
func ResolutionOf(r *kgo.Record) (id string, is bool) {
	n := len(r.Key) - len(keySuffix)
	if n <= 0 || string(r.Key[n:]) != keySuffix {
		return "", false
	}
	if r.Value != nil && KindOf(r) == "" {
		return "", false
	}
	return string(r.Key[:n]), true
}

// KindOf is the kind of a record that is a resolution.
func KindOf(r *kgo.Record) ResolutionKind {
	for _, h := range r.Headers {
		if h.Key == HeaderResolution {
			return ResolutionKind(h.Value)
		}
	}
	return ""
}

// ParseResolution reads a resolution. With an error the id and the kind are given all the
// same: the letter is resolved, if by an unknown hand.
func ParseResolution(r *kgo.Record) (Resolution, error) {
	var parsed Resolution
	err := json.Unmarshal(r.Value, &parsed)
	parsed.ID, parsed.Kind = strings.TrimSuffix(string(r.Key), keySuffix), KindOf(r)
	if err != nil {
		return parsed, fmt.Errorf("resolution of %s: %w", parsed.ID, err)
	}
	return parsed, nil
}
