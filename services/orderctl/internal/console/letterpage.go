package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/audit"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/inspect"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

type letterPage struct {
	frame
	// Letter is masked unless somebody who is signed in asked to reveal it.
	Letter dlqview.Letter
	Handle string
	// HistoryNote says why there is no history.
	HistoryNote string
	// Same are the lists of letters that failed for the same cause.
	Same []link
	// Job is what was just done with the letter.
	Job *jobView
	// NotRedrivable says why the letter can't be sent back, or is empty; CanEdit is set
	// where another target helps.
	NotRedrivable string
	CanEdit       bool
}

type link struct{ Text, Address string }

// Open reports whether the letter is open.
func (p letterPage) Open() bool { return p.Letter.Status == letter.Open }

// Foreign reports whether another program than our worker wrote the letter.
func (p letterPage) Foreign() bool { return p.Letter.Format != letter.Orderhub }

// databaseTimeout bounds how long a page waits for the database.
const databaseTimeout = 5 * time.Second

func (c *Console) letterPage(g *gin.Context) {
	f := c.frame(g, "letters", "Letter")
	l := c.current(g, &f)
	if l == nil {
		return
	}
	var done *jobView
	if j := c.jobs.find(g.Query("job")); j != nil {
		seen := j.view()
		done = &seen
	}
	if c.unchanged(g, &f, l.version, done.version()) {
		return
	}
	item, ok := c.findOrRefuse(g, g.Query("id"))
	if !ok {
		return
	}
	page := c.show(g.Request.Context(), f, l, item, false)
	page.Job, page.Live = done, true
	c.send(g, http.StatusOK, "letter.html", page)
}

// reveal shows a letter unmasked, once that is in the audit log.
func (c *Console) reveal(g *gin.Context) {
	f := c.frame(g, "letters", "Letter")
	l := c.current(g, &f)
	if l == nil {
		return
	}
	item, ok := c.findOrRefuse(g, g.PostForm("id"))
	if ok && c.audit(g, audit.Entry{Action: "reveal", Letters: []string{mask.ID(item.ID)}}) {
		c.send(g, http.StatusOK, "letter.html", c.show(g.Request.Context(), f, l, item, true))
	}
}

// findOrRefuse reads a letter, or answers that it is not there.
func (c *Console) findOrRefuse(g *gin.Context, id string) (dlq.Item, bool) {
	item, err := c.find(g.Request.Context(), id)
	switch {
	case errors.Is(err, errGone):
		c.refuse(g, http.StatusNotFound, "This letter is not in the topic", "It was purged, or its id is not complete. An id is topic/partition/offset/digits of the record that failed.")
	case err != nil:
		c.fail(g, err)
	}
	return item, err == nil
}

// audit writes to the audit log, or answers that it can't: then nothing that the entry
// is about may happen.
func (c *Console) audit(g *gin.Context, entry audit.Entry) bool {
	entry.At, entry.Actor = c.opts.Now(), sessionOf(g).Actor
	err := audit.Append(c.opts.AuditLog, entry)
	if err != nil {
		c.opts.Log("%v", err)
		c.refuse(g, http.StatusInternalServerError, "The audit log can’t be written", "So nothing is shown and nothing was done. The console's log says why.")
	}
	return err == nil
}

func (c *Console) show(ctx context.Context, f frame, l *list, item dlq.Item, reveal bool) letterPage {
	page := letterPage{frame: f, Handle: handle(&item.Ref)}
	details := dlqview.Details{Item: item, Failures: item.Errors(), Offset: inspect.Offset(&item.Letter, c.opts.Codec)}
	var err error
	if details.History, err = c.history(ctx, l, item); err != nil {
		page.HistoryNote = "The other letters of this record can’t be read now: " + c.explain(err)
	}
	bounded, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	if err := inspect.Compare(bounded, &details, c.opts.Codec, c.opts.Orders); err != nil {
		details.StoredNote = "The stored order can’t be read now: " + err.Error()
	}
	page.Letter = dlqview.Present(details, reveal)
	page.Title = clean(page.Letter.ID) + " · Dead letters · Orderhub"
	if err := dlq.Redrivable(&item.Letter, dlq.Target{}, defaultMaxRedrives); err != nil {
		page.NotRedrivable, page.CanEdit = err.Error(), errors.Is(err, dlq.ErrNoSource)
	} else {
		page.CanEdit = true
	}
	for _, failure := range failuresOf(item.Ref.Group) {
		reason, rule, path := dlqview.MaskCause(item.Reason, failure.Rule, failure.Path)
		text := reason
		for _, part := range []string{rule, path} {
			if part != "" && part != reason {
				text += " · " + part
			}
		}
		page.Same = append(page.Same, link{clean(text), causeAddress(letter.Open, reason, rule, path)})
	}
	return page
}
