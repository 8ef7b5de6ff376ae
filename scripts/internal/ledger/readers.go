package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// inParallel is how many requests a reader has at once.
const inParallel = 4

// Readers are APIs that are asked over HTTP.
type readers struct {
	addrs  []string
	client *http.Client
}

func newReaders(addrs []string) *readers {
	return &readers{addrs, &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: inParallel}}}
}

func (r *readers) close() { r.client.CloseIdleConnections() }

// compare asks every reader for orders whose answers are known.
func (r *readers) compare(ctx context.Context, known map[string]string, f *Findings) {
	for _, addr := range r.addrs {
		uids := make(chan string)
		var all sync.WaitGroup
		for range inParallel {
			all.Go(func() {
				for uid := range uids {
					status, body := r.get(ctx, addr, "/order/"+uid)
					if status != http.StatusOK || body != known[uid] {
						f.say(&f.Stale, Finding{
							What:  fmt.Sprintf("reader %s serves order %s as %d %s; the tables have %s", addr, uid, status, body, known[uid]),
							Place: Place{Offset: -1}, UID: uid,
						})
					}
				}
			})
		}
		for uid := range known {
			uids <- uid
		}
		close(uids)
		all.Wait()
	}
}

// compareCount compares how many orders each reader has in memory.
func (r *readers) compareCount(ctx context.Context, stored int, f *Findings) {
	for _, addr := range r.addrs {
		stats, err := ReaderStats(ctx, r.client, addr)
		if err != nil || !stats.Synced || stats.Orders != stored {
			f.say(&f.Stale, Finding{What: fmt.Sprintf("reader %s has %d orders, and the tables have %d (%v)", addr, stats.Orders, stored, err), Place: Place{Offset: -1}})
		}
	}
}

// compareGone asks for orders that are deleted.
func (r *readers) compareGone(ctx context.Context, uids []string, f *Findings) {
	for _, addr := range r.addrs {
		for _, uid := range uids {
			if status, _ := r.get(ctx, addr, "/order/"+uid); status != http.StatusNotFound {
				f.say(&f.Stale, Finding{What: fmt.Sprintf("reader %s answers %d for order %s, which is deleted", addr, status, uid), Place: Place{Offset: -1}, UID: uid})
			}
		}
	}
}

// get asks; status 0 means that nobody answers.
func (r *readers) get(ctx context.Context, addr, path string) (status int, body string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(data)
}

// Stats is what a reader says of its memory.
type Stats struct {
	Orders          int       `json:"orders"`
	Synced          bool      `json:"synced"`
	LastTailBeganAt time.Time `json:"last_tail_began_at"`
}

// ReaderStats asks a reader at host:port.
func ReaderStats(ctx context.Context, client *http.Client, addr string) (s Stats, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/stats", nil)
	if err != nil {
		return s, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return s, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return s, fmt.Errorf("reader %s answers %s", addr, answer.Status)
	}
	return s, json.NewDecoder(answer.Body).Decode(&s)
}
