package dlq

import (
	"slices"
	"sync"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// Group is what letters of the same failures and source have in common.
type Group struct {
	Format          letter.Format
	Reason, Stage   string
	SourceTopic     string // empty: unknown
	SourcePartition int32
	Class           string // of the exception, where others wrote the letters
	ErrorsJSON      []byte // the header dlq-errors
	// Causes are the failures, each once, with the path of any item, at most maxCauses.
	// Letters that name none have one without rule and path.
	Causes []letter.Failure
}

type groupKey struct {
	format                      letter.Format
	reason, stage, topic, class string
	partition                   int32
	failed                      *failure
}

// group finds the letter's group, or makes it.
func (v *View) group(l *letter.Letter, failed *failure) *Group {
	key := groupKey{l.Format, l.Reason, l.Stage, l.Source.Topic, l.Exception.Class, l.Source.Partition, failed}
	if v.groups[key] == nil {
		v.groups[key] = &Group{l.Format, l.Reason, l.Stage, l.Source.Topic, l.Source.Partition, l.Exception.Class, failed.json, failed.causes}
	}
	return v.groups[key]
}

const (
	maxCauses = 16
	// maxKnown bounds how many texts of failures are remembered.
	maxKnown = 4096
)

// failures remembers what is in the headers dlq-errors, since many letters have the
// same. Safe for concurrent use.
type failures struct {
	mu    sync.RWMutex
	known map[string]*failure
}

type failure struct {
	json   []byte           // the header, for all letters that have it
	exact  []letter.Failure // with the items' positions
	causes []letter.Failure // those of Group
}

func (f *failures) of(l *letter.Letter) *failure {
	text := l.ErrorsJSON
	if l.Format != letter.Orderhub {
		text = []byte("class " + l.Exception.Class) // which is no JSON
	}
	f.mu.RLock()
	known := f.known[string(text)]
	f.mu.RUnlock()
	if known != nil {
		return known
	}
	decoded := &failure{json: slices.Clone(l.ErrorsJSON), exact: l.Failures()}
	for _, f := range decoded.exact {
		f.Path = letter.AnyItem(f.Path)
		if len(decoded.causes) < maxCauses && !slices.Contains(decoded.causes, f) {
			decoded.causes = append(decoded.causes, f)
		}
	}
	if len(decoded.causes) == 0 {
		decoded.causes = []letter.Failure{{}}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil || len(f.known) >= maxKnown {
		f.known = map[string]*failure{}
	}
	f.known[string(text)] = decoded
	return decoded
}
