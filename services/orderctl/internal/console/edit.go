package console

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/audit"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
)

type editPage struct {
	frame
	ID    string
	At    string
	Value string
	Check check
	Why   string
	Wrong string
}

// check is what today's rules say of an edited value.
type check struct {
	Valid bool `json:"valid"`
	// Text sums it up.
	Text     string        `json:"text"`
	Failures []checkFailed `json:"failures"`
	// Changed are the fields that differ from the letter's value.
	Changed []string `json:"changed"`
}

type checkFailed struct {
	Text   string `json:"text"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Offset int    `json:"offset"` // in UTF-16 code units, as browsers count
}

// editPage shows a letter's value as it is, to be edited, once that is written
// down.
func (c *Console) editPage(w http.ResponseWriter, r *http.Request) {
	f := c.frame(r, "letters", "Edit a letter")
	v := c.current(w, r, &f)
	if v == nil {
		return
	}
	item, ok := c.find(w, r, v, r.PostFormValue("id"), r.PostFormValue("at"))
	if !ok {
		return
	}
	problem := ""
	switch {
	case item.Ref.Status != letter.Open:
		problem = "It is resolved. Open it again first."
	case !utf8.Valid(item.Value):
		problem = "Its value is no text."
	default:
		if err := dlq.Redrivable(&item.Letter, defaultMaxRedrives); err != nil {
			problem = "It can’t be sent back: " + err.Error() + "."
		}
	}
	if problem != "" {
		c.refuse(w, r, http.StatusConflict, "This letter can’t be edited", problem)
		return
	}
	if !c.audit(w, r, audit.Entry{Action: "edit", Letters: []string{shownID(&item)}}) {
		return
	}
	page := editPage{frame: f, ID: shownID(&item), At: place{item.Ref.Partition, item.Ref.Offset}.String(), Value: dlqview.Pretty(item.Value)}
	page.Check = c.check(item.Value, []byte(page.Value))
	c.send(w, r, http.StatusOK, "edit.html", page)
}

// compact is what is sent of an edited value: JSON without the white space that
// is there for people.
func compact(text string) []byte {
	var out bytes.Buffer
	if json.Compact(&out, []byte(text)) != nil {
		return []byte(text)
	}
	return out.Bytes()
}

// check validates an edited value, which is shown as text.
func (c *Console) check(original, text []byte) check {
	result := check{Failures: []checkFailed{}, Changed: []string{}}
	_, err := c.opts.Codec.Decode(text)
	result.Changed = append(result.Changed, changes(original, text)...)
	if err == nil {
		result.Valid, result.Text = true, "Valid by today’s rules."
		return result
	}
	refused, ok := errors.AsType[*model.RecordError](err)
	if !ok {
		result.Text = err.Error()
		return result
	}
	places := model.Locate(text, refused.Errors)
	for i, failure := range refused.Errors {
		at := places[i]
		if failure.Path == "" && refused.Offset >= 0 {
			at = refused.Offset
		}
		line, column := model.LineColumn(text, at)
		result.Failures = append(result.Failures, checkFailed{textOf(failure), line, column, utf16Length(text[:min(at, int64(len(text)))])})
	}
	result.Text = dlqview.Plural(len(refused.Errors), "failure") + "."
	return result
}

// maxChanges bounds how many changed places are named.
const maxChanges = 50

// changes names the places at which an edited value differs. White space is none.
func changes(original, text []byte) (found []string) {
	if !json.Valid(original) || !json.Valid(text) {
		return nil
	}
	for i, change := range edit.Diff(original, text, true) {
		if i == maxChanges {
			return append(found, "…")
		}
		before, after := cmp.Or(change.Before, "nothing"), cmp.Or(change.After, "nothing")
		found = append(found, clean(change.Path)+": "+dlqview.Shorten(clean(before))+" → "+dlqview.Shorten(clean(after)))
	}
	return found
}

// utf16Length is how long a browser takes text to be.
func utf16Length(text []byte) int {
	n := 0
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if n++; r >= 0x10000 {
			n++
		}
		text = text[size:]
	}
	return n
}

// checkEdit answers the editor while somebody types.
func (c *Console) checkEdit(w http.ResponseWriter, r *http.Request) {
	v := c.live.state().View
	if v == nil {
		http.Error(w, "the letters are not read yet", http.StatusServiceUnavailable)
		return
	}
	var original []byte
	if item, err := c.letterAt(r.Context(), v, r.PostFormValue("id"), r.PostFormValue("at")); err == nil {
		original = item.Value
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c.check(original, []byte(normal(r.PostFormValue("value")))))
}

// normal undoes what forms do to the ends of lines.
func normal(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// sendEdit sends the edited value in the letter's place; or, where it was only to
// be checked, or is not to be sent, shows the editor again.
func (c *Console) sendEdit(w http.ResponseWriter, r *http.Request) {
	f := c.frame(r, "letters", "Edit a letter")
	v := c.current(w, r, &f)
	if v == nil {
		return
	}
	if there := c.jobs.find(r.PostFormValue("job")); there != nil { // the form was sent twice
		http.Redirect(w, r, "/jobs/"+url.PathEscape(there.ID), http.StatusSeeOther)
		return
	}
	item, ok := c.find(w, r, v, r.PostFormValue("id"), r.PostFormValue("at"))
	if !ok {
		return
	}
	text := normal(r.PostFormValue("value"))
	at := place{item.Ref.Partition, item.Ref.Offset}
	page := editPage{
		frame: f, ID: shownID(&item), At: at.String(), Value: text, Why: strings.TrimSpace(r.PostFormValue("why")),
		Check: c.check(item.Value, []byte(text)),
	}
	value := compact(text)
	switch do := r.PostFormValue("do"); {
	case item.Ref.Status != letter.Open:
		page.Wrong = "The letter is resolved by now. Open it again first."
	case len(page.Why) > maxWhy:
		page.Wrong = "The reason is too long."
	case do == "check":
		if page.Check.Valid {
			page.Check.Text = c.foretell(r, item, value)
		}
		c.send(w, r, http.StatusOK, "edit.html", page)
		return
	case !page.Check.Valid:
		page.Wrong = "It still breaks today’s rules, so it would come back at once. Nothing was sent."
	}
	if page.Wrong != "" {
		c.send(w, r, http.StatusUnprocessableEntity, "edit.html", page)
		return
	}
	o := order{Kind: redrive, Actor: sessionOf(r).Actor, Why: page.Why, What: "one letter, edited", Back: letterAddress(shownID(&item), at), MaxRedrives: defaultMaxRedrives, single: true}
	if !c.audit(w, r, audit.Entry{Action: "redrive edited", Letters: []string{shownID(&item)}}) {
		return
	}
	j, err := c.jobs.begin(r.PostFormValue("job"), o, 1, c.workEdited(item.Ref, value, o))
	if err != nil {
		c.refuse(w, r, http.StatusServiceUnavailable, "Not now", err.Error())
		return
	}
	c.answerJob(w, r, j)
}

// foretell says what would become of an edited value that is valid.
func (c *Console) foretell(r *http.Request, item dlq.Item, value []byte) string {
	item.Value = value
	verdicts, err := dryrun.New(c.opts.Codec, c.opts.Orders, c.opts.OrdersTopic, defaultMaxRedrives).Judge(r.Context(), []dlq.Item{item})
	if err != nil {
		return "Valid by today’s rules. The stored orders can’t be read now: " + err.Error()
	}
	text := map[string]string{
		dryrun.Stored:    "Valid, and no such order is stored: it would be stored.",
		dryrun.Duplicate: "Valid, and stored with this very content: it would be a duplicate.",
		dryrun.Pass:      "Valid by today’s rules. It was not compared with the stored orders: DATABASE_URL is not set.",
	}[verdicts[0].Would]
	if text == "" {
		text = "Valid, but it would come back: " + verdicts[0].Reason + "."
		for _, failure := range verdicts[0].Errors {
			text += " " + clean(failure.String()) + "."
		}
	}
	return text
}
