package console

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin/binding"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
)

const (
	// defaultMaxRedrives keeps a letter from being redriven for ever.
	defaultMaxRedrives = 3
	maxWhy             = 500
	// atOnce is how long an answer waits for a job that may end quickly.
	atOnce = 1500 * time.Millisecond
)

// request is what a form asks for: an operation, and the letters that it is for.
type request struct {
	Kind    kind     `form:"kind" binding:"oneof=dry-run redrive accept discard undo"`
	Letters []string `form:"letter"` // handles; or:
	From    string   `form:"from"`   // the letters of a job; or:
	Match   string   `form:"match"`  // those that an address asks for …
	AsOf    string   `form:"asof"`   // … and that had failed when it was asked
	Back    string   `form:"back"`

	targetForm
	Sets string  `form:"set" binding:"max=10000"` // assignments as of dlq edit --set, one a line
	Job  string  `form:"job"`                     // the id that the job gets
	Why  string  `form:"why" binding:"max=500"`
	Max  int     `form:"max" binding:"omitempty,min=1,max=1000"`
	Rate float64 `form:"rate" binding:"min=0,max=1e9"`
}

// targetForm is where letters are to be sent: the flags of the command line.
type targetForm struct {
	ToTopic     string `form:"to-topic" binding:"max=249"`
	ToPartition string `form:"to-partition" binding:"omitempty,number,max=9"`
	ByKey       bool   `form:"by-key"`
}

// Target is what the form says.
func (f targetForm) Target() dlq.Target {
	partition, err := strconv.ParseInt(f.ToPartition, 10, 32)
	if err != nil {
		partition = -1
	}
	return dlq.NewTarget(strings.TrimSpace(f.ToTopic), int32(partition), f.ByKey)
}

func (c *Console) parse(v *visit, from binding.Binding) (request, error) {
	r := request{Max: defaultMaxRedrives}
	if err := v.ShouldBindWith(&r, from); err != nil {
		return r, wrongForm(err)
	}
	r.Back, r.Why, r.Sets = auth.SafePath(r.Back), strings.TrimSpace(r.Why), strings.TrimSpace(r.Sets)
	return r, nil
}

type field struct{ Name, Value string }

// Hidden are the fields that a form passes on.
func (r request) Hidden() []field {
	fields := []field{{"back", r.Back}}
	for _, handle := range r.Letters {
		fields = append(fields, field{"letter", handle})
	}
	for _, f := range []field{{"from", r.From}, {"match", r.Match}, {"asof", r.AsOf}} {
		if f.Value != "" {
			fields = append(fields, f)
		}
	}
	return fields
}

// letters returns the letters that a request is for and that have the status which its
// kind needs, and says in words which they are.
func (c *Console) letters(v *visit, r *request) (refs []dlq.Ref, what string, err error) {
	chosen := map[string]bool{}
	switch {
	case r.From != "":
		j := c.jobs.find(r.From)
		if j == nil {
			return nil, "", errNoJob
		}
		if chosen, what = j.touched(), "the letters that would pass"; j.Kind != dryRun {
			what = "what was " + strings.ToLower(j.view().Title()) + " before"
		}
	case len(r.Letters) > 0:
		for _, handle := range r.Letters {
			chosen[handle] = true
		}
		if what = "letters that were chosen"; len(r.Letters) == 1 {
			what = "one letter"
		}
	default:
		return c.matching(v, r)
	}
	for i := range v.list.refs {
		if ref := &v.list.refs[i]; ref.Status == r.Kind.status() && chosen[handle(ref)] {
			refs = append(refs, *ref)
		}
	}
	return refs, what, nil
}

// matching returns the letters that a request's address asks for. Those that failed
// since it was asked first are left out.
func (c *Console) matching(v *visit, r *request) (refs []dlq.Ref, what string, err error) {
	values, err := url.ParseQuery(r.Match)
	q := parseQuery(values, time.Now())
	if err != nil || len(q.Problems) > 0 { // without a condition it would be too many
		return nil, "", refused(http.StatusBadRequest, "These letters can’t be found", cmp.Or(strings.Join(q.Problems, "; "), fmt.Sprint(err)))
	}
	q.status = r.Kind.status()
	asked, err := strconv.ParseInt(r.AsOf, 10, 64)
	if err != nil {
		asked = time.Now().UnixNano()
		r.AsOf = strconv.FormatInt(asked, 10)
	}
	refs, err = c.selection(v, &q)
	return slices.DeleteFunc(refs, func(ref dlq.Ref) bool { return ref.FailedAt.UnixNano() > asked }), q.Words(), err
}

func (c *Console) confirmPage(v *visit) error {
	r, err := c.parse(v, binding.Query)
	if err != nil {
		return err
	}
	v.frame.retitle(kinds[r.Kind].Title)
	refs, what, err := c.letters(v, &r)
	if err != nil {
		return err
	}
	if j := c.jobs.find(r.From); j != nil && j.Kind == dryRun { // what was tried out is done
		r.targetForm = j.targetForm
		switch who := v.frame.Caller; { // values may be personal
		case who.May(personal), who.Name != "" && who.Name == j.Actor:
			r.Sets = j.Sets
		case who.Name != "" && j.Sets != "":
			return refused(http.StatusForbidden, "Somebody else has tried this out", "Seeing the values that they typed needs the scope letters:personal. Try out your own changes.")
		}
	}
	r.Job = rand.Text()
	return c.send(v, http.StatusOK, "confirm.html", struct {
		frame
		request
		Count         int
		What          string
		Verb, Explain string
		Undo          bool
	}{v.frame, r, len(refs), what, kinds[r.Kind].Title, kinds[r.Kind].Explain, r.Kind == undo})
}

// sentTwice leads to the job that the same form started before, if it did.
func (c *Console) sentTwice(v *visit, id string) bool {
	j := c.jobs.find(id)
	if j != nil {
		web.Redirect(v.Context, jobAddress(j.ID))
	}
	return j != nil
}

func (c *Console) startJob(v *visit) error {
	r, err := c.parse(v, binding.Form)
	if err != nil {
		return err
	}
	switch before := c.jobs.find(r.Job); {
	case before == nil:
	case r.Kind == dryRun:
		r.Job = "" // the form may be changed and tried out again
	case before.Kind == dryRun:
		r.Job += "-" // it was tried out before
	}
	switch isDry := strings.HasSuffix(v.FullPath(), "/dry-run"); {
	case isDry != (r.Kind == dryRun):
		return impossible("Dry runs have an address of their own.")
	case r.Kind == discard && r.Why == "":
		return refused(http.StatusBadRequest, "Something is missing", "Say why the letters are not wanted: it is kept with them.")
	case r.Kind == accepts && c.opts.Accept == nil:
		return impossible("Accepting letters changes orders: the console needs DATABASE_URL for that.")
	case c.sentTwice(v, r.Job):
		return nil
	}
	refs, what, err := c.letters(v, &r)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return refused(http.StatusConflict, "There is nothing to do", fmt.Sprintf("None of these letters is %s any more: somebody has dealt with them.", r.Kind.status()))
	}
	r.Letters = nil // refs has them
	o := order{request: r, Actor: v.frame.Caller.Name, What: what}
	if r.Kind == redrive || r.Kind == dryRun {
		if err := cmp.Or(c.retarget(v, &o), c.mend(v, &o)); err != nil {
			return err
		}
	}
	if r.Kind != dryRun {
		if err := c.audited(v, string(r.Kind)+": "+o.What, r.Why, len(refs)); err != nil {
			return err
		}
	}
	return c.answerJob(v, o, refs)
}

// retarget sends an order's letters where it says.
func (c *Console) retarget(v *visit, o *order) error {
	to := o.Target()
	if to.IsSource() {
		return nil
	}
	o.What += ", to " + to.String()
	if _, err := c.opts.Store.Router(v.ctx(), to, o.Max); err != nil {
		return impossible(c.explain(err))
	}
	return nil
}

func (c *Console) mend(v *visit, o *order) error {
	edits, err := edit.ParseSets(o.Sets)
	switch {
	case err != nil:
		return impossible("A change of the values can’t be read: " + err.Error() + ".")
	case len(edits) == 0:
		return nil
	case !v.frame.Caller.May(act):
		return auth.Forbidden.New("Changing values needs the scope letters:act.")
	case !v.frame.Caller.May(personal) && edit.Tells(edits):
		return auth.Forbidden.New("A change that reads or replaces personal data, which its result tells something about, needs the scope letters:personal.")
	}
	o.edits, o.What = edits, o.What+", edited"
	o.edit = dryrun.Mend(c.opts.Codec, c.opts.OrdersTopic, o.Target(), edits)
	return nil
}

// answerJob starts a job and leads to its page; or, where one letter was dealt with at
// once, back to the letter.
func (c *Console) answerJob(v *visit, o order, refs []dlq.Ref) error {
	j, err := c.jobs.start(o, len(refs), c.work(refs, o))
	if err != nil {
		return refused(http.StatusServiceUnavailable, "Not now", err.Error())
	}
	select {
	case <-j.done:
	case <-time.After(atOnce):
	case <-v.ctx().Done():
	}
	address := jobAddress(j.ID)
	if j.Total == 1 && j.view().Over() && strings.HasPrefix(j.Back, "/letter?") {
		address = j.Back + "&job=" + url.QueryEscape(j.ID)
	}
	web.Redirect(v.Context, address)
	return nil
}

func (c *Console) work(refs []dlq.Ref, o order) work {
	queue, by := c.opts.Store, dlq.By{Actor: o.Actor, Why: o.Why}
	if o.Kind == dryRun {
		return func(j *job) error { return c.tryOut(j, refs) }
	}
	return func(j *job) error {
		// Also a job that was stopped is shown with what it did.
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(j.ctx), catchUpTimeout)
			defer cancel()
			_, _ = c.live.catchUp(ctx) // else the list comes later
		}()
		view := c.live.state().View
		if o.Kind == redrive {
			return queue.Redrive(j.ctx, view, refs, dlq.Redrive{By: by, Target: o.Target(), MaxRedrives: o.Max, Rate: o.Rate, Edit: o.edit, Done: j.outcome})
		}
		if o.Kind == discard {
			return queue.Discard(j.ctx, view, refs, by, j.outcome)
		}
		if o.Kind == accepts {
			return queue.Accept(j.ctx, view, refs, dlq.Acceptance{By: by, Rate: o.Rate, Store: c.opts.Accept.Store, Done: j.outcome})
		}
		mine, err := c.ownResolutions(j, view, refs)
		if err != nil {
			return err
		}
		return queue.Undo(j.ctx, view, mine, c.opts.Accept.Restore, j.outcome)
	}
}

// ownResolutions leaves, where a job is undone, only the letters that it resolved:
// somebody else may have opened and resolved others since.
func (c *Console) ownResolutions(j *job, view *dlq.View, refs []dlq.Ref) (mine []dlq.Ref, err error) {
	undone := c.jobs.find(j.From)
	if undone == nil {
		return refs, nil
	}
	if err := view.Refresh(j.ctx); err != nil {
		return nil, err
	}
	for i := range refs {
		refs[i], _ = view.Current(refs[i].ID) // one that is gone is not loaded below
	}
	const slack = time.Second
	from, to := undone.Began.Add(-slack), undone.view().Ended.Add(slack)
	err = c.opts.Store.InChunks(j.ctx, refs, func(items []dlq.Item) error {
		for _, item := range items {
			if r := item.Resolution; r != nil && r.By == undone.Actor && !r.When.Before(from) && !r.When.After(to) {
				mine = append(mine, item.Ref)
				continue
			}
			j.dealt(rowOf(&item, "was dealt with by somebody since"), false)
		}
		return nil
	})
	return mine, err
}

func (c *Console) dryRun(router *dlq.Router, edits ...edit.Edit) *dryrun.Run {
	return dryrun.New(dryrun.Options{Codec: c.opts.Codec, Versions: c.opts.Versions, Orders: c.opts.Orders, Topic: c.opts.OrdersTopic, Router: router, Edits: edits})
}

// tryOut predicts what would become of letters that are redriven now.
func (c *Console) tryOut(j *job, refs []dlq.Ref) error {
	router, err := c.opts.Store.Router(j.ctx, j.Target(), j.Max)
	if err != nil {
		return err
	}
	run := c.dryRun(router, j.edits...)
	dlq.InSourceOrder(refs)
	return c.opts.Store.InChunks(j.ctx, refs, func(items []dlq.Item) error {
		verdicts, err := run.Judge(j.ctx, items)
		for i, verdict := range verdicts {
			r := rowOf(&items[i], verdict.Reason)
			r.Would, r.Changes = verdict.Would, shownChanges(verdict.Changes)
			for n, failure := range verdict.Errors {
				if n == rowErrors {
					r.Errors = append(r.Errors, "and "+dlqview.Plural(len(verdict.Errors)-n, "more failure"))
					break
				}
				r.Errors = append(r.Errors, textOf(failure))
			}
			j.dealt(r, r.Would == dryrun.Stored || r.Would == dryrun.Duplicate || r.Would == dryrun.Stale || r.Would == dryrun.Pass)
		}
		return err
	})
}
