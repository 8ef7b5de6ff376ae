package console

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

type kind string

const (
	dryRun  kind = "dry-run"
	redrive kind = "redrive"
	discard kind = "discard"
	accepts kind = "accept"
	undo    kind = "undo"
)

// status is the status that letters must have.
func (k kind) status() letter.Status {
	if k == undo {
		return letter.Resolved
	}
	return letter.Open
}

// kinds are what the pages say about each: the title of what is to be done, what a job
// does, what it did, and what that means.
var kinds = map[kind]struct{ Title, Doing, Done, Explain string }{
	dryRun: {"Try out", "Trying out", "Tried out",
		"Each letter is decoded and validated by today’s rules and compared with the stored orders. Nothing is sent and nothing changes."},
	redrive: {"Redrive", "Redriving", "Redriven",
		"Each letter goes back to the partition that it came from, in the order that they had there. Records that came later have overtaken them. A letter is resolved once its copy is acknowledged; one that fails again becomes a new letter."},
	discard: {"Discard", "Discarding", "Discarded", "The letters are marked as not wanted. They stay in the topic, and can be opened again."},
	accepts: {"Accept", "Accepting", "Accepted",
		"The content of each letter becomes the newest version of its order, if it is valid by today’s rules. What the order was before is kept, and is restored when the letter is opened again. Only conflicts are accepted."},
	undo: {"Open again", "Opening again", "Opened again", "The letters are open again. What a redrive has sent stays sent. What an acceptance replaced is restored, unless the order has changed since."},
}

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
	// keptRows bounds what a job's page lists, and rowErrors the failures of each row.
	keptRows  = 200
	rowErrors = 20
	// keptHandles bounds for how many letters a job can be undone, or continued, as a
	// whole.
	keptHandles = 1 << 20
	// maxUnfinished bounds how many jobs run or wait.
	maxUnfinished = 20
	// dryRuns is how many dry runs run at once. Jobs that change letters run one after
	// another.
	dryRuns = 2
)

type order struct {
	request
	Actor string
	What  string // the letters, in words
	edits []edit.Edit
	edit  func(*dlq.Item) ([]byte, error) // nil: values stay as they are
}

type row struct {
	ID, Handle string
	Would      string // of a dry run
	Text       string
	Errors     []string
	Changes    []string // of an edited value, masked
}

func rowOf(item *dlq.Item, text string) row {
	return row{ID: mask.ID(item.ID), Handle: handle(&item.Ref), Text: text}
}

type jobView struct {
	order
	ID       string
	Total    int
	Began    time.Time
	Ended    time.Time
	Progress progress
	Dealt    int // letters that are done
	Good     int // of them, those that were dealt with as asked, or would pass
	Counts   map[string]int
	Rows     []row
	Failure  error
	changes  int
}

func (v jobView) Over() bool { return v.Progress != waiting && v.Progress != running }

func (v jobView) Left() int { return v.Dealt - v.Good }

func (v jobView) Rest() int { return v.Total - v.Dealt }

// ListsAll reports whether letters are listed that would pass, too: with what an edit
// changes, or if it is only one.
func (v jobView) ListsAll() bool { return v.Kind == dryRun && (v.Total == 1 || v.Sets != "") }

// More are the letters that were left, or would be edited, and are not listed.
func (v jobView) More() int {
	if v.ListsAll() {
		return v.Dealt - len(v.Rows)
	}
	return max(v.Left()-len(v.Rows), 0)
}

// CanUndo reports whether the job changed letters.
func (v jobView) CanUndo() bool {
	return v.Over() && v.Good > 0 && (v.Kind == redrive || v.Kind == discard || v.Kind == accepts)
}

func (v jobView) Title() string {
	if v.Over() {
		return kinds[v.Kind].Done
	}
	return kinds[v.Kind].Doing
}

func (v jobView) Address() string { return jobAddress(v.ID) }

func jobAddress(id string) string { return "/jobs/" + url.PathEscape(id) }

// version changes whenever the job does.
func (v *jobView) version() string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v.ID, v.Progress, v.changes)
}

// work is what a job does. It stops when the job's context ends.
type work func(*job) error

type job struct {
	ctx  context.Context //nolint:containedctx // the job's own life
	stop context.CancelFunc
	done chan struct{} // closed at the end

	mu sync.Mutex
	// jobView is guarded by mu, except for its order, ID, Total and Began, which never change.
	jobView
	handles map[string]bool // of letters that were changed, or that would pass
}

func (j *job) view() jobView {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := j.jobView
	v.Rows, v.Counts = slices.Clone(v.Rows), maps.Clone(v.Counts)
	return v
}

// touched are the handles of the letters that the job changed, or that would pass.
func (j *job) touched() map[string]bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.handles)
}

func (j *job) change(how func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	how()
	j.changes++
}

// dealt counts a letter: good ones were dealt with as asked, or would pass. Rows of others
// are listed, and those of ListsAll.
func (j *job) dealt(r row, good bool) {
	j.change(func() {
		j.Dealt++
		if r.Would != "" {
			j.Counts[r.Would]++
		}
		if good {
			j.Good++
			if len(j.handles) < keptHandles {
				j.handles[r.Handle] = true
			}
		}
		if (!good || j.ListsAll()) && len(j.Rows) < keptRows {
			j.Rows = append(j.Rows, r)
		}
	})
}

// outcome counts a letter that was dealt with, or that was left.
func (j *job) outcome(o dlq.Outcome) {
	text := ""
	if o.Err != nil {
		text = o.Err.Error()
	}
	j.dealt(rowOf(&o.Item, text), o.Err == nil)
}

// jobs are those of this process, the newest last. They end with it: what was done is in
// the topic.
type jobs struct {
	runner          lifecycle.Runner
	turns, dryTurns chan struct{}

	mu   sync.Mutex
	kept []*job
}

func newJobs() *jobs {
	return &jobs{turns: make(chan struct{}, 1), dryTurns: make(chan struct{}, dryRuns)}
}

var (
	errBusy     = errors.New("too many jobs wait already: try again when some are done")
	errStopping = errors.New("the console is stopping")
)

// start starts work; or, where a form was sent twice, returns the job that the first one
// started.
func (s *jobs) start(o order, total int, do work) (*job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	unfinished := 0
	for _, j := range s.kept {
		if j.ID == o.Job {
			return j, nil
		}
		if !j.view().Over() {
			unfinished++
		}
	}
	if unfinished >= maxUnfinished {
		return nil, errBusy
	}
	j := &job{done: make(chan struct{}), handles: map[string]bool{}}
	j.jobView = jobView{order: o, ID: cmp.Or(o.Job, rand.Text()), Total: total, Began: time.Now(), Progress: waiting, Counts: map[string]int{}}
	j.ctx, j.stop = context.WithCancel(s.runner.Context())
	if !s.runner.Go(func(context.Context) { s.run(j, do) }) {
		j.stop()
		return nil, errStopping
	}
	s.kept = append(s.kept, j)
	for i := 0; len(s.kept) > keptJobs && i < len(s.kept); i++ {
		if s.kept[i].view().Over() {
			s.kept = slices.Delete(s.kept, i, i+1)
			i--
		}
	}
	return j, nil
}

func (s *jobs) run(j *job, do work) {
	defer close(j.done)
	defer j.stop()
	turns := s.turns
	if j.Kind == dryRun {
		turns = s.dryTurns
	}
	err := context.Canceled
	select {
	case turns <- struct{}{}:
		j.change(func() { j.Progress = running })
		err = do(j)
		<-turns
	case <-j.ctx.Done():
	}
	j.change(func() {
		j.Ended = time.Now()
		switch {
		case err == nil:
			j.Progress = finished
		case errors.Is(err, context.Canceled), errors.Is(err, lifecycle.ErrStopped):
			j.Progress = stopped
		default:
			j.Progress, j.Failure = broken, err
		}
	})
}

// Stop stops all jobs and waits until what they did is written.
func (s *jobs) Stop() { s.runner.Stop() }

// find returns a job by its id, or nil.
func (s *jobs) find(id string) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.kept {
		if j.ID == id {
			return j
		}
	}
	return nil
}

// newest are the last jobs, the newest first.
func (s *jobs) newest() []jobView {
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 50
	views := []jobView{}
	for _, j := range slices.Backward(s.kept) {
		if len(views) < most {
			views = append(views, j.view())
		}
	}
	return views
}

func (s *jobs) unfinished() []jobView {
	return slices.DeleteFunc(s.newest(), jobView.Over)
}

// version changes whenever any job does.
func (s *jobs) version() string {
	var b strings.Builder
	for _, v := range s.newest() {
		b.WriteString(v.version())
	}
	return b.String()
}

var errNoJob = refused(http.StatusNotFound, "That job is not known", "The console knows the jobs of its own process only. After a restart the jobs before it have ended: what was done is kept with the letters, the rest of them is still open.")

func (c *Console) jobPage(v *visit) error {
	j := c.jobs.find(v.Param("id"))
	if j == nil {
		return errNoJob
	}
	seen := j.view()
	v.frame.retitle(seen.Title())
	if c.unchanged(v, seen.version()) {
		return nil
	}
	v.frame.Live, v.frame.Reload = !seen.Over(), !seen.Over()
	page := struct {
		frame
		Job     jobView
		Failure string
	}{frame: v.frame, Job: seen}
	if !page.Caller.May(personal) {
		page.Job.Back = withoutPersonal(seen.Back)
	}
	if seen.Failure != nil {
		page.Failure = c.explain(seen.Failure)
	}
	return c.send(v, http.StatusOK, "job.html", page)
}

func (c *Console) jobsPage(v *visit) error {
	if c.unchanged(v, c.jobs.version()) {
		return nil
	}
	v.frame.Live = true
	return c.send(v, http.StatusOK, "jobs.html", struct {
		frame
		Jobs []jobView
	}{v.frame, c.jobs.newest()})
}

func (c *Console) stopJob(v *visit) error {
	j := c.jobs.find(v.Param("id"))
	if j == nil {
		return errNoJob
	}
	if err := c.audited(v, "stop: "+string(j.Kind)+" of "+j.What, "", j.Total); err != nil {
		return err
	}
	j.stop()
	select {
	case <-j.done:
	case <-v.ctx().Done():
	}
	web.Redirect(v.Context, jobAddress(j.ID))
	return nil
}
