package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/inspect"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

type letterPage struct {
	frame
	// Letter is masked unless somebody who is signed in asked to reveal it.
	Letter dlqview.Letter
	Handle string
	// TraceLink is where the record's trace is shown; "" where that is not known.
	TraceLink string
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

func (c *Console) letterPage(v *visit) error {
	var done *jobView
	if j := c.jobs.find(v.Query("job")); j != nil {
		seen := j.view()
		done = &seen
	}
	if c.unchanged(v, v.list.version, done.version()) {
		return nil
	}
	item, err := c.find(v.ctx(), v.Query("id"))
	if err != nil {
		return err
	}
	page := c.show(v, item, false)
	page.Job, page.Live = done, true
	return c.send(v, http.StatusOK, "letter.html", page)
}

// reveal shows a letter unmasked, once that is in the audit log.
func (c *Console) reveal(v *visit) error {
	item, err := c.find(v.ctx(), v.PostForm("id"))
	if err != nil {
		return err
	}
	if err := c.audited(v, "reveal", "", 0, mask.ID(item.ID)); err != nil {
		return err
	}
	return c.send(v, http.StatusOK, "letter.html", c.show(v, item, true))
}

func (c *Console) show(v *visit, item dlq.Item, reveal bool) letterPage {
	page := letterPage{frame: v.frame, Handle: handle(&item.Ref)}
	details := dlqview.Details{Item: item, Failures: item.Errors(), Offset: inspect.Offset(&item.Letter, c.opts.Codec)}
	var err error
	if details.History, err = c.history(v.ctx(), v.list, item); err != nil {
		page.HistoryNote = "The other letters of this record can’t be read now: " + c.explain(err)
	}
	bounded, cancel := context.WithTimeout(v.ctx(), databaseTimeout)
	defer cancel()
	if err := inspect.Compare(bounded, &details, c.opts.Codec, c.opts.Orders); err != nil {
		details.StoredNote = "The stored order can’t be read now: " + err.Error()
	}
	page.Letter = dlqview.Present(details, reveal)
	page.TraceLink = dlqview.TraceLink(c.opts.TraceURL, page.Letter.TraceID)
	page.retitle(clean(page.Letter.ID))
	if err := dlq.Redrivable(&item.Letter, dlq.Target{}, defaultMaxRedrives); err != nil {
		page.NotRedrivable, page.CanEdit = err.Error(), errors.Is(err, dlq.ErrNoSource)
	} else {
		page.CanEdit = true
	}
	for _, failure := range item.Ref.Causes {
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
