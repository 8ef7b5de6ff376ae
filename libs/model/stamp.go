package model

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Stamp says how new a record is among the records of its order. Stamps are totally
// ordered, so the newest record of an order is the same in whatever sequence the records
// arrive. testdata/stamps.json has vectors.
type Stamp struct {
	// Version is the record's own version, see Options.VersionField; nil if it has none.
	Version *int64 `json:"version,omitempty"`
	// Time is Kafka's timestamp of the record, to the millisecond.
	Time      time.Time `json:"time"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
}

// Compare is negative if s is older than other, and positive if it is newer. The version
// decides, then the time, the partition and the offset. A stamp without a version is older
// than any with one, and nil, which is no stamp, is the oldest.
func (s *Stamp) Compare(other *Stamp) int {
	switch {
	case s == nil && other == nil:
		return 0
	case s == nil:
		return -1
	case other == nil:
		return 1
	}
	return cmp.Or(compareVersions(s.Version, other.Version), s.Time.Compare(other.Time),
		cmp.Compare(s.Partition, other.Partition), cmp.Compare(s.Offset, other.Offset))
}

func compareVersions(a, b *int64) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Compare(*a, *b)
}

// NewerThan reports whether s is newer than other.
func (s *Stamp) NewerThan(other *Stamp) bool { return s.Compare(other) > 0 }

// IsFieldPath reports whether a text can be Options.VersionField: names, separated by points.
func IsFieldPath(text string) bool {
	for name := range strings.SplitSeq(text, ".") {
		if shownName([]byte(name)) != name || name == "?" {
			return false
		}
	}
	return true
}

const wantedVersion = "an integer or an RFC 3339 time: it is the record's version (INGEST_VERSION_FIELD)"

// version reads the record's own version once the record is known to be JSON. It collects
// a failure if there is none. Of a time it is the microseconds since 1970.
func (d *decoder) version() *int64 {
	field := d.opts.VersionField
	if slices.ContainsFunc(d.failures, func(f FieldError) bool { return f.Path == "" || f.Path == field }) {
		return nil
	}
	l := locate(d.data, field)
	if l.places[field] < 0 {
		d.fail(field, ruleRequired, "is missing; it must be "+wantedVersion)
		return nil
	}
	var n int64
	failures := len(d.failures)
	switch d.pos = l.places[field]; {
	case d.peek() == '"':
		var t time.Time
		_ = d.readTime(field, &t, 0) // the record is JSON: there is no fault
		n = t.UnixMicro()
	case d.peek() == '-', d.peek()-'0' <= 9:
		_ = d.readNumber(field, &n, 0)
	default:
		_ = d.wrongType(field, wantedVersion, 0)
	}
	if len(d.failures) > failures {
		return nil
	}
	return &n
}

// DeletionVersion is the own version of a null record, which has it in a header with the name
// of Options.VersionField. header returns a header's value.
func (c *Codec) DeletionVersion(header func(name string) []byte) (*int64, *RecordError) {
	field := c.opts.VersionField
	if field == "" {
		return nil, nil
	}
	text := string(header(field))
	version, err := strconv.ParseInt(text, 10, 64)
	if t, ok := ParseTime(text); ok {
		version, err = t.UnixMicro(), nil
	}
	if err != nil {
		return nil, &RecordError{StageValidate, ReasonInvalid, -1, []FieldError{{
			field, ruleRequired, "the record deletes an order, so it needs a header with this name, which must be " + wantedVersion,
		}}}
	}
	return &version, nil
}
