package dlq

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

// View is what the topics held when it was taken, or last refreshed: which
// letters match a filter, and which of them are open. It keeps some 400 bytes a
// letter, and no values: Queue.Load reads these again.
//
// Safe for concurrent use.
type View struct {
	queue       *Queue
	erased      *erasedOrders // the queue's
	filter      letter.Filter
	letters     []string // topics of the letters
	resolutions string   // topic of the resolutions; often among them

	refreshing sync.Mutex

	mu      sync.Mutex
	entries map[string]*Ref          // by id: letters that match, and all resolutions
	next    map[topicPartition]int64 // the offset to read next
	gaps    []Gap

	grouping sync.RWMutex
	groups   map[GroupKey]*Group // many letters have the same failures
}

// Ref is a letter that a View found, or a resolution whose letter it did not, which has
// ID, status and kind only.
type Ref struct {
	ID           string
	Place        letter.Place
	FailedAt     time.Time
	SourceOffset int64
	SourceKey    []byte // nil: null
	Origin       string // id of the first letter in a row of redrives
	Redrives     int
	Size         int64 // of the source's value, in bytes
	*Group

	Status letter.Status
	Kind   letter.ResolutionKind // of the latest resolution; empty while the letter is open

	// A letter or resolution may stand in several partitions after the topic
	// got more of them: the latest is the last. The slices are never changed
	// in place, since copies of a Ref share them.
	letters, resolutions []letter.Place
}

// Head is the letter without value and without the source's headers.
func (r *Ref) Head() *letter.Letter {
	source := letter.Place{Topic: r.SourceTopic, Partition: r.SourcePartition, Offset: r.SourceOffset}
	l := letter.Letter{
		ID: r.ID, Format: r.Format, Place: r.Place, Reason: r.Reason, Stage: r.Stage, FailedAt: r.FailedAt, Source: source, SourceKey: r.SourceKey,
		Origin: r.Origin, Redrives: r.Redrives, ErrorsJSON: r.ErrorsJSON, Exception: letter.Exception{Class: r.Class},
	}
	return l.Sized(r.Size)
}

type topicPartition struct {
	topic     string
	partition int32
}

// HasLetter is false of a resolution without a letter.
func (r *Ref) HasLetter() bool { return len(r.letters) > 0 }

// tombstones remove the letter and its resolutions.
func (r *Ref) tombstones() (records []*kgo.Record) {
	for _, at := range r.letters {
		records = append(records, &kgo.Record{Topic: at.Topic, Partition: at.Partition, Key: []byte(r.ID)})
	}
	return append(records, r.undos()...)
}

// undos remove the resolutions.
func (r *Ref) undos() (records []*kgo.Record) {
	for _, at := range r.resolutions {
		records = append(records, letter.UndoRecord(at.Topic, at.Partition, r.ID))
	}
	return records
}

func (r *Ref) resolution() letter.Place { return r.resolutions[len(r.resolutions)-1] }

func newView(letters []string, resolutions string, filter letter.Filter) *View {
	return &View{
		letters: letters, resolutions: resolutions, filter: filter, erased: &erasedOrders{},
		entries: map[string]*Ref{}, groups: map[GroupKey]*Group{}, next: map[topicPartition]int64{},
	}
}

// Refresh reads what was written since.
func (v *View) Refresh(ctx context.Context) error {
	return v.refresh(ctx, nil)
}

// ErrRecreated says that a topic ends before what was read of it: it was made anew, or
// lost its end. Another view has to be taken.
var ErrRecreated = errors.New("the topic was made anew")

// Behind reports whether the topics have records that the view has not read. The error
// may be ErrRecreated.
func (v *View) Behind(ctx context.Context) (behind bool, err error) {
	ends := map[topicPartition]int64{}
	for _, topic := range v.queue.topics() {
		bounds, err := v.queue.client.Bounds(ctx, topic)
		if err != nil {
			return false, err
		}
		for partition, span := range bounds {
			ends[topicPartition{topic, partition}] = span.To
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for at, next := range v.next {
		if ends[at] < next {
			return false, ErrRecreated
		}
	}
	return !maps.Equal(ends, v.next), nil
}

// followPause is between two looks at the ends of the topics.
const followPause = 200 * time.Millisecond

// Follow refreshes the view continually, and calls use for each letter that arrives
// and matches the filter, one at a time. It returns when ctx ends or use fails.
func (v *View) Follow(ctx context.Context, use func(*letter.Letter, letter.Status) error) error {
	for {
		if err := v.refresh(ctx, use); err != nil {
			return err
		}
		if err := retry.Sleep(ctx, followPause); err != nil {
			return err
		}
	}
}

func (v *View) refresh(ctx context.Context, use func(*letter.Letter, letter.Status) error) error {
	v.refreshing.Lock()
	defer v.refreshing.Unlock()
	var using sync.Mutex // partitions are read in parallel
	for _, topic := range v.queue.topics() {
		bounds, err := v.queue.client.Bounds(ctx, topic)
		if err != nil {
			return err
		}
		spans := map[int32][]Span{}
		v.mu.Lock()
		for partition, span := range bounds {
			if span.From = max(span.From, v.next[topicPartition{topic, partition}]); span.From < span.To {
				spans[partition] = []Span{span}
			}
		}
		v.mu.Unlock()
		gaps, err := v.queue.client.Read(ctx, topic, spans, func(r *kgo.Record) error {
			status, matches := v.add(r)
			if !matches || use == nil {
				return nil
			}
			using.Lock()
			defer using.Unlock()
			l := letter.Parse(r)
			return use(&l, status)
		})
		if err != nil {
			return err
		}
		v.mu.Lock()
		for partition, span := range bounds {
			at := topicPartition{topic, partition}
			v.next[at] = max(v.next[at], span.To)
		}
		v.gaps = append(v.gaps, gaps...)
		v.mu.Unlock()
	}
	return nil
}

// Gaps are ranges of offsets that the broker removed before they were read.
func (v *View) Gaps() []Gap {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.gaps)
}

// add takes a record of either topic. If the record is a letter that matches, it
// returns the letter's status. Records of a partition come in their order; one that
// was added already is ignored.
func (v *View) add(r *kgo.Record) (status letter.Status, matches bool) {
	id, isResolution := "", false
	if r.Topic == v.resolutions {
		if v.erased.add(r) {
			return "", false
		}
		id, isResolution = letter.ResolutionOf(r)
	}
	var l letter.Letter
	var group *Group
	isLetter := !isResolution && slices.Contains(v.letters, r.Topic) && !isTombstone(r)
	if isLetter {
		l = letter.Parse(r)
		group = v.group(&l)
		id, matches = l.ID, v.filter.MatchesWith(&l, func(*letter.Letter) []letter.Failure { return group.failures })
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	at := topicPartition{r.Topic, r.Partition}
	if r.Offset < v.next[at] {
		return "", false
	}
	v.next[at] = r.Offset + 1
	here := letter.Place{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
	switch {
	case isResolution && r.Value == nil:
		v.change(id, func(ref *Ref) { ref.resolutions = without(ref.resolutions, r) })
	case isResolution:
		ref := v.entry(id)
		ref.resolutions = append(without(ref.resolutions, r), here)
		ref.Status, ref.Kind = letter.Resolved, letter.KindOf(r)
	case isLetter && matches:
		ref := v.entry(id)
		ref.letters = append(without(ref.letters, r), here)
		ref.Place, ref.FailedAt, ref.SourceOffset, ref.SourceKey = here, l.FailedAt.UTC(), l.Source.Offset, bytes.Clone(l.SourceKey)
		ref.Origin, ref.Redrives, ref.Size, ref.Group = l.Origin, l.Redrives, l.Size(), group
		return ref.Status, true
	case isLetter: // the id's letter was replaced by one that does not match
		v.change(id, func(ref *Ref) { ref.letters = nil })
	case slices.Contains(v.letters, r.Topic): // the tombstone of a letter of ours; a key of another's is not its id
		v.change(string(r.Key), func(ref *Ref) {
			if ref.Group != nil && ref.Format == letter.Orderhub {
				ref.letters = without(ref.letters, r)
			}
		})
	}
	return "", false
}

func isTombstone(r *kgo.Record) bool { return r.Value == nil && len(r.Headers) == 0 }

func (v *View) entry(id string) *Ref {
	ref := v.entries[id]
	if ref == nil {
		ref = &Ref{ID: id, Status: letter.Open}
		v.entries[id] = ref
	}
	return ref
}

// change takes records of an id away. An id without any is forgotten.
func (v *View) change(id string, how func(*Ref)) {
	ref := v.entries[id]
	if ref == nil {
		return
	}
	how(ref)
	if len(ref.resolutions) == 0 {
		ref.Status, ref.Kind = letter.Open, ""
	}
	if len(ref.letters) == 0 {
		if ref.Group = nil; len(ref.resolutions) == 0 {
			delete(v.entries, id)
		}
		return
	}
	ref.Place = ref.letters[len(ref.letters)-1]
}

// without are the places that are not in a record's partition, with room for one more.
func without(places []letter.Place, r *kgo.Record) []letter.Place {
	kept := make([]letter.Place, 0, len(places)+1)
	for _, p := range places {
		if p.Topic != r.Topic || p.Partition != r.Partition {
			kept = append(kept, p)
		}
	}
	return kept
}

// Select gives the letters with a status, newest first, at most limit of them; 0
// means all.
func (v *View) Select(status letter.Status, limit int) []Ref {
	v.mu.Lock()
	defer v.mu.Unlock()
	found := slices.SortedFunc(v.each(status), func(a, b *Ref) int {
		return cmp.Or(b.FailedAt.Compare(a.FailedAt), cmp.Compare(b.Place.Partition, a.Place.Partition), cmp.Compare(b.Place.Offset, a.Place.Offset), cmp.Compare(b.Place.Topic, a.Place.Topic))
	})
	if limit > 0 && len(found) > limit {
		found = found[:limit]
	}
	refs := make([]Ref, len(found))
	for i, ref := range found {
		refs[i] = *ref
	}
	return refs
}

// Each yields the letters with a status, in no order. A Ref is valid until the
// next; the view must not be used meanwhile.
func (v *View) Each(status letter.Status) iter.Seq[*Ref] {
	return func(yield func(*Ref) bool) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.each(status)(yield)
	}
}

func (v *View) each(status letter.Status) iter.Seq[*Ref] {
	return func(yield func(*Ref) bool) {
		for _, ref := range v.entries {
			if ref.HasLetter() && (status == letter.Any || status == ref.Status) && !yield(ref) {
				return
			}
		}
	}
}

// Current is what the letter with a whole id is now, after a refresh. It is false if the
// letter is gone.
func (v *View) Current(id string) (Ref, bool) {
	now, there := v.lookup(id)
	return now, there && now.HasLetter()
}

func (v *View) lookup(id string) (Ref, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ref := v.entries[id]
	if ref == nil {
		return Ref{}, false
	}
	return *ref, true
}

// Orphans are the resolutions of which no letter matched the filter; with the
// zero filter, those whose letter is gone.
func (v *View) Orphans() []Ref {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []Ref
	for _, ref := range v.entries {
		if !ref.HasLetter() {
			found = append(found, *ref)
		}
	}
	slices.SortFunc(found, func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.resolution().Partition, b.resolution().Partition), cmp.Compare(a.resolution().Offset, b.resolution().Offset))
	})
	return found
}

// current loads the letters that have a status as of the last refresh, and calls changed for
// those that others have dealt with. It leaves out those that are gone.
func (v *View) current(ctx context.Context, refs []Ref, status letter.Status, changed func(Item)) ([]Item, error) {
	wanted := make([]Ref, 0, len(refs))
	for _, ref := range refs {
		if now, there := v.Current(ref.ID); there {
			wanted = append(wanted, now)
		}
	}
	items, err := v.queue.Load(ctx, wanted)
	if err != nil && !errors.Is(err, ErrChanged) {
		return nil, err
	}
	kept := items[:0]
	for _, item := range items {
		if item.Ref.Status == status {
			kept = append(kept, item)
		} else {
			changed(item)
		}
	}
	return kept, nil
}

// Group is what letters of the same failures and source have in common.
type Group struct {
	GroupKey
	ErrorsJSON []byte // the header dlq-errors
	// Causes are the failures, each once, with the path of any item, at most maxCauses.
	// Letters that name none have one without rule and path.
	Causes []letter.Failure

	failures []letter.Failure // with the items' positions
}

// GroupKey tells one group from another.
type GroupKey struct {
	Format          letter.Format
	Reason, Stage   string
	SourceTopic     string // empty: unknown
	SourcePartition int32
	Class           string // of the exception, where others wrote the letters
	errors          string // the header dlq-errors
}

const (
	maxCauses = 16
	// maxGroups bounds how many groups are remembered, since anybody may write texts.
	maxGroups = 1 << 16
)

// group finds the letter's group, or makes it.
func (v *View) group(l *letter.Letter) *Group {
	key := GroupKey{l.Format, l.Reason, l.Stage, l.Source.Topic, l.Source.Partition, l.Exception.Class, string(l.ErrorsJSON)}
	v.grouping.RLock()
	g := v.groups[key]
	v.grouping.RUnlock()
	if g != nil {
		return g
	}
	g = &Group{GroupKey: key, ErrorsJSON: []byte(key.errors), failures: l.Failures()}
	for _, f := range g.failures {
		f.Path = letter.AnyItem(f.Path)
		if len(g.Causes) < maxCauses && !slices.Contains(g.Causes, f) {
			g.Causes = append(g.Causes, f)
		}
	}
	if len(g.Causes) == 0 {
		g.Causes = []letter.Failure{{}}
	}
	v.grouping.Lock()
	defer v.grouping.Unlock()
	if len(v.groups) >= maxGroups {
		clear(v.groups)
	}
	v.groups[key] = g
	return g
}
