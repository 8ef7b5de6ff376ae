package console

import (
	"errors"
	"net/http"
)

type loginPage struct {
	frame
	To, Actor string
	Wrong     string
}

func (c *Console) loginPage(w http.ResponseWriter, r *http.Request) {
	c.send(w, r, http.StatusOK, "login.html", loginPage{frame: c.frame(r, "login", "Sign in"), To: safePath(r.URL.Query().Get("to")), Actor: c.opts.Actor})
}

func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	page := loginPage{frame: c.frame(r, "login", "Sign in"), To: safePath(r.PostFormValue("to")), Actor: r.PostFormValue("actor")}
	cookie, err := c.sessions.signIn(addrOf(r), r.PostFormValue("token"), page.Actor)
	if err != nil {
		status := http.StatusForbidden
		if errors.Is(err, errTooMany) {
			status = http.StatusTooManyRequests
			w.Header().Set("Retry-After", "60")
			c.opts.Log("too many wrong tokens from %s", addrOf(r))
		}
		page.Wrong = err.Error()
		c.send(w, r, status, "login.html", page)
		return
	}
	http.SetCookie(w, cookie)
	http.Redirect(w, r, page.To, http.StatusSeeOther)
}

func (c *Console) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, c.sessions.signOut())
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
