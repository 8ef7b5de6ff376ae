package dlq

import (
	"slices"
	"sync"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// Group is what letters of the same cause and source have in common.
type Group struct {
	Reason, Stage   string
	Failures        []letter.Failure // each once, of any item, at most maxFailures
	SourceTopic     string           // empty: unknown
	SourcePartition int32
}

type groupKey struct {
	reason, stage, topic, failures string
	partition                      int32
}

const (
	maxFailures = 16
	// maxKnown bounds how many texts of failures are remembered.
	maxKnown = 4096
)

// failures remembers what is in the headers dlq-errors, since many letters have the
// same. Safe for concurrent use.
type failures struct {
	mu    sync.RWMutex
	known map[string]*failure
}

// failure is what a letter says of its failures.
type failure struct {
	exact   []letter.Failure // with the items' positions
	anyItem []letter.Failure // those of Group
	key     string           // tells anyItem from that of others
}

func (f *failures) of(l *letter.Letter) *failure {
	ours := l.Format == letter.Orderhub
	f.mu.RLock()
	known := f.known[string(l.ErrorsJSON)]
	f.mu.RUnlock()
	if ours && known != nil {
		return known
	}
	decoded := &failure{exact: l.Failures()}
	for _, f := range decoded.exact {
		f.Path = letter.AnyItem(f.Path)
		if len(decoded.anyItem) < maxFailures && !slices.Contains(decoded.anyItem, f) {
			decoded.anyItem = append(decoded.anyItem, f)
			decoded.key += f.Rule + "\x00" + f.Path + "\x00"
		}
	}
	if ours {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.known == nil || len(f.known) >= maxKnown {
			f.known = map[string]*failure{}
		}
		f.known[string(l.ErrorsJSON)] = decoded
	}
	return decoded
}
