package console

import (
	"crypto/rand"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/services/orderctl/internal/audit"
)

const (
	// defaultMaxRedrives stops a letter from going round for ever.
	defaultMaxRedrives = 3
	maxMaxRedrives     = 1000
	maxWhy             = 500
	// quick is how long an answer waits for a job that may be done at once.
	quick = 1500 * time.Millisecond
)

// target says which letters something is to be done with.
type target struct {
	Kind    kind
	Letters []string // places; or:
	From    string   // the letters of a job; or:
	Match   string   // those that an address asks for …
	AsOf    string   // … and that had failed when that was asked
	Back    string
}

func parseTarget(values url.Values) target {
	t := target{
		Kind: kind(values.Get("kind")), Letters: values["letter"], From: values.Get("from"), Match: values.Get("match"),
		AsOf: values.Get("asof"), Back: values.Get("back"),
	}
	t.Back = safePath(t.Back)
	return t
}

// safePath is an address of this console's own, whatever a form says.
func safePath(address string) string {
	if !strings.HasPrefix(address, "/") || strings.HasPrefix(address, "//") || strings.ContainsAny(address, "\\\r\n\t") {
		return "/"
	}
	return address
}

// header is a field of a form.
type header struct{ Name, Value string }

// Hidden are the fields that a form hands on.
func (t target) Hidden() []header {
	fields := []header{{"kind", string(t.Kind)}, {"back", t.Back}}
	for _, at := range t.Letters {
		fields = append(fields, header{"letter", at})
	}
	for _, f := range []header{{"from", t.From}, {"match", t.Match}, {"asof", t.AsOf}} {
		if f.Value != "" {
			fields = append(fields, f)
		}
	}
	return fields
}

// letters gives those that are meant and have the status that the kind is for.
// What says in words which they are. The status of the answer is 0 unless there
// is something wrong, which problem says then.
func (c *Console) letters(r *http.Request, v *view, t *target) (refs []dlq.Ref, what string, err error) {
	switch {
	case t.From != "":
		j := c.jobs.find(t.From)
		if j == nil {
			return nil, "", errNoJob
		}
		refs, what = v.at(j.touched()), "the letters that "+map[kind]string{dryRun: "would pass"}[j.Kind]
		if j.Kind != dryRun {
			what = "what was " + strings.ToLower(j.view().Title()) + " before"
		}
	case len(t.Letters) > 0:
		places := map[place]bool{}
		for _, text := range t.Letters {
			if at, ok := parsePlace(text); ok {
				places[at] = true
			}
		}
		refs, what = v.at(places), "letters that were chosen"
		if len(t.Letters) == 1 {
			what = "one letter"
		}
	default:
		values, err := url.ParseQuery(t.Match)
		if err != nil {
			return nil, "", err
		}
		q := parseQuery(values, c.opts.Now())
		if len(q.Problems) > 0 { // with a condition left out, it would be too many
			return nil, "", fmt.Errorf("%s", strings.Join(q.Problems, "; "))
		}
		q.status = t.Kind.status()
		if refs, err = c.selection(r.Context(), v, &q); err != nil {
			return nil, "", err
		}
		if nanos, err := strconv.ParseInt(t.AsOf, 10, 64); err == nil {
			refs = slices.DeleteFunc(refs, func(r dlq.Ref) bool { return r.FailedAt.UnixNano() > nanos })
		} else {
			t.AsOf = strconv.FormatInt(c.opts.Now().UnixNano(), 10)
		}
		what = q.Words()
	}
	refs = slices.DeleteFunc(refs, func(r dlq.Ref) bool { return r.Status != t.Kind.status() })
	return refs, what, nil
}

type confirmPage struct {
	frame
	target
	Count int
	What  string
	Job   string // the id that the job will have
	Max   int
	Words confirmWords
	Undo  bool
}

// confirmWords are what the page says of a kind.
type confirmWords struct{ Title, Verb, Explain string }

var wordsOf = map[kind]confirmWords{
	dryRun:  {"Try out", "Try out", "Each letter is decoded and validated by today’s rules and compared with the stored orders. Nothing is sent and nothing changes."},
	redrive: {"Redrive", "Redrive", "Each letter goes back to the partition that it came from, in the order that they had there. Records that came later have overtaken them. A letter is resolved once its copy is acknowledged; one that fails again becomes a new letter."},
	discard: {"Discard", "Discard", "The letters are marked as not wanted. They stay in the topic, and can be opened again."},
	undo:    {"Open again", "Open again", "The letters are open again. What a redrive has sent stays sent."},
}

func (c *Console) confirmPage(w http.ResponseWriter, r *http.Request) {
	t := parseTarget(r.URL.Query())
	if !t.Kind.known() {
		c.refuse(w, r, http.StatusBadRequest, "That can’t be done", "Letters can be tried out, redriven, discarded and opened again.")
		return
	}
	words := wordsOf[t.Kind]
	f := c.frame(r, "letters", words.Title)
	v := c.current(w, r, &f)
	if v == nil {
		return
	}
	refs, what, err := c.letters(r, v, &t)
	if err != nil {
		c.targetRefused(w, r, err)
		return
	}
	c.send(w, r, http.StatusOK, "confirm.html", confirmPage{
		frame: f, target: t, Count: len(refs), What: what, Job: rand.Text(), Max: defaultMaxRedrives, Words: words, Undo: t.Kind == undo,
	})
}

func (c *Console) targetRefused(w http.ResponseWriter, r *http.Request, err error) {
	if err == errNoJob { //nolint:errorlint // it is never wrapped
		c.refuse(w, r, http.StatusNotFound, "That job is not known", noJobText)
		return
	}
	c.refuse(w, r, http.StatusBadRequest, "These letters can’t be found", c.explain(err))
}

// beginJob starts what a form asks for.
func (c *Console) beginJob(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		c.refuse(w, r, http.StatusBadRequest, "That can’t be understood", "The form is too large or broken.")
		return
	}
	t := parseTarget(r.PostForm)
	if isDry := strings.HasSuffix(r.URL.Path, "/dry-run"); !t.Kind.known() || isDry != (t.Kind == dryRun) {
		c.refuse(w, r, http.StatusBadRequest, "That can’t be done", "Letters can be tried out, redriven, discarded and opened again.")
		return
	}
	f := c.frame(r, "letters", "Job")
	v := c.current(w, r, &f)
	if v == nil {
		return
	}
	if there := c.jobs.find(r.PostFormValue("job")); there != nil { // the form was sent twice
		http.Redirect(w, r, "/jobs/"+url.PathEscape(there.ID), http.StatusSeeOther)
		return
	}
	o, problem := orderOf(r, t)
	if problem != "" {
		c.refuse(w, r, http.StatusBadRequest, "Something is missing", problem)
		return
	}
	refs, what, err := c.letters(r, v, &t)
	if err != nil {
		c.targetRefused(w, r, err)
		return
	}
	if len(refs) == 0 {
		c.refuse(w, r, http.StatusConflict, "There is nothing to do", "None of these letters is "+string(t.Kind.status())+" any more: somebody has dealt with them.")
		return
	}
	o.What, o.single = what, len(refs) == 1
	if t.Kind != dryRun && !c.audit(w, r, audit.Entry{Action: string(t.Kind) + ": " + what, Letters: []string{}, Count: len(refs)}) {
		return
	}
	j, err := c.jobs.begin(r.PostFormValue("job"), o, len(refs), c.work(refs, o))
	if err != nil {
		c.refuse(w, r, http.StatusServiceUnavailable, "Not now", err.Error())
		return
	}
	c.answerJob(w, r, j)
}

// answerJob goes to a job's page; or, where one letter was dealt with at once,
// back to it.
func (c *Console) answerJob(w http.ResponseWriter, r *http.Request, j *job) {
	select {
	case <-j.done:
	case <-time.After(quick):
	case <-r.Context().Done():
	}
	if j.single && j.isOver() && strings.HasPrefix(j.Back, "/letter?") {
		http.Redirect(w, r, j.Back+"&job="+url.QueryEscape(j.ID), http.StatusSeeOther) //nolint:gosec // see safePath
		return
	}
	http.Redirect(w, r, "/jobs/"+url.PathEscape(j.ID), http.StatusSeeOther)
}

// orderOf reads what a form says besides the letters.
func orderOf(r *http.Request, t target) (o order, problem string) {
	o = order{Kind: t.Kind, Actor: sessionOf(r).Actor, Why: strings.TrimSpace(r.PostFormValue("why")), Back: t.Back, MaxRedrives: defaultMaxRedrives}
	if t.Kind == undo {
		o.UndoOf = t.From
	}
	if len(o.Why) > maxWhy {
		return o, fmt.Sprintf("The reason is longer than %d bytes.", maxWhy)
	}
	if t.Kind == discard && o.Why == "" {
		return o, "Say why the letters are not wanted: it is kept with them."
	}
	if text := r.PostFormValue("max"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxMaxRedrives {
			return o, fmt.Sprintf("How often letters may be redriven is a number from 1 to %d.", maxMaxRedrives)
		}
		o.MaxRedrives = n
	}
	if text := r.PostFormValue("rate"); text != "" {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil || rate < 0 || math.IsNaN(rate) || math.IsInf(rate, 0) {
			return o, "The rate is a number of letters a second; 0 is as fast as possible."
		}
		o.Rate = rate
	}
	return o, ""
}
