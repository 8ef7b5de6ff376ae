// Package index keeps account of a topic's dead letters as its records are read:
// which there are, which match a filter, and which of them are open.
//
// It keeps some 100 bytes for each letter that matches and for each resolution,
// and no values. A letter is read again where more of it is wanted.
package index

import (
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync"

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
	offset    int64
	partition int32
}

// entry is what is known of an id.
type entry struct {
	at                 int64 // failed at, nanoseconds
	sourceOffset       int64
	letter, resolution place
	group              uint32 // in Index.groups
	size               uint32 // of the value in bytes; the most is as much and more
	kind               uint8  // in Index.kinds
	flags              flags
}

type flags uint8

const (
	hasLetter flags = 1 << iota
	hasResolution
	ours          // written by our worker, so the id is its key
	moreLetters   // in other partitions, after a topic got more of them
	moreSolutions // likewise
)

// key stands for an id.
type key [2]uint64

// Index is safe for concurrent use by readers of several partitions. Records of
// one partition are to be added in their order; one that was added already is
// passed over.
type Index struct {
	filter  Filter
	letters string // topic of the letters
	topic   string // topic of the resolutions
	seeds   [2]maphash.Seed
	texts   texts

	mu        sync.Mutex
	entries   map[key]uint32
	table     table
	groups    []*Group
	groupOf   map[groupKey]uint32
	kinds     []resolution.Kind
	elsewhere map[key]*elsewhere
	added     map[string]map[int32]int64 // by topic and partition: the offset after the last record
	read      int64

	heads    map[key]letter.Letter // nil: none are kept
	maxHeads int
}

// elsewhere are records of an id in further partitions.
type elsewhere struct{ letters, solutions []place }

// New makes an index of the letters in one topic and the resolutions in another,
// or in the same.
func New(letters, resolutions string, filter Filter) *Index {
	return &Index{
		filter: filter, letters: letters, topic: resolutions, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		entries: map[key]uint32{}, groupOf: map[groupKey]uint32{}, kinds: []resolution.Kind{resolution.Redriven, resolution.Discarded},
		elsewhere: map[key]*elsewhere{}, added: map[string]map[int32]int64{letters: {}, resolutions: {}},
	}
}

// KeepHeads has the letters that match kept in memory, without their values, as
// long as there are no more than most of them. It is to be called first.
func (x *Index) KeepHeads(most int) { x.heads, x.maxHeads = map[key]letter.Letter{}, most }

// Head is a letter that was kept; see KeepHeads. It is false if none are, there
// being too many.
func (x *Index) Head(r Ref) (letter.Letter, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	head, kept := x.heads[r.key]
	return head, kept
}

// keep keeps a letter that matches.
func (x *Index) keep(k key, l *letter.Letter) {
	if x.heads == nil {
		return
	}
	if x.heads[k] = l.Head(); len(x.heads) > x.maxHeads {
		x.heads = nil
	}
}

// Add takes a record of either topic. It returns the letter that it brought, if
// that matches the filter, with its status.
func (x *Index) Add(r *kgo.Record) (*letter.Letter, Status) {
	l := new(letter.Letter)
	if status := x.add(r, l); status != "" {
		return l, status
	}
	return nil, ""
}

// letters are some to read records into.
var letters = sync.Pool{New: func() any { return new(letter.Letter) }}

// Take is Add for whoever does not want the letter. It keeps nothing of the
// record.
func (x *Index) Take(r *kgo.Record) {
	l, _ := letters.Get().(*letter.Letter)
	x.add(r, l)
	letters.Put(l)
}

// add reads a record into l if it is a letter, and gives its status if it matches.
func (x *Index) add(r *kgo.Record, l *letter.Letter) Status {
	if r.Topic == x.topic {
		if id, is := resolution.Of(r); is {
			x.addResolution(id, r)
			return ""
		}
	}
	if r.Topic != x.letters {
		return "" // a letter of ours, where those of another topic are wanted
	}
	if r.Value == nil && len(r.Headers) == 0 {
		x.purged(string(r.Key), r)
		return ""
	}
	l.Read(r)
	known := x.texts.failures(l)
	matches := x.filter.matches(l, known)
	k := x.keyOf(l.ID)
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.next(r) {
		return ""
	}
	x.read++
	e := x.at(k)
	if !matches {
		if e != nil && e.flags&hasLetter != 0 {
			e.flags &^= hasLetter // it is not what it was
			x.forgetLetters(k, e)
			x.drop(k, e)
		}
		return ""
	}
	if e == nil {
		e = x.make(k)
	}
	here := placeOf(r)
	if e.flags&hasLetter != 0 && e.letter.partition != here.partition {
		other := x.others(k)
		other.letters = append(remove(other.letters, here.partition), e.letter)
		e.flags |= moreLetters
	}
	e.letter = here
	e.flags |= hasLetter
	if e.flags &^= ours; l.Format == letter.Orderhub {
		e.flags |= ours
	}
	e.at, e.sourceOffset, e.group = l.FailedAt.UnixNano(), l.Source.Offset, x.group(l, known)
	e.size = uint32(min(len(l.Value), math.MaxUint32))
	x.keep(k, l)
	return e.status()
}

// next notes a record as added, and is false of one that was.
func (x *Index) next(r *kgo.Record) bool {
	added := x.added[r.Topic]
	if r.Offset < added[r.Partition] {
		return false
	}
	added[r.Partition] = r.Offset + 1
	return true
}

func (x *Index) addResolution(id string, r *kgo.Record) {
	here := placeOf(r)
	k := x.keyOf(id)
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.next(r) {
		return
	}
	e := x.at(k)
	if r.Value == nil {
		if e != nil {
			x.undone(k, e, here.partition)
		}
		return
	}
	if e == nil {
		e = x.make(k)
	}
	if e.flags&hasResolution != 0 && e.resolution.partition != here.partition {
		other := x.others(k)
		other.solutions = append(remove(other.solutions, here.partition), e.resolution)
		e.flags |= moreSolutions
	}
	e.resolution = here
	e.flags |= hasResolution
	e.kind = x.kindOf(r)
}

// undone takes the resolution of one partition away.
func (x *Index) undone(k key, e *entry, partition int32) {
	var rest []place
	if e.flags&moreSolutions != 0 {
		other := x.others(k)
		other.solutions = remove(other.solutions, partition)
		rest = other.solutions
	}
	if e.flags&hasResolution != 0 && e.resolution.partition == partition {
		e.flags &^= hasResolution
		if len(rest) > 0 {
			e.resolution = rest[0]
			e.flags |= hasResolution
			x.others(k).solutions = rest[1:]
		}
	}
	x.drop(k, e)
}

func (x *Index) purged(id string, r *kgo.Record) {
	k := x.keyOf(id)
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.next(r) {
		return
	}
	e := x.at(k)
	if e == nil || e.flags&ours == 0 {
		return // the key of another's letter is not its id
	}
	var rest []place
	if e.flags&moreLetters != 0 {
		other := x.others(k)
		other.letters = remove(other.letters, r.Partition)
		rest = other.letters
	}
	if e.flags&hasLetter != 0 && e.letter.partition == r.Partition {
		e.flags &^= hasLetter
		if len(rest) > 0 {
			e.letter = rest[0]
			e.flags |= hasLetter
			x.others(k).letters = rest[1:]
		}
	}
	x.drop(k, e)
}

func (x *Index) at(k key) *entry {
	at, there := x.entries[k]
	if !there {
		return nil
	}
	return x.table.at(at)
}

func (x *Index) make(k key) *entry {
	at, e := x.table.add()
	x.entries[k] = at
	return e
}

// drop forgets an id of which there is nothing left.
func (x *Index) drop(k key, e *entry) {
	if e.flags&(hasLetter|hasResolution) == 0 {
		x.table.free(x.entries[k])
		delete(x.entries, k)
		delete(x.elsewhere, k)
		delete(x.heads, k)
	}
}

func (x *Index) others(k key) *elsewhere {
	other := x.elsewhere[k]
	if other == nil {
		other = &elsewhere{}
		x.elsewhere[k] = other
	}
	return other
}

func (x *Index) forgetLetters(k key, e *entry) {
	if e.flags&moreLetters != 0 {
		x.others(k).letters = nil
	}
}

func (x *Index) kindOf(r *kgo.Record) uint8 {
	for _, h := range r.Headers {
		if h.Key != resolution.Header {
			continue
		}
		for i, kind := range x.kinds {
			if string(h.Value) == string(kind) {
				return uint8(i)
			}
		}
		const most = 255
		if len(x.kinds) < most {
			x.kinds = append(x.kinds, resolution.Kind(strings.Clone(string(h.Value))))
		}
		return uint8(len(x.kinds) - 1)
	}
	return 0
}

func placeOf(r *kgo.Record) place { return place{r.Offset, r.Partition} }

func remove(places []place, partition int32) []place {
	return slices.DeleteFunc(places, func(p place) bool { return p.partition == partition })
}

func (e *entry) status() Status {
	if e.flags&hasResolution != 0 {
		return Resolved
	}
	return Open
}

func (x *Index) keyOf(id string) key {
	return key{maphash.String(x.seeds[0], id), maphash.String(x.seeds[1], id)}
}

// Read is how many letters were read, matching or not.
func (x *Index) Read() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.read
}
