package index

import (
	"fmt"
	"slices"
	"strings"

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
)

// group is called with the lock held.
func (x *Index) group(l *letter.Letter) *Group {
	failures := x.failures(l)
	var b strings.Builder
	fmt.Fprintf(&b, "%s\x00%s\x00%s\x00%d", l.Reason, l.Stage, l.Source.Topic, l.Source.Partition)
	for _, f := range failures {
		b.WriteString("\x00" + f.Rule + "\x00" + f.Path)
	}
	if known := x.groups[b.String()]; known != nil {
		return known
	}
	g := &Group{
		Reason: l.Reason, Stage: l.Stage, Failures: failures,
		SourceTopic: l.Source.Topic, SourcePartition: l.Source.Partition,
	}
	x.groups[b.String()] = g
	return g
}

func (x *Index) failures(l *letter.Letter) []Failure {
	text := l.ErrorsJSON
	if l.Format != letter.Orderhub {
		text = []byte(l.Exception.Class)
	}
	if known, ok := x.errors[string(text)]; ok {
		return known
	}
	var failures []Failure
	for _, e := range l.Errors() {
		f := Failure{Rule: e.Rule, Path: AnyItem(e.Path)}
		if len(failures) < maxFailures && !slices.Contains(failures, f) {
			failures = append(failures, f)
		}
	}
	if len(x.errors) >= maxTexts {
		clear(x.errors)
	}
	x.errors[string(text)] = failures
	return failures
}
