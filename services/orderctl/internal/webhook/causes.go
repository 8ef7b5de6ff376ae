package webhook

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

// maxCauses is how many causes are followed, those with most letters.
const maxCauses = 1000

// The events.
const (
	isNew    = "new"      // the first open letters of a cause
	growing  = "growing"  // the open letters of a cause have reached another power of ten
	returned = "returned" // new letters of a cause all of whose letters had been resolved
)

// cause is a cause of letters, masked: causes that differ in what is masked are one.
type cause struct {
	Reason string `json:"reason"`
	Rule   string `json:"rule,omitempty"`
	Path   string `json:"path,omitempty"`
}

func (c cause) name() string {
	sum := sha256.Sum256([]byte(c.Reason + "\x00" + c.Rule + "\x00" + c.Path))
	return hex.EncodeToString(sum[:8])
}

// Event is what is told about a cause.
type Event struct {
	ID    string `json:"id"` // the same where it is told again
	Event string `json:"event"`
	cause
	Open      int       `json:"open"` // letters
	Resolved  int       `json:"resolved"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
}

type told struct {
	cause
	// Round is how often the cause was new or has returned, and Digits is the most open
	// letters that were told since then, in decimal digits; 0: all were resolved after that.
	Round  int `json:"round"`
	Digits int `json:"digits"`
}

// due returns what is to be told about letters, and what will have been told then, by the
// causes' names; nil is for causes without letters.
func due(letters []dlq.Ref, before map[string]told) (events []Event, after map[string]*told) {
	after = map[string]*told{}
	stats := dlq.StatsOf(dlq.Each(letters, letter.Any), dlq.StatsOptions{})
	causes := map[string]*Event{}
	for _, c := range stats.Causes {
		masked := cause{}
		masked.Reason, masked.Rule, masked.Path = dlqview.MaskCause(c.Reason, c.Rule, c.Path)
		e := causes[masked.name()]
		if e == nil {
			if len(causes) == maxCauses {
				continue
			}
			e = &Event{cause: masked, FirstSeen: c.First, LastSeen: c.Last}
			causes[masked.name()] = e
		}
		e.Open, e.Resolved = e.Open+c.Open, e.Resolved+c.Resolved
		if c.First.Before(e.FirstSeen) {
			e.FirstSeen = c.First
		}
		if c.Last.After(e.LastSeen) {
			e.LastSeen = c.Last
		}
	}
	for name := range before {
		if causes[name] == nil && len(causes) < maxCauses {
			after[name] = nil
		}
	}
	for name, e := range causes {
		was, known := before[name]
		digits := len(strconv.Itoa(e.Open))
		now := &told{e.cause, was.Round, digits}
		switch {
		case e.Open == 0:
			if now.Digits = 0; !known || was.Digits > 0 {
				after[name] = now
			}
			continue
		case was.Digits >= digits:
			continue
		case !known:
			e.Event = isNew
			now.Round++
		case was.Digits == 0:
			e.Event = returned
			now.Round++
		default:
			e.Event = growing
		}
		e.ID = fmt.Sprintf("%s-%d-%d", name, now.Round, digits)
		events, after[name] = append(events, *e), now
	}
	slices.SortFunc(events, func(a, b Event) int { return cmp.Or(cmp.Compare(b.Open, a.Open), cmp.Compare(a.ID, b.ID)) })
	return events, after
}
