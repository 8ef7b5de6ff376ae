package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/audit"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/inspect"
)

type letterPage struct {
	frame
	// Letter is masked unless somebody who is signed in asked for all of it.
	Letter dlqview.Letter
	At     string // the letter's place
	// HistoryNote says why there is no history.
	HistoryNote string
	// Same are the lists of letters that failed for the same cause.
	Same []sameCause
	// Job is what was just done with the letter.
	Job *jobView
	// NotRedrivable says why the letter can't be sent back, or is empty.
	NotRedrivable string
}

type sameCause struct{ Text, Address string }

func (c *Console) letterPage(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	f := c.frame(r, "letters", "Letter")
	v := c.current(w, r, &f)
	if v == nil {
		return
	}
	var done *jobView
	if j := c.jobs.find(values.Get("job")); j != nil {
		seen := j.view()
		done = &seen
	}
	if c.unchanged(w, r, &f, v.version, stateOf(done)) {
		return
	}
	item, ok := c.find(w, r, v, values.Get("id"), values.Get("at"))
	if !ok {
		return
	}
	page := c.show(r.Context(), f, v, item, false)
	page.Job = done
	page.Live = true
	c.send(w, r, http.StatusOK, "letter.html", page)
}

// find reads the letter that a request names, or answers that it is not there.
func (c *Console) find(w http.ResponseWriter, r *http.Request, v *view, id, at string) (dlq.Item, bool) {
	item, err := c.letterAt(r.Context(), v, id, at)
	switch {
	case errors.Is(err, errGone):
		c.refuse(w, r, http.StatusNotFound, "This letter is not in the topic",
			"It was purged, or its id is not whole. An id is topic/partition/offset/digits of the record that failed.")
		return item, false
	case err != nil:
		c.fail(w, r, err)
		return item, false
	}
	return item, true
}

// reveal shows a letter without masks, once that is written down.
func (c *Console) reveal(w http.ResponseWriter, r *http.Request) {
	f := c.frame(r, "letters", "Letter")
	v := c.current(w, r, &f)
	if v == nil {
		return
	}
	item, ok := c.find(w, r, v, r.PostFormValue("id"), r.PostFormValue("at"))
	if !ok || !c.audit(w, r, audit.Entry{Action: "reveal", Letters: []string{shownID(&item)}}) {
		return
	}
	c.send(w, r, http.StatusOK, "letter.html", c.show(r.Context(), f, v, item, true))
}

// audit writes to the audit log, or answers that it can't: then nothing that it
// guards may happen.
func (c *Console) audit(w http.ResponseWriter, r *http.Request, entry audit.Entry) bool {
	entry.At, entry.Actor = c.opts.Now(), sessionOf(r).Actor
	err := audit.Append(c.opts.AuditLog, entry)
	if err != nil {
		c.opts.Log("%v", err)
		c.refuse(w, r, http.StatusInternalServerError, "This can’t be written down", "The audit log takes no entry, so nothing is shown and nothing was done. What the console says in its terminal tells why.")
		return false
	}
	return true
}

func (c *Console) show(ctx context.Context, f frame, v *view, item dlq.Item, reveal bool) letterPage {
	page := letterPage{frame: f, At: place{item.Ref.Partition, item.Ref.Offset}.String()}
	details := dlqview.Details{Item: item, Failures: item.Errors(), Offset: inspect.Offset(&item.Letter, c.opts.Codec)}
	var err error
	if details.History, err = c.history(ctx, v, item); err != nil {
		page.HistoryNote = "The other letters of this record can’t be read now: " + c.explain(err)
	}
	bounded, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	if err := inspect.Compare(bounded, &details, c.opts.Codec, c.opts.Orders); err != nil {
		details.StoredNote = "The stored order can’t be read now: " + err.Error()
	}
	page.Letter = dlqview.Present(details, reveal)
	page.Title = clean(page.Letter.ID) + " · Dead letters · Orderhub"
	if err := dlq.Redrivable(&item.Letter, defaultMaxRedrives); err != nil {
		page.NotRedrivable = err.Error()
	}
	for _, failure := range failuresOf(item.Ref.Group) {
		reason, rule, path := dlqview.MaskCause(item.Reason, failure.Rule, failure.Path)
		text := reason
		for _, part := range []string{rule, path} {
			if part != "" && part != reason {
				text += " · " + part
			}
		}
		page.Same = append(page.Same, sameCause{clean(text), causeAddress(letter.Open, reason, rule, path)})
	}
	return page
}

// Names of what a letter is, for the templates.

// Open says whether the letter waits to be dealt with.
func (p letterPage) Open() bool { return p.Letter.Status == letter.Open }

// Foreign says whether somebody else than our worker wrote the letter.
func (p letterPage) Foreign() bool { return p.Letter.Format != letter.Orderhub }

// databaseTimeout bounds how long a page waits for the database.
const databaseTimeout = 5 * time.Second
