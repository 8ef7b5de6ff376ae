package console

import (
	"context"
	"errors"
	"sync"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
)

const (
	keptLines = 5000
	// lineErrors is how many failures are kept of a letter, and shownErrors how
	// many a line of a list names.
	lineErrors  = 16
	shownErrors = 2
)

// line is what a list says of a letter besides what the index knows.
type line struct {
	ID, Key  string
	Errors   []model.FieldError // the first
	Failures int                // all of them
	Redrives int
	Size     int64
}

// lines are read from the topic and kept for a while, so that a list that is
// looked at again and again costs nothing.
type lines struct {
	store *dlq.Queue

	mu   sync.Mutex
	kept map[linePlace]line
}

// linePlace is a place and what tells records apart that a topic, made anew, has
// at the same place.
type linePlace struct {
	place
	at int64
}

func newLines(from *dlq.Queue) *lines {
	return &lines{store: from, kept: map[linePlace]line{}}
}

func lineAt(r *dlq.Ref) linePlace {
	return linePlace{place{r.Partition, r.Offset}, r.FailedAt.UnixNano()}
}

// of gives the lines of letters; those that are gone are missing.
func (l *lines) of(ctx context.Context, refs []dlq.Ref) (map[linePlace]line, error) {
	found := make(map[linePlace]line, len(refs))
	var missing []dlq.Ref
	l.mu.Lock()
	for i := range refs {
		if kept, ok := l.kept[lineAt(&refs[i])]; ok {
			found[lineAt(&refs[i])] = kept
			continue
		}
		r := refs[i]
		r.Status = letter.Open // its resolution is not wanted
		missing = append(missing, r)
	}
	l.mu.Unlock()
	if len(missing) == 0 {
		return found, nil
	}
	items, err := l.store.Load(ctx, missing)
	if err != nil && !errors.Is(err, dlq.ErrChanged) {
		return found, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept)+len(items) > keptLines {
		clear(l.kept)
	}
	for i := range items {
		at := lineAt(&items[i].Ref)
		found[at] = lineOf(&items[i])
		l.kept[at] = found[at]
	}
	return found, nil
}

func lineOf(item *dlq.Item) line {
	failures := item.Errors()
	return line{
		ID: item.ID, Key: string(item.SourceKey), Errors: append([]model.FieldError(nil), failures[:min(len(failures), lineErrors)]...),
		Failures: len(failures), Redrives: item.Redrives, Size: item.Size(),
	}
}

// Shown are the failures that a list names, More how many there are besides.
func (l line) Shown() []model.FieldError { return l.Errors[:min(len(l.Errors), shownErrors)] }

// More is how many failures are not among those shown.
func (l line) More() int { return l.Failures - len(l.Shown()) }
