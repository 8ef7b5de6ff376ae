// Package resolution is what is said about a dead letter once somebody has dealt
// with it: a record of the dead-letter topic, under the letter's id, that makes
// the letter resolved whatever the order of the two. A tombstone of it is the
// undo.
package resolution

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Header marks a resolution; its value is the Kind.
const Header = "dlq-resolution"

const keySuffix = "/resolution"

// Kind says what was done with a letter.
type Kind string

// The kinds.
const (
	Redriven  Kind = "redriven"
	Discarded Kind = "discarded"
)

// Resolution is what was done with a letter.
type Resolution struct {
	ID     string    `json:"-"` // the letter's
	Kind   Kind      `json:"-"`
	By     string    `json:"by"`
	When   time.Time `json:"when"`
	Why    string    `json:"why,omitempty"`
	Became string    `json:"became,omitempty"` // of a redriven letter: topic/partition/offset of the copy
	Edited bool      `json:"edited,omitempty"` // the copy's value is not the letter's
}

// Key is the key of a letter's resolution.
func Key(id string) string { return id + keySuffix }

// Record writes a resolution.
func (r Resolution) Record(topic string, partition int32) *kgo.Record {
	r.When = r.When.UTC()
	value, err := json.Marshal(r)
	if err != nil {
		panic(err) // texts, and a time of this millennium
	}
	return &kgo.Record{
		Topic: topic, Partition: partition, Key: []byte(Key(r.ID)), Value: value,
		Headers: []kgo.RecordHeader{{Key: Header, Value: []byte(r.Kind)}},
	}
}

// Undo is the tombstone of a letter's resolution.
func Undo(topic string, partition int32, id string) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(Key(id))}
}

// Of says whether a record is a resolution or the tombstone of one (its value is
// nil then), and of which letter.
func Of(r *kgo.Record) (id string, is bool) {
	n := len(r.Key) - len(keySuffix)
	if n <= 0 || string(r.Key[n:]) != keySuffix {
		return "", false
	}
	if r.Value != nil && kindOf(r) == "" {
		return "", false
	}
	return string(r.Key[:n]), true
}

func kindOf(r *kgo.Record) Kind {
	for _, h := range r.Headers {
		if h.Key == Header {
			return Kind(h.Value)
		}
	}
	return ""
}

// Parse reads a resolution. With an error the id and the kind are given all the
// same: the letter is resolved, if by an unknown hand.
func Parse(r *kgo.Record) (Resolution, error) {
	var parsed Resolution
	err := json.Unmarshal(r.Value, &parsed)
	parsed.ID, parsed.Kind = strings.TrimSuffix(string(r.Key), keySuffix), kindOf(r)
	if err != nil {
		return parsed, fmt.Errorf("resolution of %s: %w", parsed.ID, err)
	}
	return parsed, nil
}
