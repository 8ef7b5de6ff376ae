package console

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// maxForm is the largest request: the largest record as a form writes it, and
// some more.
const maxForm = 4 << 20

// guard decides which requests reach the pages.
type guard struct {
	sessions *sessions
	hosts    hostNames
	// open says that reading needs no token: only this machine can ask.
	open bool
	tls  bool
	// deny answers a request that is refused.
	deny func(w http.ResponseWriter, r *http.Request, status int, title, text string)
}

// session is who asks. The zero value is somebody who is not signed in.
type session struct {
	SignedIn bool
	Actor    string
	CSRF     string // what the session's forms bring along
}

type sessionKey struct{}

func sessionOf(r *http.Request) session {
	s, _ := r.Context().Value(sessionKey{}).(session)
	return s
}

// wrap puts the guard before a handler.
func (g *guard) wrap(next http.Handler) http.Handler {
	checked := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := g.sessions.read(r)
		r = r.WithContext(context.WithValue(r.Context(), sessionKey{}, s))
		public := r.URL.Path == "/login" || strings.HasPrefix(r.URL.Path, "/assets/") || r.URL.Path == "/healthz"
		if !g.open && !s.SignedIn && !public {
			if r.Method == http.MethodGet || r.Method == http.MethodHead {
				http.Redirect(w, r, "/login?to="+escapeQuery(r.URL.RequestURI()), http.StatusSeeOther)
				return
			}
			g.deny(w, r, http.StatusUnauthorized, "Sign in first", "This console is open to others than this machine, so it wants its token.")
			return
		}
		next.ServeHTTP(w, r)
	})
	// Browsers say where a request comes from. Forms of signed-in people bring
	// a token besides, which signedIn asks for.
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.deny(w, r, http.StatusForbidden, "That came from another site", "Only the console's own pages may change anything.")
	}))
	protected := crossOrigin.Handler(checked)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header(), g.tls)
		if !g.hosts.allowed(r.Host) {
			// A name that an attacker points at this machine (DNS rebinding).
			http.Error(w, "The console is not called that. Use the address that it printed when it started, or name this one in ORDERHUB_CONSOLE_HOSTS.", http.StatusMisdirectedRequest)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		protected.ServeHTTP(w, r)
	})
}

// changing puts the demand for a signed-in person and their form's token before
// a handler.
func (g *guard) changing(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := sessionOf(r)
		if !s.SignedIn {
			g.deny(w, r, http.StatusUnauthorized, "Sign in first", "Changing letters, and seeing people’s data, needs the console’s token.")
			return
		}
		given := r.Header.Get("X-CSRF-Token")
		if given == "" {
			given = r.PostFormValue("csrf")
		}
		if !sameText(given, s.CSRF) {
			g.deny(w, r, http.StatusForbidden, "This form is out of date", "It was made before you signed in, or by somebody else. Go back, load the page again and repeat what you did.")
			return
		}
		next(w, r)
	}
}

// secure sets the headers that keep what a letter holds from becoming more than
// text, and the pages out of other sites' hands.
func secure(h http.Header, tls bool) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
	if tls {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// hostNames are the names by which the console may be called.
type hostNames struct {
	names map[string]bool
	// anyAddress allows all IP addresses: whoever listens on all of them has no
	// list, and an address, unlike a name, can't be pointed elsewhere.
	anyAddress bool
}

func newHostNames(listen string, more []string) hostNames {
	h := hostNames{names: map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true}}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		host = listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		h.anyAddress = true
	} else {
		h.names[strings.ToLower(host)] = true
	}
	for _, name := range more {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
			h.names[name] = true
		}
	}
	return h
}

func (h hostNames) allowed(host string) bool {
	name := host
	if bare, _, err := net.SplitHostPort(host); err == nil {
		name = bare
	}
	name = strings.TrimSuffix(strings.ToLower(strings.Trim(name, "[]")), ".")
	if h.names[name] {
		return true
	}
	_, err := netip.ParseAddr(name)
	return h.anyAddress && err == nil
}

// IsLoopback says whether only this machine can reach an address to listen on.
func IsLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
