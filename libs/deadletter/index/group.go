package index

import (
	"slices"
	"sync"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// Group is what letters of the same cause and source have in common.
type Group struct {
	Reason, Stage   string
	Failures        []Failure // each once, at most maxFailures
	SourceTopic     string    // empty: unknown
	SourcePartition int32
}

// Failure is a failure without what differs from letter to letter.
type Failure struct {
	Rule string
	Path string // items[].price
}

const (
	maxFailures = 16
	maxNear     = 12
	// maxTexts bounds how many texts of dlq-errors are remembered.
	maxTexts = 4096
	// maxTextBytes is the longest of them.
	maxTextBytes = 1 << 10
)

// groupKey tells groups apart.
type groupKey struct {
	reason, stage, topic, failures string
	partition                      int32
}

// group is called with the lock held.
func (x *Index) group(l *letter.Letter, k *failures) uint32 {
	for _, near := range k.groups {
		if g := x.groups[near]; g.SourcePartition == l.Source.Partition && g.Reason == l.Reason && g.Stage == l.Stage && g.SourceTopic == l.Source.Topic {
			return near
		}
	}
	id := groupKey{l.Reason, l.Stage, l.Source.Topic, k.joined, l.Source.Partition}
	at, there := x.groupOf[id]
	if !there {
		at = uint32(len(x.groups))
		x.groups = append(x.groups, &Group{
			Reason: l.Reason, Stage: l.Stage, Failures: k.grouped,
			SourceTopic: l.Source.Topic, SourcePartition: l.Source.Partition,
		})
		x.groupOf[id] = at
	}
	if len(k.groups) < maxNear {
		k.groups = append(k.groups, at)
	}
	return at
}

// failures are those of a text of dlq-errors.
type failures struct {
	exact   []Failure // with the items' positions
	grouped []Failure
	joined  string
	// groups are some with these failures: for finding a letter's without the
	// work of hashing what makes them. Under the index's lock.
	groups []uint32
}

// texts remembers what is in texts of dlq-errors, of which many letters have the
// same: they are decoded once.
type texts struct {
	mu    sync.RWMutex
	known map[string]*failures
}

func (t *texts) failures(l *letter.Letter) *failures {
	text := l.ErrorsJSON
	if l.Format != letter.Orderhub {
		text = []byte(l.Exception.Class)
	}
	t.mu.RLock()
	k := t.known[string(text)]
	t.mu.RUnlock()
	if k != nil {
		return k
	}
	k = &failures{}
	for _, e := range l.Errors() {
		k.exact = append(k.exact, Failure{Rule: e.Rule, Path: e.Path})
		f := Failure{Rule: e.Rule, Path: AnyItem(e.Path)}
		if len(k.grouped) < maxFailures && !slices.Contains(k.grouped, f) {
			k.grouped = append(k.grouped, f)
			k.joined += f.Rule + "\x00" + f.Path + "\x00"
		}
	}
	if len(text) > maxTextBytes {
		return k
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil || len(t.known) >= maxTexts {
		t.known = map[string]*failures{}
	}
	t.known[string(text)] = k
	return k
}
