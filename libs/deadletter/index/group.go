package index

import (
	"slices"

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

// known are the failures of a text of dlq-errors.
type known struct {
	failures []Failure
	joined   string
}

// group is called with the lock held.
func (x *Index) group(l *letter.Letter) *Group {
	k := x.failures(l)
	id := groupKey{l.Reason, l.Stage, l.Source.Topic, k.joined, l.Source.Partition}
	g := x.groups[id]
	if g == nil {
		g = &Group{
			Reason: l.Reason, Stage: l.Stage, Failures: k.failures,
			SourceTopic: l.Source.Topic, SourcePartition: l.Source.Partition,
		}
		x.groups[id] = g
	}
	return g
}

func (x *Index) failures(l *letter.Letter) *known {
	text := l.ErrorsJSON
	if l.Format != letter.Orderhub {
		text = []byte(l.Exception.Class)
	}
	if k := x.errors[string(text)]; k != nil {
		return k
	}
	k := &known{}
	for _, e := range l.Errors() {
		f := Failure{Rule: e.Rule, Path: AnyItem(e.Path)}
		if len(k.failures) < maxFailures && !slices.Contains(k.failures, f) {
			k.failures = append(k.failures, f)
			k.joined += f.Rule + "\x00" + f.Path + "\x00"
		}
	}
	if len(text) <= maxTextBytes {
		if len(x.errors) >= maxTexts {
			clear(x.errors)
		}
		x.errors[string(text)] = k
	}
	return k
}
