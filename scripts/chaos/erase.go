package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/poll"
)

const (
	erasePause = 2 * time.Second
	eraseTime  = 30 * time.Second // after which an erasure that hangs is interrupted
	turn       = time.Second      // for which the stream is followed on one reader
	agreement  = 30 * time.Second // within which it tells all, once nothing else happens
)

// eraser erases orders, and follows the stream, which must tell of that.
type eraser struct {
	mu     sync.Mutex
	random *rand.Rand
	uids   []string        // of the erased orders
	there  map[string]bool // by uid, as the stream told last
}

// erase erases an order that was sent lately, or will be sent soon. What is interrupted
// is repeated until it succeeds.
func (s *site) erase(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.eraser.mu.Lock()
	load, fresh := s.feeds[0].load, 7 // of ten records are new orders
	if s.eraser.random.IntN(3) == 0 {
		load, fresh = s.feeds[1].load, 2
	}
	uid := load.UID(max(0, load.Sent()*fresh/10-s.eraser.random.IntN(300)))
	s.eraser.uids = append(s.eraser.uids, uid)
	s.eraser.mu.Unlock()
	return poll.Until(ctx, watchPolling, func() error {
		attempt, end := context.WithTimeout(ctx, eraseTime)
		defer end()
		_, err := s.orderctl(attempt, s.binaries, "erase", "--uid", uid, "--actor", "chaos", "--why", "tried", "--yes")
		return err
	})
}

// untold are the erased orders that the stream has told of, and not that they are gone; told
// is of how many orders it did tell.
func (e *eraser) untold() (uids []string, told int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.uids), func(uid string) bool { return !e.there[uid] }), len(e.there)
}

// follow follows the stream on each reader for a while, and resumes on the next one.
func (s *site) follow(ctx context.Context) {
	last := ""
	for n := 0; retry.Sleep(ctx, watchPolling) == nil; n++ {
		staying, leave := context.WithTimeout(ctx, turn)
		_ = events(staying, s.readers[n%len(s.readers)].addr, last, func(id, kind, data string) { // a reader may be away
			var o struct {
				UID string `json:"order_uid"`
			}
			s.eraser.mu.Lock()
			defer s.eraser.mu.Unlock()
			if last = id; kind == "reset" {
				clear(s.eraser.there)
			} else if kind != "" {
				must.Succeed(json.Unmarshal([]byte(data), &o))
				s.eraser.there[o.UID] = kind == "upsert"
			}
		})
		leave()
	}
}

// events passes a stream's events to take until it ends or ctx does. It returns an error if
// there was no stream.
func events(ctx context.Context, addr, lastID string, take func(id, kind, data string)) error {
	request := must.Get(http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/orders/stream", nil))
	request.Header.Set("Last-Event-ID", lastID)
	response, err := client.Transport.RoundTrip(request) // the client's own timeout is for short answers
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", request.URL, response.Status)
	}
	event := map[string]string{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if name, value, is := strings.Cut(lines.Text(), ": "); is {
			event[name] = value
		} else if lines.Text() == "" && event["id"] != "" {
			take(event["id"], event["event"], event["data"])
			clear(event)
		}
	}
	return nil // as streams end
}
