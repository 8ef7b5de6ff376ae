package dlq

import (
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
	filter      letter.Filter
	letters     []string // topics of the letters
	resolutions string   // topic of the resolutions; often among them

	refreshing sync.Mutex

	mu      sync.Mutex
	entries map[string]*Ref // by id: letters that match, and all resolutions
	groups  map[groupKey]*Group
	next    map[topicPartition]int64 // the offset to read next
	gaps    []Gap

	failures failures

	headsLeft int // how many more heads may be kept; negative: none are
}

// Ref is a letter that a View found, or a resolution whose letter it did not.
type Ref struct {
	ID string
	// Topic, Partition and Offset are the letter's place.
	Topic     string
	Partition int32
	Offset    int64
	FailedAt  time.Time
	Status    letter.Status
	Kind      letter.ResolutionKind // of the latest resolution; empty while the letter is open
	Group     *Group
	Size      int64 // of the value, in bytes
	// SourceOffset is the source record's; the rest of its place is in Group.
	SourceOffset int64

	ours bool // written by our worker, so its key is its id
	head *letter.Letter
	// A letter or resolution may stand in several partitions after the topic
	// got more of them: the latest is the last. The slices are never changed
	// in place, since copies of a Ref share them.
	letters, resolutions []letter.Place
}

type topicPartition struct {
	topic     string
	partition int32
}

// HasLetter is false of a resolution without a letter.
func (r *Ref) HasLetter() bool { return len(r.letters) > 0 }

func (r *Ref) place() letter.Place {
	return letter.Place{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
}

func (r *Ref) resolution() letter.Place { return r.resolutions[len(r.resolutions)-1] }

func newView(letters []string, resolutions string, filter letter.Filter) *View {
	return &View{
		letters: letters, resolutions: resolutions, filter: filter, headsLeft: -1,
		entries: map[string]*Ref{}, groups: map[groupKey]*Group{}, next: map[topicPartition]int64{},
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
		id, isResolution = letter.ResolutionOf(r)
	}
	var l letter.Letter
	isLetter := !isResolution && slices.Contains(v.letters, r.Topic) && !isTombstone(r)
	if isLetter {
		l = letter.Parse(r)
		id, matches = l.ID, v.filter.MatchesWith(&l, func(l *letter.Letter) []letter.Failure { return v.failures.of(l).exact })
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
		ref.Topic, ref.Partition, ref.Offset = here.Topic, here.Partition, here.Offset
		ref.FailedAt, ref.SourceOffset, ref.Size = l.FailedAt.UTC(), l.Source.Offset, int64(len(l.Value))
		ref.Group, ref.ours = v.group(&l), l.Format == letter.Orderhub
		v.keepHead(ref, &l)
		return ref.Status, true
	case isLetter: // the id's letter was replaced by one that does not match
		v.change(id, func(ref *Ref) { ref.letters = nil })
	case slices.Contains(v.letters, r.Topic): // the tombstone of a letter of ours; a key of another's is not its id
		v.change(string(r.Key), func(ref *Ref) {
			if ref.ours {
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
		if ref.Group = nil; ref.head != nil {
			ref.head = nil
			v.headsLeft++
		}
		if len(ref.resolutions) == 0 {
			delete(v.entries, id)
		}
		return
	}
	latest := ref.letters[len(ref.letters)-1]
	ref.Topic, ref.Partition, ref.Offset = latest.Topic, latest.Partition, latest.Offset
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

// group finds the letter's group, or makes it.
func (v *View) group(l *letter.Letter) *Group {
	failed := v.failures.of(l)
	key := groupKey{l.Reason, l.Stage, l.Source.Topic, failed.key, l.Source.Partition}
	if v.groups[key] == nil {
		v.groups[key] = &Group{Reason: l.Reason, Stage: l.Stage, Failures: failed.anyItem, SourceTopic: l.Source.Topic, SourcePartition: l.Source.Partition}
	}
	return v.groups[key]
}

// keepHead keeps a letter without its value, as long as there are not too many.
func (v *View) keepHead(ref *Ref, l *letter.Letter) {
	if v.headsLeft < 0 {
		return
	}
	if ref.head == nil {
		v.headsLeft--
	}
	head := l.Head()
	if ref.head = &head; v.headsLeft < 0 {
		for _, ref := range v.entries {
			ref.head = nil
		}
	}
}

// Heads gives letters without their values and resolutions: from memory if they
// were kept (see ScanHeads), else by reading them again. The error is ErrChanged
// where one is gone; the others are given all the same.
func (v *View) Heads(ctx context.Context, refs []Ref) ([]Item, error) {
	v.mu.Lock()
	kept := v.headsLeft >= 0
	v.mu.Unlock()
	if kept && !slices.ContainsFunc(refs, func(r Ref) bool { return r.head == nil }) {
		items := make([]Item, len(refs))
		for i, ref := range refs {
			items[i] = Item{Letter: *ref.head, Ref: ref}
		}
		return items, nil
	}
	items, err := v.queue.Load(ctx, refs)
	for i := range items {
		items[i].Letter = items[i].Head()
	}
	return items, err
}

// Select gives the letters with a status, newest first, at most limit of them; 0
// means all.
func (v *View) Select(status letter.Status, limit int) []Ref {
	v.mu.Lock()
	defer v.mu.Unlock()
	found := slices.SortedFunc(v.each(status), func(a, b *Ref) int {
		return cmp.Or(b.FailedAt.Compare(a.FailedAt), cmp.Compare(b.Partition, a.Partition), cmp.Compare(b.Offset, a.Offset), cmp.Compare(b.Topic, a.Topic))
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

// Current is what a letter is now, after a refresh. It is false if the letter is
// gone.
func (v *View) Current(r Ref) (Ref, bool) {
	now, there := v.lookup(r.ID)
	if !there || r.HasLetter() && !now.HasLetter() {
		return r, false
	}
	return now, true
}

// lookup finds a letter, a resolution or both by the whole id.
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

// current loads the letters that have a status now, and calls changed for those
// that others have dealt with. It leaves out those that are gone.
func (v *View) current(ctx context.Context, refs []Ref, status letter.Status, changed func(Item)) ([]Item, error) {
	if err := v.Refresh(ctx); err != nil {
		return nil, err
	}
	wanted := make([]Ref, 0, len(refs))
	for _, ref := range refs {
		if now, there := v.Current(ref); there {
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
