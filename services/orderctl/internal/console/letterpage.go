package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/audit"
	"github.com/orderhub/orderhub/services/orderctl/internal/inspect"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

type letterPage struct {
	frame
	Item     dlq.Item
	At       string // the letter's place
	Open     bool
	Revealed bool
	Failures []model.FieldError
	Message  string // of an exception
	Value    shownValue
	Headers  []header
	History  []dlq.Item
	// HistoryNote says why there is none.
	HistoryNote string
	Conflict    *conflict
	// Same are the lists of letters that failed for the same cause.
	Same []sameCause
	// Job is what was just done with the letter.
	Job *jobView
	// Editable says why the letter can't be edited, or is empty.
	NotRedrivable string
	EditedFrom    string
}

type header struct{ Name, Value string }

type sameCause struct{ Text, Address string }

// conflict is how a letter differs from the stored order.
type conflict struct {
	Note string
	Rows []difference
}

type difference struct{ Path, Stored, Letter string }

const maxShownHeaders = 200

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
	if !ok || !c.audit(w, r, audit.Entry{Action: "reveal", Letters: []string{item.ID}}) {
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

func (c *Console) show(ctx context.Context, f frame, v *view, item dlq.Item, revealed bool) letterPage {
	f.Title = clean(item.ID) + " · Dead letters · Orderhub"
	page := letterPage{
		frame: f, Item: item, At: place{item.Ref.Partition, item.Ref.Offset}.String(), Open: item.Ref.Status == letter.Open,
		Revealed: revealed, Failures: item.Errors(), Message: item.Exception.Message,
	}
	value := item.Value
	if !revealed {
		value = mask.Value(value)
		page.Message = string(mask.Text([]byte(page.Message)))
	}
	page.Value = showValue(value, page.Failures, inspect.Offset(&item.Letter, c.opts.Codec))
	for _, h := range item.SourceHeaders[:min(len(item.SourceHeaders), maxShownHeaders)] {
		text := h.Value
		if !revealed {
			text = mask.Value(text)
		}
		page.Headers = append(page.Headers, header{clean(h.Key), shorten(clean(string(text)))})
		if h.Key == deadletter.HeaderEditedFrom {
			page.EditedFrom = string(h.Value)
		}
	}
	if err := dlq.Redrivable(&item.Letter, defaultMaxRedrives); err != nil {
		page.NotRedrivable = err.Error()
	}
	for _, failure := range failuresOf(item.Ref.Group) {
		text := item.Reason
		for _, part := range []string{failure.Rule, failure.Path} {
			if part != "" && part != item.Reason {
				text += " · " + part
			}
		}
		page.Same = append(page.Same, sameCause{clean(text), causeAddress(letter.Open, item.Reason, failure.Rule, failure.Path)})
	}
	var err error
	if page.History, err = c.history(ctx, v, item); err != nil {
		page.HistoryNote = "The other letters of this record can’t be read now: " + c.explain(err)
	}
	if item.Reason == deadletter.ReasonConflict && c.opts.Orders != nil {
		page.Conflict = c.compare(ctx, &item.Letter, revealed)
	}
	return page
}

// Names of what a letter is, for the templates.

// Age is when the letter failed.
func (p letterPage) Age() time.Time { return p.Item.FailedAt }

// HasSourceTime says whether it is known when the source record was written.
func (p letterPage) HasSourceTime() bool { return !p.Item.SourceTimestamp.IsZero() }

// Foreign says whether somebody else than our worker wrote the letter.
func (p letterPage) Foreign() bool { return p.Item.Format != letter.Orderhub }

// compare looks at the stored order of the letter's uid.
func (c *Console) compare(ctx context.Context, l *letter.Letter, revealed bool) *conflict {
	decoded, err := c.opts.Codec.Decode(l.Value)
	if err != nil {
		return &conflict{Note: "By today’s rules the letter is no valid order, so there is nothing to compare."}
	}
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	stored, err := c.opts.Orders(ctx, []string{decoded.Order.OrderUID})
	if err != nil {
		return &conflict{Note: "The stored order can’t be read now: " + err.Error()}
	}
	there, ok := stored[decoded.Order.OrderUID]
	if !ok {
		return &conflict{Note: "The order is not stored now: redriven, the letter would be stored."}
	}
	var found conflict
	for _, path := range model.Diff(there.Order, decoded.Order) {
		row := difference{path, valueAt(there.Order, path), valueAt(decoded.Order, path)}
		if !revealed && mask.PersonalPath(path) {
			row.Stored, row.Letter = mask.Hidden, mask.Hidden
		}
		row.Stored, row.Letter = shorten(clean(row.Stored)), shorten(clean(row.Letter))
		found.Rows = append(found.Rows, row)
	}
	if len(found.Rows) == 0 {
		found.Note = "The stored order is the same now: redriven, the letter would be a duplicate."
	}
	return &found
}

// databaseTimeout bounds how long a page waits for the database.
const databaseTimeout = 5 * time.Second

// valueAt is the JSON at a path of an order.
func valueAt(o *model.Order, path string) string {
	canonical := model.AppendCanonical(nil, o)
	at := model.Locate(canonical, []model.FieldError{{Path: path}})[0]
	var value json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(canonical[at:])).Decode(&value); err != nil {
		return "" // canonical JSON is valid
	}
	return string(value)
}
