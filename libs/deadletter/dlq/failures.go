package dlq

import (
	"slices"
	"sync"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

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

// failure is what a letter says of its failures.
type failure struct {
	json   []byte           // the header, for all letters that have it
	exact  []letter.Failure // with the items' positions
	causes []letter.Failure // those of Ref
}

func (f *failures) of(l *letter.Letter) *failure {
	ours := l.Format == letter.Orderhub
	f.mu.RLock()
	known := f.known[string(l.ErrorsJSON)]
	f.mu.RUnlock()
	if ours && known != nil {
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
