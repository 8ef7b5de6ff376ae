package console

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// kind is what a job does with letters.
type kind string

const (
	dryRun  kind = "dry-run"
	redrive kind = "redrive"
	discard kind = "discard"
	undo    kind = "undo"
)

// known says whether a form may ask for a kind.
func (k kind) known() bool { return slices.Contains([]kind{dryRun, redrive, discard, undo}, k) }

// status is that of the letters that a kind is for.
func (k kind) status() letter.Status {
	if k == undo {
		return letter.Resolved
	}
	return letter.Open
}

// progress of a job.
type progress string

const (
	waiting  progress = "waiting" // for the job before it
	running  progress = "running"
	finished progress = "finished"
	stopped  progress = "stopped" // by somebody
	broken   progress = "failed"
)

const (
	keptJobs = 100
	// keptRows bounds what a job's page lists.
	keptRows = 200
	// keptPlaces bounds for how many letters a job can be undone, or gone on
	// with, as a whole.
	keptPlaces = 1 << 20
	// maxWaiting bounds how many jobs wait for their turn.
	maxWaiting = 20
	// dryRuns is how many dry runs work at once; jobs that change letters work
	// one after another.
	dryRuns = 2
)

// order is what a job was asked to do.
type order struct {
	Kind        kind
	Actor, Why  string
	What        string // the letters, in words
	Back        string // address of where it was asked
	MaxRedrives int
	Rate        float64
	// UndoOf is the job whose doing is taken back.
	UndoOf string
	// single is set where the job is about one letter.
	single bool
}

// row is what a job's page says of a letter.
type row struct {
	ID     string
	At     place
	Would  string // of a dry run
	Text   string
	Errors []string
}

// job is some work on letters. Its fields are guarded by its lock but for those
// that are set once.
type job struct {
	order

	ID    string
	Total int
	Began time.Time
	stop  context.CancelFunc
	done  chan struct{} // closed at the end

	mu       sync.Mutex
	progress progress
	ended    time.Time
	dealt    int // letters that are behind us
	good     int
	counts   map[string]int // of a dry run, by what would become of them
	rows     []row
	failure  error
	places   []place // letters that were changed, or that would pass
	changes  int
}

// jobs are those of this process, the newest last. They are gone with it: what
// was done is in the topic.
type jobs struct {
	now    func() time.Time
	ctx    context.Context //nolint:containedctx // the jobs' life, not a call's
	cancel context.CancelFunc
	work   sync.WaitGroup
	// turns are for jobs that change letters, and for dry runs.
	turns, dryTurns chan struct{}

	mu   sync.Mutex
	kept []*job
}

func newJobs(now func() time.Time) *jobs {
	ctx, cancel := context.WithCancel(context.Background())
	return &jobs{now: now, ctx: ctx, cancel: cancel, turns: make(chan struct{}, 1), dryTurns: make(chan struct{}, dryRuns)}
}

var (
	errBusy     = errors.New("too many jobs wait already: try again when some are done")
	errStopping = errors.New("the console is stopping")
)

// begin starts work, or, where a form was sent twice, gives the job that the
// first one started. id is the form's; empty: a new one.
func (j *jobs) begin(id string, o order, total int, work func(context.Context, *job) error) (*job, error) {
	if id == "" {
		id = rand.Text()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if there := j.findLocked(id); there != nil {
		return there, nil
	}
	if j.ctx.Err() != nil {
		return nil, errStopping
	}
	unfinished := 0
	for _, other := range j.kept {
		if !other.isOver() {
			unfinished++
		}
	}
	if unfinished >= maxWaiting {
		return nil, errBusy
	}
	ctx, stop := context.WithCancel(j.ctx)
	begun := &job{
		order: o, ID: id, Total: total, Began: j.now(), stop: stop, done: make(chan struct{}),
		progress: waiting, counts: map[string]int{},
	}
	j.kept = append(j.kept, begun)
	for i := 0; len(j.kept) > keptJobs && i < len(j.kept); i++ {
		if j.kept[i].isOver() {
			j.kept = slices.Delete(j.kept, i, i+1)
			i--
		}
	}
	j.work.Go(func() {
		defer stop()
		begun.end(j.now, j.take(ctx, begun, work))
	})
	return begun, nil
}

// take waits for a job's turn and does it.
func (j *jobs) take(ctx context.Context, b *job, work func(context.Context, *job) error) error {
	turns := j.turns
	if b.Kind == dryRun {
		turns = j.dryTurns
	}
	select {
	case turns <- struct{}{}:
		defer func() { <-turns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	b.change(func() { b.progress = running })
	return work(ctx, b)
}

func (j *jobs) find(id string) *job {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.findLocked(id)
}

func (j *jobs) findLocked(id string) *job {
	for _, b := range j.kept {
		if b.ID == id {
			return b
		}
	}
	return nil
}

// newest gives the last jobs, the newest first.
func (j *jobs) newest(most int) []jobView {
	j.mu.Lock()
	kept := slices.Clone(j.kept)
	j.mu.Unlock()
	slices.Reverse(kept)
	views := make([]jobView, 0, most)
	for _, b := range kept[:min(most, len(kept))] {
		views = append(views, b.view())
	}
	return views
}

// close stops all jobs and waits until what they sent is written down.
func (j *jobs) close() {
	j.cancel()
	j.work.Wait()
}

func (b *job) change(what func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	what()
	b.changes++
}

func (b *job) end(now func() time.Time, err error) {
	b.change(func() {
		b.ended = now()
		switch {
		case errors.Is(err, context.Canceled):
			b.progress = stopped
		case err != nil:
			b.progress, b.failure = broken, err
		default:
			b.progress = finished
		}
	})
	close(b.done)
}

func (b *job) isOver() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// did counts a letter that was dealt with as asked.
func (b *job) did(at place) {
	b.change(func() {
		b.dealt++
		b.good++
		b.keep(at)
	})
}

// left counts a letter that was not, and says why.
func (b *job) left(r row) {
	b.change(func() {
		b.dealt++
		if len(b.rows) < keptRows {
			b.rows = append(b.rows, r)
		}
	})
}

// judged counts a letter of a dry run.
func (b *job) judged(r row, passes bool) {
	b.change(func() {
		b.dealt++
		b.counts[r.Would]++
		if passes {
			b.good++
			b.keep(r.At)
		}
		if (!passes || b.single) && len(b.rows) < keptRows {
			b.rows = append(b.rows, r)
		}
	})
}

// keep is called with the lock held.
func (b *job) keep(at place) {
	if len(b.places) < keptPlaces {
		b.places = append(b.places, at)
	}
}

// touched are the letters that a job changed, or of a dry run those that would
// pass.
func (b *job) touched() map[place]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	places := make(map[place]bool, len(b.places))
	for _, p := range b.places {
		places[p] = true
	}
	return places
}

// jobView is a job at a moment, for the templates.
type jobView struct {
	order

	ID       string
	Total    int
	Began    time.Time
	Ended    time.Time
	Progress progress
	Dealt    int
	Good     int
	Counts   map[string]int
	Rows     []row
	Failure  error
	changes  int
}

func (b *job) view() jobView {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := jobView{
		order: b.order, ID: b.ID, Total: b.Total, Began: b.Began, Ended: b.ended, Progress: b.progress,
		Dealt: b.dealt, Good: b.good, Rows: slices.Clone(b.rows), Failure: b.failure, changes: b.changes,
		Counts: maps.Clone(b.counts),
	}
	return v
}

// Over says whether the job has ended.
func (v jobView) Over() bool { return v.Progress != waiting && v.Progress != running }

// Left are the letters that were not dealt with as asked.
func (v jobView) Left() int { return v.Dealt - v.Good }

// Rest are the letters that the job did not come to.
func (v jobView) Rest() int { return v.Total - v.Dealt }

// More are the letters that were left and are not listed.
func (v jobView) More() int { return max(v.Left()-len(v.Rows), 0) }

// CanUndo says whether something was done that can be taken back.
func (v jobView) CanUndo() bool {
	return v.Over() && v.Good > 0 && (v.Kind == redrive || v.Kind == discard)
}

// Title is what the job does, or did.
func (v jobView) Title() string {
	verbs := map[kind][2]string{
		dryRun: {"Trying out", "Tried out"}, redrive: {"Redriving", "Redriven"},
		discard: {"Discarding", "Discarded"}, undo: {"Opening again", "Opened again"},
	}[v.Kind]
	if v.Over() {
		return verbs[1]
	}
	return verbs[0]
}
