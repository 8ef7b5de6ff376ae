// Package verify compares what a running read API answers with the tables,
// order by order: the detector of a cache that has gone wrong.
//
// Run reads orders by uid, a page at a time, each page in its own short transaction, so
// that memory is bounded and no snapshot is held for long. A change that has not
// reached the API yet is no difference: an order that doesn't match is compared again
// until its row has not changed for a while, and only then counts.
package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

// Kind of a difference.
type Kind string

// The kinds.
const (
	Missing Kind = "missing" // the tables have the order, the API says that there is none
	Extra   Kind = "extra"   // the API has an order that the tables don't have
	Stale   Kind = "stale"   // both have it, and it is not the same
)

// Difference is an order that the API answers wrongly.
type Difference struct {
	UID  string `json:"order_uid"`
	Kind Kind   `json:"kind"`
	// Paths are what differs in a stale order, without values.
	Paths []string `json:"paths,omitempty"`
}

// Options of a run.
type Options struct {
	// DB has the tables. Up to three of its connections are used.
	DB *bun.DB
	// API is the base address of a read API, such as http://127.0.0.1:8081.
	API string
	// Token is what the API asks for; "" sends none. It needs the scopes orders:read and
	// orders:personal, since masked orders cannot be compared.
	Token string
	// Sample is how many orders to look at, chosen at random; 0 means all.
	Sample int
	// Settle is how long a row must have stood still before a difference counts:
	// longer than the API needs for a change. 0 means 2 seconds.
	Settle time.Duration
	// Workers is how many requests are made at a time. 0 means 16.
	Workers int
	// Found is called for each difference, one at a time. It may be nil.
	Found func(Difference)
	// Progress is called now and then with the number of orders looked at so far. It may be
	// nil.
	Progress func(checked int64)
}

// Result sums a run up.
type Result struct {
	Checked int64 `json:"checked"` // orders and deletions that were looked at
	Missing int64 `json:"missing"`
	Extra   int64 `json:"extra"`
	Stale   int64 `json:"stale"`
	// Unnamed is how many orders the API holds beyond those of the tables and the
	// extra ones: no deletion that is still remembered tells which they are.
	Unnamed int64 `json:"unnamed"`
	// Unaskable is how many have a uid, made by hand, that no address can have.
	Unaskable int64 `json:"unaskable"`
	// Unsettled is how many orders changed too often to be compared.
	Unsettled int64 `json:"unsettled"`
}

// Equal tells whether nothing was found to differ.
func (r Result) Equal() bool { return r.Missing+r.Extra+r.Stale+r.Unnamed == 0 }

const (
	pageOrders     = 200
	defaultWorkers = 16
	defaultSettle  = 2 * time.Second
	// maxSuspects is how many orders that don't match are gathered before they are
	// compared again.
	maxSuspects = 1000
	// maxLooks is how often an order that keeps changing is looked at.
	maxLooks = 10
)

// Run compares. An error means that the comparison could not be made; the result
// is then as far as it went.
func Run(ctx context.Context, options Options) (Result, error) {
	if options.Settle == 0 {
		options.Settle = defaultSettle
	}
	if options.Workers == 0 {
		options.Workers = defaultWorkers
	}
	r := &run{Options: options, tables: tables{options.DB}, api: newAPI(options.API, options.Token, options.Workers)}
	defer r.api.close()
	err := r.everything(ctx)
	return r.result, err
}

type run struct {
	Options
	tables tables
	api    *api
	result Result

	mu       sync.Mutex
	suspects []suspect
}

// suspect is an order that didn't match when it was looked at.
type suspect struct {
	uid string
	row
}

type row struct {
	json string // canonical; "" where there is none
	// stamp is another one after each change, be it back to what was there before;
	// "" where it was not asked for.
	stamp string
}

func (r *run) everything(ctx context.Context) error {
	uids := r.tables.all
	if r.Sample > 0 {
		uids = func(ctx context.Context, use func([]string) error) error { return r.tables.sample(ctx, r.Sample, use) }
	}
	if err := r.walk(ctx, uids); err != nil {
		return err
	}
	if err := r.walk(ctx, func(ctx context.Context, use func([]string) error) error {
		return r.tables.deletions(ctx, r.Sample, use)
	}); err != nil {
		return err
	}
	if r.Sample > 0 {
		return nil
	}
	return r.count(ctx)
}

// walk compares the orders whose uids it is given, a page at a time, and settles what
// doesn't match.
func (r *run) walk(ctx context.Context, uids func(context.Context, func([]string) error) error) error {
	group, comparing := errgroup.WithContext(ctx)
	group.SetLimit(r.Workers)
	err := uids(comparing, func(uids []string) error {
		if r.crowded() {
			if err := r.settle(comparing); err != nil {
				return err
			}
		}
		page, err := r.tables.page(comparing, uids)
		if err != nil {
			return err
		}
		for _, order := range page {
			r.result.Checked++
			if !model.IsOrderUID(order.uid) {
				r.result.Unaskable++
				continue
			}
			group.Go(func() error { return r.compare(comparing, order) })
		}
		if r.Progress != nil {
			r.Progress(r.result.Checked)
		}
		return nil
	})
	if failed := group.Wait(); failed != nil {
		return failed // and not what it led to
	}
	if err != nil {
		return err
	}
	return r.settle(ctx)
}

// compare looks at an order for the first time.
func (r *run) compare(ctx context.Context, order suspect) error {
	answer, err := r.api.order(ctx, order.uid)
	if err != nil || answer.is(order.json) {
		return err
	}
	if order.json != "" && answer.is(string(model.AppendMasked(nil, []byte(order.json)))) {
		return &APIError{API: r.API, Refused: true, Err: errors.New("it answers with personal data masked")}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suspects = append(r.suspects, order)
	return nil
}

func (r *run) crowded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.suspects) >= maxSuspects
}

// settle looks at the suspects again until each is known to match, to differ, or
// to change all the time.
func (r *run) settle(ctx context.Context) error {
	r.mu.Lock()
	left := r.suspects
	r.suspects = nil
	r.mu.Unlock()
	slices.SortFunc(left, func(a, b suspect) int { return strings.Compare(a.uid, b.uid) })
	left = slices.CompactFunc(left, func(a, b suspect) bool { return a.uid == b.uid })
	for range maxLooks {
		if len(left) == 0 {
			return nil
		}
		if err := wait(ctx, r.Settle); err != nil {
			return err
		}
		var err error
		if left, err = r.look(ctx, left); err != nil {
			return err
		}
	}
	r.result.Unsettled += int64(len(left))
	return nil
}

// look asks the API and then the tables about orders, and returns those that
// have changed since. If a row is what it was before the wait and still is after
// the API's answer, the answer had all that time to become it.
func (r *run) look(ctx context.Context, orders []suspect) (changed []suspect, err error) {
	for page := range slices.Chunk(orders, pageOrders) {
		answers := make([]answer, len(page))
		uids := make([]string, len(page))
		for i, order := range page {
			if answers[i], err = r.api.order(ctx, order.uid); err != nil {
				return nil, err
			}
			uids[i] = order.uid
		}
		now, err := r.tables.read(ctx, uids)
		if err != nil {
			return nil, err
		}
		for i, order := range page {
			is := now[order.uid]
			switch {
			case answers[i].is(is.json):
			case answers[i].unknown != "":
				return nil, &APIError{API: r.API, Err: fmt.Errorf("order %s is answered with %s", order.uid, answers[i].unknown)}
			case is == order.row && is.stamp != "":
				r.found(order, answers[i])
			default:
				changed = append(changed, suspect{order.uid, is})
			}
		}
	}
	return changed, nil
}

func (r *run) found(order suspect, answer answer) {
	d := Difference{UID: order.uid}
	switch {
	case order.json == "":
		d.Kind = Extra
		r.result.Extra++
	case answer.body == "":
		d.Kind = Missing
		r.result.Missing++
	default:
		d.Kind, d.Paths = Stale, differingPaths(order.json, answer.body)
		r.result.Stale++
	}
	if r.Found != nil {
		r.Found(d)
	}
}

// count finds out whether the API holds orders that no table and no deletion names. Those
// that it lacks do not make up for them. It counts them only if each of several looks
// shows too many.
func (r *run) count(ctx context.Context) error {
	least := int64(0)
	for look := range maxLooks / 2 {
		before, err := r.tables.count(ctx)
		if err != nil {
			return err
		}
		if look > 0 {
			if err := wait(ctx, r.Settle); err != nil {
				return err
			}
		}
		held, complete, err := r.api.held(ctx)
		if err != nil || !complete {
			return err
		}
		after, err := r.tables.count(ctx)
		if err != nil {
			return err
		}
		excess := held + r.result.Missing - r.result.Extra - max(before, after)
		if excess <= 0 {
			return nil
		}
		if look == 0 || excess < least {
			least = excess
		}
	}
	r.result.Unnamed = least
	return nil
}

// wait sleeps for d and up to a quarter more, so as not to fall into step with
// regular changes.
func wait(ctx context.Context, d time.Duration) error { return retry.Sleep(ctx, d+rand.N(d/4+1)) }
