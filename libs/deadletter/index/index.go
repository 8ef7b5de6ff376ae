// Package index keeps account of a topic's dead letters as its records are read:
// which there are, which match a filter, and which of them are open.
//
// It keeps less than 200 bytes for each letter that matches and for each resolution,
// and no values. A letter is read again where more of it is wanted.
package index

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/deadletter/resolution"
)

// Status says whether a letter waits to be dealt with.
type Status string

// The statuses. Any is for selecting.
const (
	Open     Status = "open"
	Resolved Status = "resolved"
	Any      Status = "any"
)

// place is a record in a topic: the letters' or the resolutions'.
type place struct {
	partition int32
	offset    int64
}

// entry is what is known of an id.
type entry struct {
	letter, resolution           place
	hasLetter, hasResolution     bool
	ours                         bool // written by our worker, so the id is its key
	kind                         resolution.Kind
	at                           int64 // failed at, nanoseconds
	sourceOffset                 int64
	group                        *Group
	otherLetters, otherSolutions []place // in other partitions, after a topic got more of them
}

// key stands for an id.
type key [16]byte

// Index is safe for concurrent use by readers of several partitions. Records of
// one partition are to be added in their order.
type Index struct {
	filter  Filter
	letters string // topic of the letters
	topic   string // topic of the resolutions

	mu      sync.Mutex
	entries map[key]*entry
	groups  map[groupKey]*Group
	errors  map[string]*known // texts of dlq-errors
	read    int64
}

// New makes an index of the letters in one topic and the resolutions in another,
// or in the same.
func New(letters, resolutions string, filter Filter) *Index {
	return &Index{
		filter: filter, letters: letters, topic: resolutions,
		entries: map[key]*entry{}, groups: map[groupKey]*Group{}, errors: map[string]*known{},
	}
}

// Add takes a record of either topic. It returns the letter that it brought, if
// that matches the filter, with its status.
func (x *Index) Add(r *kgo.Record) (*letter.Letter, Status) {
	if r.Topic == x.topic {
		if id, is := resolution.Of(r); is {
			x.addResolution(id, r)
			return nil, ""
		}
	}
	if r.Topic != x.letters {
		return nil, "" // a letter of ours, where those of another topic are wanted
	}
	here := place{r.Partition, r.Offset}
	if r.Value == nil && len(r.Headers) == 0 {
		x.purged(string(r.Key), here)
		return nil, ""
	}
	l := letter.Parse(r)
	matches := x.filter.Matches(&l)
	k := keyOf(l.ID)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.read++
	e := x.entries[k]
	if !matches {
		if e != nil && e.hasLetter {
			e.hasLetter, e.otherLetters = false, nil // it is not what it was
			x.drop(k, e)
		}
		return nil, ""
	}
	if e == nil {
		e = &entry{}
		x.entries[k] = e
	}
	if e.hasLetter && e.letter.partition != here.partition {
		e.otherLetters = append(remove(e.otherLetters, here.partition), e.letter)
	}
	e.letter, e.hasLetter, e.ours = here, true, l.Format == letter.Orderhub
	e.at, e.sourceOffset, e.group = l.FailedAt.UnixNano(), l.Source.Offset, x.group(&l)
	return &l, e.status()
}

func (x *Index) addResolution(id string, r *kgo.Record) {
	here := place{r.Partition, r.Offset}
	k := keyOf(id)
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entries[k]
	if r.Value == nil {
		if e == nil {
			return
		}
		e.otherSolutions = remove(e.otherSolutions, here.partition)
		if e.hasResolution && e.resolution.partition == here.partition {
			e.hasResolution = len(e.otherSolutions) > 0
			if e.hasResolution {
				e.resolution, e.otherSolutions = e.otherSolutions[0], e.otherSolutions[1:]
			}
		}
		x.drop(k, e)
		return
	}
	if e == nil {
		e = &entry{}
		x.entries[k] = e
	}
	if e.hasResolution && e.resolution.partition != here.partition {
		e.otherSolutions = append(remove(e.otherSolutions, here.partition), e.resolution)
	}
	e.resolution, e.hasResolution, e.kind = here, true, ""
	for _, h := range r.Headers {
		if h.Key == resolution.Header {
			e.kind = resolution.Kind(strings.Clone(string(h.Value)))
		}
	}
}

func (x *Index) purged(id string, here place) {
	k := keyOf(id)
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entries[k]
	if e == nil || !e.ours {
		return // the key of another's letter is not its id
	}
	e.otherLetters = remove(e.otherLetters, here.partition)
	if e.hasLetter && e.letter.partition == here.partition {
		e.hasLetter = len(e.otherLetters) > 0
		if e.hasLetter {
			e.letter, e.otherLetters = e.otherLetters[0], e.otherLetters[1:]
		}
	}
	x.drop(k, e)
}

func (x *Index) drop(k key, e *entry) {
	if !e.hasLetter && !e.hasResolution {
		delete(x.entries, k)
	}
}

func remove(places []place, partition int32) []place {
	return slices.DeleteFunc(places, func(p place) bool { return p.partition == partition })
}

func (e *entry) status() Status {
	if e.hasResolution {
		return Resolved
	}
	return Open
}

func keyOf(id string) key {
	sum := sha256.Sum256([]byte(id))
	return key(sum[:16])
}

// Read is how many letters were read, matching or not.
func (x *Index) Read() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.read
}

// Ref is a letter that was found.
type Ref struct {
	Partition int32
	Offset    int64
	FailedAt  time.Time
	Status    Status
	Group     *Group
	// SourceOffset is the source record's; the rest of its place is in Group.
	SourceOffset int64
	// The letter's resolution, where Status is Resolved.
	ResolutionPartition int32
	ResolutionOffset    int64
	Kind                resolution.Kind
	// Letters and Resolutions are all partitions that have a record of it: one,
	// unless the topic got more partitions in between.
	Letters, Resolutions []int32
}

// Select gives the letters with a status, newest first, at most limit of them; 0
// means all.
func (x *Index) Select(status Status, limit int) []Ref {
	x.mu.Lock()
	defer x.mu.Unlock()
	var found []Ref
	for _, e := range x.entries {
		if e.hasLetter && (status == Any || status == e.status()) {
			found = append(found, e.ref())
		}
	}
	slices.SortFunc(found, func(a, b Ref) int {
		return cmp.Or(b.FailedAt.Compare(a.FailedAt), cmp.Compare(b.Partition, a.Partition), cmp.Compare(b.Offset, a.Offset))
	})
	if limit > 0 && len(found) > limit {
		found = slices.Clone(found[:limit])
	}
	return found
}

func (e *entry) ref() Ref {
	r := Ref{
		Partition: e.letter.partition, Offset: e.letter.offset, FailedAt: time.Unix(0, e.at).UTC(), Status: e.status(),
		Group: e.group, SourceOffset: e.sourceOffset, Letters: []int32{e.letter.partition},
	}
	for _, p := range e.otherLetters {
		r.Letters = append(r.Letters, p.partition)
	}
	if e.hasResolution {
		r.ResolutionPartition, r.ResolutionOffset, r.Kind = e.resolution.partition, e.resolution.offset, e.kind
		r.Resolutions = []int32{e.resolution.partition}
		for _, p := range e.otherSolutions {
			r.Resolutions = append(r.Resolutions, p.partition)
		}
	}
	return r
}

// Orphans are the resolutions of which no letter matched the filter; with the
// zero filter, those whose letter is gone.
func (x *Index) Orphans() []Ref {
	x.mu.Lock()
	defer x.mu.Unlock()
	var found []Ref
	for _, e := range x.entries {
		if !e.hasLetter {
			r := e.ref()
			r.Letters = nil
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.ResolutionPartition, b.ResolutionPartition), cmp.Compare(a.ResolutionOffset, b.ResolutionOffset))
	})
	return found
}
