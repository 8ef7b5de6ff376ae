package orders

import (
	"sync"
	"sync/atomic"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// maxRecentBytes bounds what pages are kept.
const maxRecentBytes = 16 << 20

// recent keeps pages that were read lately, and returns them again until something
// changes: most people look at the same few. A page from here is as current as an
// order from the cache. It subscribes to the cache; its other methods are safe for
// concurrent use.
type recent struct {
	// changes counts what comes into the cache, even if it was there already: a kept
	// page may be from a moment in between.
	changes atomic.Int64
	current func() bool // everything that was committed a moment ago is counted

	mu    sync.Mutex
	at    int64 // the count that the pages belong to
	pages map[question]Page
	bytes int
}

// question is what a page answers.
type question struct {
	list  string // the filter's Fingerprint
	after Key    // zero: from the start
	limit int
}

func newQuestion(filter Filter, after *Key, limit int) question {
	q := question{list: filter.Fingerprint(), limit: limit}
	if after != nil {
		q.after = *after
	}
	return q
}

// Put implements cache.Subscriber.
func (r *recent) Put(*model.Order, []byte, bool) { r.changes.Add(1) }

// Delete implements cache.Subscriber.
func (r *recent) Delete(string, bool) { r.changes.Add(1) }

// Relisted implements cache.Subscriber.
func (r *recent) Relisted(changes.Position, bool) { r.changes.Add(1) }

// Begin implements cache.Subscriber.
func (r *recent) Begin(changes.Position, bool) {}

// Applied implements cache.Subscriber.
func (r *recent) Applied(changes.Position) {}

// get returns a page that is still what the database has, and otherwise the
// count to keep it under once it has been read.
func (r *recent) get(q question) (page Page, kept bool, at int64) {
	// In this order: everything up to the moment for which the cache vouches is
	// counted by then.
	current := r.current()
	at = r.changes.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	if current && r.at == at {
		page, kept = r.pages[q]
	}
	return page, kept, at
}

// put keeps a page that was read after get returned at.
func (r *recent) put(q question, page Page, at int64) {
	size := len(q.list)
	for _, body := range page.Orders {
		size += len(body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if at < r.at || size > maxRecentBytes {
		return
	}
	if at > r.at || r.bytes+size > maxRecentBytes {
		r.at, r.pages, r.bytes = at, nil, 0
	}
	if r.pages == nil {
		r.pages = map[question]Page{}
	}
	if _, there := r.pages[q]; !there {
		r.pages[q] = page
		r.bytes += size
	}
}
