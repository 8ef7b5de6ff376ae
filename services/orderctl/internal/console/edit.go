package console

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/gin-gonic/gin/binding"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
	"github.com/orderhub/orderhub/services/orderctl/internal/orderfile"
)

type editPage struct {
	frame
	targetForm
	ID, Handle string
	Value      string
	Check      check
	Why        string
	Wrong      string
}

// check is what today's rules say about an edited value.
type check struct {
	Valid    bool          `json:"valid"`
	Text     string        `json:"text"` // the summary
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

// editPage shows a letter's value unmasked in an editor, once that is in the audit log.
func (c *Console) editPage(v *visit) error {
	item, err := c.find(v.ctx(), v.PostForm("id"))
	if err != nil {
		return err
	}
	problem := ""
	if err := dlq.Redrivable(&item.Letter, dlq.Target{}, defaultMaxRedrives); err != nil && !errors.Is(err, dlq.ErrNoSource) {
		problem = "It can’t be sent back: " + err.Error() + "."
	}
	switch {
	case item.Ref.Status != letter.Open:
		problem = "It is resolved. Open it again first."
	case !utf8.Valid(item.Value):
		problem = "Its value is no text. Redrive it with “Change the values first”, such as .=decode(.) or .=strip(., registry)."
	case len(item.Value) > c.maxEdited():
		problem = "It is larger than the page takes. Edit it in a terminal: orderctl dlq edit " + mask.ID(item.ID) + "."
	}
	if problem != "" {
		return refused(http.StatusConflict, "This letter can’t be edited", problem)
	}
	if err := c.auditedEdit(v, item, 0); err != nil {
		return err
	}
	page := editPage{frame: v.frame, ID: mask.ID(item.ID), Handle: handle(&item.Ref), Value: dlqview.Pretty(item.Value)}
	if len(page.Value) > c.maxEdited() {
		page.Value = string(item.Value)
	}
	visible, _ := edit.Visible([]byte(page.Value))
	page.Value = string(visible)
	page.Check = c.check(item.Value, visible)
	return c.send(v, http.StatusOK, "edit.html", page)
}

// editRecorded is for how long a record covers what the editor shows of the letter while
// somebody types.
const editRecorded = 10 * time.Minute

// auditedEdit records that somebody sees a letter's value in the editor, unless that was
// recorded so short a time ago.
func (c *Console) auditedEdit(v *visit, item dlq.Item, since time.Duration) error {
	who := [3]string{v.frame.Caller.Kind, v.frame.Caller.Name, item.ID}
	if at, found := c.edited.Get(who); found && time.Since(at) < since {
		return nil
	}
	err := c.audited(v, "edit", "", 0, mask.ID(item.ID))
	if err == nil {
		c.edited.Add(who, time.Now())
	}
	return err
}

// check validates an edited text, whose original is the letter's value.
func (c *Console) check(original, text []byte) check {
	value := sent(original, text)
	result := check{Failures: []checkFailed{}, Changed: changes(original, value)}
	_, _, failures := orderfile.Check(c.opts.Codec, value, text)
	if len(failures) == 0 {
		result.Valid, result.Text = true, "Valid by today’s rules."
		return result
	}
	result.Text = dlqview.Plural(len(failures), "failure") + "."
	for i, f := range failures {
		if i == maxFailures {
			result.Failures = append(result.Failures, checkFailed{Text: "and " + dlqview.Plural(len(failures)-i, "more failure"), Line: f.Line, Column: f.Column})
			break
		}
		units := 0
		for _, r := range string(text[:min(max(f.Offset, 0), int64(len(text)))]) {
			units += utf16.RuneLen(r)
		}
		result.Failures = append(result.Failures, checkFailed{textOf(f.FieldError), f.Line, f.Column, units})
	}
	return result
}

// sent is an edited text as it is sent: without the white space and the marks that are
// there for people.
func sent(original, text []byte) []byte {
	_, back := edit.Visible(original)
	text = back(text)
	var compact bytes.Buffer
	if json.Compact(&compact, text) != nil {
		return text
	}
	return compact.Bytes()
}

func textOf(f model.FieldError) string { return clean(f.String() + " [" + f.Rule + "]") }

// How many failures and changed places are named.
const (
	maxFailures = 50
	maxChanges  = 50
)

// changes names the places at which an edited value differs, apart from white space.
func changes(original, text []byte) []string {
	found := []string{}
	if !json.Valid(original) || !json.Valid(text) {
		return found
	}
	return append(found, shownChanges(edit.Diff(original, text, true))...)
}

// shownChanges are changes for people.
func shownChanges(changes []edit.Change) (shown []string) {
	for i, change := range changes {
		if i == maxChanges {
			return append(shown, "…")
		}
		before, after := cmp.Or(change.Before, "nothing"), cmp.Or(change.After, "nothing")
		shown = append(shown, clean(cmp.Or(change.Path, "the value"))+": "+dlqview.Shorten(clean(before))+" → "+dlqview.Shorten(clean(after)))
	}
	return shown
}

// editedText is the value of the editor's form, without what forms do to line ends.
func editedText(g *gin.Context) []byte {
	return []byte(strings.ReplaceAll(g.PostForm("value"), "\r\n", "\n"))
}

// checkEdit answers the editor while somebody types.
func (c *Console) checkEdit(g *gin.Context) {
	var original []byte
	if c.live.state().List != nil {
		if item, err := c.find(g.Request.Context(), g.PostForm("id")); err == nil {
			if err := c.auditedEdit(c.visit(g, "", ""), item, editRecorded); err != nil {
				c.refuse(g, err)
				return
			}
			original = item.Value
		}
	}
	g.JSON(http.StatusOK, c.check(original, editedText(g)))
}

// sendEdit sends the edited value in place of the letter's. Where it was only to be
// checked, or must not be sent, it shows the editor again.
func (c *Console) sendEdit(v *visit) error {
	if c.sentTwice(v, v.PostForm("job")) {
		return nil
	}
	item, err := c.find(v.ctx(), v.PostForm("id"))
	if err != nil {
		return err
	}
	var to targetForm
	if err := v.ShouldBindWith(&to, binding.Form); err != nil {
		return wrongForm(err)
	}
	if err := c.auditedEdit(v, item, editRecorded); err != nil {
		return err
	}
	text := editedText(v.Context)
	page := editPage{
		frame: v.frame, targetForm: to, ID: mask.ID(item.ID), Handle: handle(&item.Ref), Value: string(text), Why: strings.TrimSpace(v.PostForm("why")),
		Check: c.check(item.Value, text),
	}
	value := sent(item.Value, text)
	switch do := v.PostForm("do"); {
	case item.Ref.Status != letter.Open:
		page.Wrong = "The letter is resolved now. Open it again first."
	case len(page.Why) > maxWhy:
		page.Wrong = "The reason is too long."
	case do == "check":
		if page.Check.Valid {
			page.Check.Text = c.foretell(v.ctx(), item, value, to.Target())
		}
		return c.send(v, http.StatusOK, "edit.html", page)
	case !page.Check.Valid && dryrun.HasRules(c.opts.OrdersTopic, &item.Letter, to.Target()):
		page.Wrong = "It still breaks today’s rules, so it would come back at once. Nothing was sent."
	}
	if page.Wrong != "" {
		return c.send(v, http.StatusUnprocessableEntity, "edit.html", page)
	}
	r := request{Kind: redrive, Job: v.PostForm("job"), Why: page.Why, Back: letterAddress(page.Handle), Max: defaultMaxRedrives, targetForm: to}
	o := order{request: r, Actor: v.frame.Caller.Name, What: "one letter, edited"}
	if err := c.retarget(v, &o); err != nil {
		return err
	}
	if err := c.audited(v, "redrive: "+o.What, r.Why, 0, page.ID); err != nil {
		return err
	}
	o.edit = func(*dlq.Item) ([]byte, error) { return value, nil }
	return c.answerJob(v, o, []dlq.Ref{item.Ref})
}

// foretell says what would become of an edited value that is valid.
func (c *Console) foretell(ctx context.Context, item dlq.Item, value []byte, to dlq.Target) string {
	item.Value = value
	router, err := c.opts.Store.Router(ctx, to, defaultMaxRedrives)
	if err != nil {
		return "Valid, but it can’t be sent: " + c.explain(err)
	}
	verdicts, err := c.dryRun(router).Judge(ctx, []dlq.Item{item})
	if err != nil {
		return "Valid by today’s rules. The stored orders can’t be read now: " + err.Error()
	}
	text := verdict(verdicts[0].Would, verdicts[0].Reason)
	for _, failure := range verdicts[0].Errors {
		text += " " + clean(failure.String()) + "."
	}
	return text
}
