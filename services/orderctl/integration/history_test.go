package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

var (
	historySeed  = flag.Uint64("history.seed", 0, "play the history of this seed alone")
	historySeeds = flag.Uint64("history.seeds", 40, "play so many random histories")
	historySteps = flag.Int("history.steps", 50, "steps of each")
)

// Random histories of records that fail or pass, redrives, edits, discards,
// undos and purges by several at once, crashes before each of their requests, and
// compaction: no letter is lost or shown in the wrong state, and each one that
// was redriven is stored, or is a new letter with its history.
//
// The seed decides on what is done and where it crashes; what concurrent actors
// do in which order, the scheduler does.
func TestRandomHistories(t *testing.T) {
	if *historySeed != 0 {
		newHistory(t, *historySeed).play(*historySteps)
		return
	}
	for seed := range *historySeeds {
		t.Run(fmt.Sprintf("seed=%d", seed+1), func(t *testing.T) { newHistory(t, seed+1).play(*historySteps) })
	}
}

// history is one random history.
type history struct {
	t      *testing.T
	w      *world
	seed   uint64
	random *rand.Rand
	crash  *crash
	worker *fakeWorker
	ledger *ledger
	uids   int
	log    []string
}

func newHistory(t *testing.T, seed uint64) *history {
	t.Helper()
	w := newWorld(t)
	return &history{
		t: t, w: w, seed: seed, random: rand.New(rand.NewPCG(seed, 7)), crash: w.crashes(),
		worker: &fakeWorker{w: w, stored: map[string]string{}, next: map[int32]int{}},
		ledger: &ledger{w: w, read: map[int32]int64{}, letters: map[string]*kgo.Record{}, resolutions: map[string]letter.Resolution{}, ever: map[string]letter.Letter{}, discarded: map[string]bool{}},
	}
}

func (h *history) play(steps int) {
	h.t.Cleanup(func() {
		if h.t.Failed() {
			h.t.Logf("play it again: go test -run TestRandomHistories -history.seed %d -history.steps %d\n%s", h.seed, steps, strings.Join(h.log, "\n"))
		}
	})
	for range steps {
		switch n := h.random.IntN(10); {
		case n < 2:
			h.order()
		case n < 4:
			h.log = append(h.log, "worker")
			h.worker.work(h.random)
		case n < 7:
			h.one()
		case n < 9:
			h.several()
		default:
			h.log = append(h.log, "compaction")
			h.check()
			h.w.broker.Cluster().Compact()
		}
		if h.random.IntN(12) == 0 {
			h.worker.mended = true
		}
		h.check()
	}
	h.end()
}

// order sends an order that is refused for good, until its rule is mended, or
// not at all.
func (h *history) order() {
	kind := []string{"hopeless", "curable", "good"}[h.random.IntN(3)]
	h.uids++
	uid := "uid" + strconv.Itoa(h.uids)
	h.log = append(h.log, "order "+kind+" "+uid)
	h.w.produce(&kgo.Record{Topic: orders, Partition: h.random.Int32N(partitions), Key: []byte(uid), Value: []byte(kind + " " + uid)})
}

// one has one actor work, who may crash.
func (h *history) one() {
	act, name := h.actor()
	requests := -1
	if h.random.IntN(2) == 0 {
		requests = h.random.IntN(6)
		name += fmt.Sprintf(", crashes after %d requests", requests)
	}
	h.log = append(h.log, name)
	h.crash.after(requests)
	err := act(h.t.Context())
	crashed := h.crash.over()
	if !crashed {
		require.NoError(h.t, err, name)
	} else {
		h.recover()
	}
}

// recover waits for what a crash left to be given up, as the broker does after a
// while, or once the next begins.
func (h *history) recover() {
	only, err := h.w.client.Exclusive(h.t.Context(), "orderhub-dlq/"+dlqTopic)
	require.NoError(h.t, err)
	only.Close()
}

// several work at once, all on the same letters.
func (h *history) several() {
	var acts []func(context.Context) error
	var names []string
	for range 2 + h.random.IntN(2) {
		act, name := h.actor()
		acts, names = append(acts, act), append(names, name)
	}
	h.log = append(h.log, "at once: "+strings.Join(names, "; "))
	errs := make([]error, len(acts))
	var working sync.WaitGroup
	for i, act := range acts {
		working.Go(func() { errs[i] = act(h.t.Context()) })
	}
	working.Wait()
	require.NoError(h.t, errors.Join(errs...))
}

// actor chooses who does what. Each sees the topic for itself.
func (h *history) actor() (act func(context.Context) error, name string) {
	what := h.random.IntN(6)
	first, of := h.random.IntN(3), 1+h.random.IntN(3)
	some := func(refs []dlq.Ref) []dlq.Ref { // every of-th letter
		var chosen []dlq.Ref
		for i := first; i < len(refs); i += of {
			chosen = append(chosen, refs[i])
		}
		return chosen
	}
	by := dlq.By{Actor: "actor" + strconv.Itoa(what), Why: "because"}
	on := func(status letter.Status, do func(context.Context, *dlq.View, []dlq.Ref) error) func(context.Context) error {
		return func(ctx context.Context) error {
			snap, err := h.w.store.Scan(ctx, letter.Filter{})
			if err != nil {
				return err
			}
			return do(ctx, snap, some(snap.Select(status, 0)))
		}
	}
	redrive := dlq.Redrive{By: by, MaxRedrives: 100, Done: h.redriven}
	switch what {
	case 0, 1:
		return on(letter.Open, func(ctx context.Context, snap *dlq.View, refs []dlq.Ref) error {
			return h.w.store.Redrive(ctx, snap, refs, redrive)
		}), "redrive"
	case 2:
		redrive.Edit = func(i *dlq.Item) ([]byte, error) { return []byte("cured " + string(i.SourceKey)), nil }
		return on(letter.Open, func(ctx context.Context, snap *dlq.View, refs []dlq.Ref) error {
			return h.w.store.Redrive(ctx, snap, refs, redrive)
		}), "edit"
	case 3:
		return on(letter.Open, func(ctx context.Context, snap *dlq.View, refs []dlq.Ref) error {
			return h.w.store.Discard(ctx, snap, refs, by, nobody)
		}), "discard"
	case 4:
		return on(letter.Resolved, func(ctx context.Context, snap *dlq.View, refs []dlq.Ref) error {
			return h.w.store.Undo(ctx, snap, refs, nil, nobody)
		}), "undo"
	default:
		return func(ctx context.Context) error {
			return h.w.store.Purge(ctx, dlq.PurgeOptions{Before: time.Now().Add(time.Hour), Source: orders}, func(string) {})
		}, "purge"
	}
}

// redriven checks what a redrive says of a letter.
func (h *history) redriven(o dlq.Outcome) {
	if o.Err != nil && !errors.Is(o.Err, dlq.ErrNotOpen) {
		h.t.Errorf("%s: %v", o.Item.ID, o.Err)
	}
}

// check compares what the store says with what the ledger found by itself.
func (h *history) check() {
	h.t.Helper()
	h.ledger.follow(h.t)
	items, _, err := h.w.store.List(h.t.Context(), letter.Filter{}, letter.Any, 0)
	require.NoError(h.t, err)
	got, want := map[string]letter.Status{}, map[string]letter.Status{}
	for _, i := range items {
		got[i.ID] = i.Ref.Status
	}
	for id := range h.ledger.letters {
		want[id] = letter.Open
		if _, resolved := h.ledger.resolutions[id]; resolved {
			want[id] = letter.Resolved
		}
	}
	require.Equal(h.t, want, got)
	require.Empty(h.t, h.ledger.lost, "open letters that were taken away")
}

// end mends all, sends all that is open, and accounts for every record.
func (h *history) end() {
	h.worker.mended = true
	for range 4 {
		_, err := h.w.redrive(h.t.Context(), dlq.Redrive{MaxRedrives: 1000})
		require.NoError(h.t, err)
		h.worker.work(nil)
		h.check()
	}
	records := map[string]*kgo.Record{}
	bySource := map[string]letter.Letter{}
	for _, l := range h.ledger.ever {
		bySource[l.Source.String()] = l
	}
	for _, all := range h.w.read(orders) {
		for _, r := range all {
			place := letter.Place{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}.String()
			records[place] = r
			_, dead := bySource[place]
			require.True(h.t, h.worker.stored[string(r.Key)] == string(r.Value) || dead, "the record at %s is neither stored nor dead", place)
		}
	}
	for n := range h.uids {
		uid := "uid" + strconv.Itoa(n+1)
		if _, stored := h.worker.stored[uid]; !stored {
			require.True(h.t, h.ledger.discarded[uid] || h.ledger.open(uid), "%s is neither stored, nor discarded, nor open", uid)
		}
	}
	for id, r := range h.ledger.redriven {
		was, sent := h.ledger.ever[id], records[r.Became]
		require.NotNil(h.t, sent, "the copy of %s at %s", id, r.Became)
		if r.Edited {
			require.Equal(h.t, "cured "+string(was.SourceKey), string(sent.Value))
			require.Contains(h.t, headersOf(sent), "dlq-edited-by="+r.By+" dlq-edited-from="+id)
		} else {
			require.Equal(h.t, was.Value, sent.Value)
		}
		require.Equal(h.t, was.SourceKey, sent.Key)
		if again, dead := bySource[r.Became]; dead {
			require.Equal(h.t, was.Origin, again.Origin, "the history of %s", again.ID)
			require.Equal(h.t, was.Redrives+1, again.Redrives)
		}
	}
}

// fakeWorker stores orders, first writer wins, and writes the letters of others.
type fakeWorker struct {
	w      *world
	mended bool
	stored map[string]string
	next   map[int32]int
}

// work deals with what has come. Killed before it commits, as it is at random, it
// takes some again.
func (f *fakeWorker) work(random *rand.Rand) {
	for partition, records := range f.w.read(orders) {
		for _, r := range records[f.next[partition]:] {
			uid, value := string(r.Key), string(r.Value)
			valid := strings.HasPrefix(value, "good") || strings.HasPrefix(value, "cured") || f.mended && strings.HasPrefix(value, "curable")
			there, exists := f.stored[uid]
			switch {
			case !valid:
				f.w.fail(r, "invalid")
			case !exists:
				f.stored[uid] = value
			case there != value:
				f.w.fail(r, deadletter.ReasonConflict)
			}
		}
		f.next[partition] = len(records)
		if random != nil {
			f.next[partition] -= random.IntN(min(len(records), 2) + 1)
		}
	}
}

// ledger follows the dead-letter topic record by record, in the order in which
// they got in, with code that the library does not share.
type ledger struct {
	w           *world
	read        map[int32]int64
	letters     map[string]*kgo.Record
	resolutions map[string]letter.Resolution
	ever        map[string]letter.Letter
	redriven    map[string]letter.Resolution
	discarded   map[string]bool // uids
	lost        []string
}

func (l *ledger) follow(t *testing.T) {
	t.Helper()
	if l.redriven == nil {
		l.redriven = map[string]letter.Resolution{}
	}
	for partition, records := range l.w.read(dlqTopic) {
		for _, r := range records {
			if r.Offset < l.read[partition] {
				continue
			}
			l.read[partition] = r.Offset + 1
			l.take(t, r)
		}
	}
}

func (l *ledger) take(t *testing.T, r *kgo.Record) {
	t.Helper()
	id, isResolution := strings.CutSuffix(string(r.Key), "/resolution")
	_, resolved := l.resolutions[id]
	switch {
	case isResolution && r.Value == nil:
		delete(l.resolutions, id)
	case isResolution:
		parsed, err := letter.ParseResolution(r)
		require.NoError(t, err)
		l.resolutions[id] = parsed
		if parsed.Kind == letter.Redriven {
			l.redriven[id] = parsed
		} else {
			l.discarded[string(l.ever[id].SourceKey)] = true
		}
	case r.Value == nil:
		if _, there := l.letters[id]; there && !resolved {
			l.lost = append(l.lost, id)
		}
		delete(l.letters, id)
	default:
		l.letters[id], l.ever[id] = r, letter.Parse(r)
	}
}

// open says whether a uid has an open letter.
func (l *ledger) open(uid string) bool {
	for id := range l.letters {
		if _, resolved := l.resolutions[id]; !resolved && string(l.ever[id].SourceKey) == uid {
			return true
		}
	}
	return false
}
