package index

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/resolution"
)

// Ref is a letter that was found.
type Ref struct {
	Partition int32
	Offset    int64
	FailedAt  time.Time
	Status    Status
	Group     *Group
	Size      int64 // of the value, in bytes
	// SourceOffset is the source record's; the rest of its place is in Group.
	SourceOffset int64
	// HasLetter is false of a resolution whose letter is not there.
	HasLetter bool
	// The letter's resolution, where Status is Resolved.
	ResolutionPartition int32
	ResolutionOffset    int64
	Kind                resolution.Kind
	// OtherLetters and OtherResolutions are further partitions with a record of
	// it: none, unless the topic got more partitions in between.
	OtherLetters, OtherResolutions []int32

	key key
	of  *Index
}

// Letters are all partitions that have the letter.
func (r *Ref) Letters() []int32 {
	if !r.HasLetter {
		return nil
	}
	return append([]int32{r.Partition}, r.OtherLetters...)
}

// Resolutions are all partitions that have the letter's resolution.
func (r *Ref) Resolutions() []int32 {
	if r.Status != Resolved {
		return nil
	}
	return append([]int32{r.ResolutionPartition}, r.OtherResolutions...)
}

// Select gives the letters with a status, newest first, at most limit of them; 0
// means all.
func (x *Index) Select(status Status, limit int) []Ref {
	type candidate struct {
		key key
		at  uint32
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	var found []candidate
	for k, at := range x.entries {
		if e := x.table.at(at); e.flags&hasLetter != 0 && (status == Any || status == e.status()) {
			found = append(found, candidate{k, at})
		}
	}
	slices.SortFunc(found, func(one, two candidate) int {
		a, b := x.table.at(one.at), x.table.at(two.at)
		return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.letter.partition, a.letter.partition), cmp.Compare(b.letter.offset, a.letter.offset))
	})
	if limit > 0 && len(found) > limit {
		found = found[:limit]
	}
	refs := make([]Ref, len(found))
	for i, c := range found {
		refs[i] = x.ref(c.key, x.table.at(c.at))
	}
	return refs
}

// Each goes over the letters with a status, in no order. A Ref is valid until the
// next, and is not one for Current; the index must not be used meanwhile.
func (x *Index) Each(status Status) iter.Seq[*Ref] {
	return func(yield func(*Ref) bool) {
		x.mu.Lock()
		defer x.mu.Unlock()
		var r Ref
		for e := range x.table.all() {
			if e.flags&hasLetter == 0 || status != Any && status != e.status() {
				continue
			}
			r = x.plainRef(e)
			if !yield(&r) {
				return
			}
		}
	}
}

// Current is what a letter is now, after more records were added. It is false if
// the letter is gone. The Ref is to be one of this index.
func (x *Index) Current(r Ref) (Ref, bool) {
	if r.of != x {
		panic("index: a Ref of another index")
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.at(r.key)
	if e == nil || r.HasLetter && e.flags&hasLetter == 0 {
		return r, false
	}
	return x.ref(r.key, e), true
}

// Lookup is what there is of an id, which is to be whole: a letter, a resolution
// or both.
func (x *Index) Lookup(id string) (Ref, bool) {
	k := x.keyOf(id)
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.at(k)
	if e == nil {
		return Ref{}, false
	}
	return x.ref(k, e), true
}

func (x *Index) ref(k key, e *entry) Ref {
	r := x.plainRef(e)
	r.key, r.of = k, x
	if e.flags&(moreLetters|moreSolutions) != 0 {
		other := x.others(k)
		r.OtherLetters, r.OtherResolutions = partitionsOf(other.letters), partitionsOf(other.solutions)
	}
	return r
}

// plainRef knows nothing of further partitions.
func (x *Index) plainRef(e *entry) Ref {
	r := Ref{
		Partition: e.letter.partition, Offset: e.letter.offset, FailedAt: time.Unix(0, e.at).UTC(), Status: e.status(),
		SourceOffset: e.sourceOffset, Size: int64(e.size), HasLetter: e.flags&hasLetter != 0,
	}
	if r.HasLetter {
		r.Group = x.groups[e.group]
	}
	if e.flags&hasResolution != 0 {
		r.ResolutionPartition, r.ResolutionOffset, r.Kind = e.resolution.partition, e.resolution.offset, x.kinds[e.kind]
	}
	return r
}

func partitionsOf(places []place) (partitions []int32) {
	for _, p := range places {
		partitions = append(partitions, p.partition)
	}
	return partitions
}

// Orphans are the resolutions of which no letter matched the filter; with the
// zero filter, those whose letter is gone.
func (x *Index) Orphans() []Ref {
	x.mu.Lock()
	defer x.mu.Unlock()
	var found []Ref
	for k, at := range x.entries {
		if e := x.table.at(at); e.flags&hasLetter == 0 {
			found = append(found, x.ref(k, e))
		}
	}
	slices.SortFunc(found, func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.ResolutionPartition, b.ResolutionPartition), cmp.Compare(a.ResolutionOffset, b.ResolutionOffset))
	})
	return found
}
