package console

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/orderhub/orderhub/services/orderctl/internal/audit"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

var errNoJob = errors.New("no such job")

const noJobText = "The console knows the jobs of its own running only. If it was started anew, the job ended with it: what was done is kept with the letters, the rest of them is still open."

type jobPage struct {
	frame
	Job     jobView
	Failure string
}

func (c *Console) jobPage(w http.ResponseWriter, r *http.Request) {
	j := c.jobs.find(r.PathValue("id"))
	if j == nil {
		c.refuse(w, r, http.StatusNotFound, "That job is not known", noJobText)
		return
	}
	seen := j.view()
	if !sessionOf(r).SignedIn {
		seen.Back = withoutPersonal(seen.Back)
	}
	page := jobPage{frame: c.frame(r, "jobs", seen.Title()), Job: seen}
	if c.unchanged(w, r, &page.frame, stateOf(&seen)) {
		return
	}
	if seen.Failure != nil {
		page.Failure = c.explain(seen.Failure)
	}
	page.Live, page.Reload = !seen.Over(), !seen.Over()
	c.send(w, r, http.StatusOK, "job.html", page)
}

// withoutPersonal takes the conditions that may name a person out of an address.
func withoutPersonal(address string) string {
	at, query, _ := strings.Cut(address, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return at
	}
	for _, name := range []string{"q", "key", "text"} {
		values.Del(name)
	}
	return at + "?" + values.Encode()
}

// stateOf changes whenever a job does.
func stateOf(j *jobView) string {
	if j == nil {
		return ""
	}
	return j.ID + string(j.Progress) + strconv.Itoa(j.changes)
}

func (c *Console) stopJob(w http.ResponseWriter, r *http.Request) {
	j := c.jobs.find(r.PathValue("id"))
	if j == nil {
		c.refuse(w, r, http.StatusNotFound, "That job is not known", noJobText)
		return
	}
	j.stop()
	select {
	case <-j.done:
	case <-r.Context().Done():
	}
	http.Redirect(w, r, "/jobs/"+url.PathEscape(j.ID), http.StatusSeeOther)
}

// Address is where the job is shown.
func (v jobView) Address() string { return "/jobs/" + url.PathEscape(v.ID) }

// shownJobs is how many jobs their page has.
const shownJobs = 50

func (c *Console) jobsPage(w http.ResponseWriter, r *http.Request) {
	page := struct {
		frame
		Jobs []jobView
	}{c.frame(r, "jobs", "Jobs"), c.jobs.newest(shownJobs)}
	page.Live = true
	if c.unchanged(w, r, &page.frame, c.jobs.state()) {
		return
	}
	c.send(w, r, http.StatusOK, "jobs.html", page)
}

// state changes whenever any job does.
func (j *jobs) state() string {
	var b strings.Builder
	for _, v := range j.newest(shownJobs) {
		b.WriteString(stateOf(&v))
	}
	return b.String()
}

// unfinished are the jobs that are at work, or wait.
func (j *jobs) unfinished() []jobView {
	var found []jobView
	for _, v := range j.newest(shownJobs) {
		if !v.Over() {
			found = append(found, v)
		}
	}
	return found
}

const (
	auditShown = 200
	// auditIDs is how many letters of an entry are named.
	auditIDs = 5
)

type auditRow struct {
	audit.Entry
	Named []string
	More  int // letters that are not named
}

func (c *Console) auditPage(w http.ResponseWriter, r *http.Request) {
	entries, err := audit.Read(c.opts.AuditLog, auditShown)
	page := struct {
		frame
		Path    string
		Entries []auditRow
		Wrong   string
	}{frame: c.frame(r, "audit", "Audit log"), Path: c.opts.AuditLog}
	if err != nil {
		page.Wrong = err.Error()
	}
	for _, entry := range entries {
		named := dlqview.MaskIDs(entry.Letters[:min(len(entry.Letters), auditIDs)])
		page.Entries = append(page.Entries, auditRow{entry, named, max(entry.Count, len(entry.Letters)) - len(named)})
	}
	c.send(w, r, http.StatusOK, "audit.html", page)
}
