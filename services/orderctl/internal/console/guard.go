package console

import (
	"errors"
	"mime/multipart"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/platform/web"
)

// maxForm is the largest form in bytes but for the editor's.
const maxForm = 1 << 20

// maxEdited is the longest text that the editor takes: the largest record that the worker
// takes, with the white space that is there for people.
func (c *Console) maxEdited() int { return 2 * c.opts.Codec.MaxRecordBytes() }

// maxBody is the largest body of a request to an address. Browsers send the editor's form
// as it is, but each line's end as two bytes.
func (c *Console) maxBody(path string) int64 {
	if strings.HasPrefix(path, "/edit/") {
		return 2*int64(c.maxEdited()) + maxForm
	}
	return maxForm
}

// crossOrigin refuses changes that browsers say come from other sites. Forms of people
// who are signed in have a token as well, which signedIn checks.
var crossOrigin = http.NewCrossOriginProtection()

// guard decides which requests reach the pages.
func (c *Console) guard(g *gin.Context) {
	web.Secure(g)
	g.Header("Cache-Control", "no-store")
	if c.opts.TLS {
		g.Header("Strict-Transport-Security", "max-age=31536000")
	}
	r := g.Request
	if !c.hosts.allowed(r.Host) { // a name that an attacker points at this machine (DNS rebinding)
		g.String(http.StatusMisdirectedRequest, "The console does not answer to this host name. Use the address that it printed when it started, or add the name to ORDERHUB_CONSOLE_HOSTS.")
		g.Abort()
		return
	}
	r.Body = http.MaxBytesReader(g.Writer, r.Body, c.maxBody(r.URL.Path))
	s := c.sessions.read(r)
	g.Set(sessionKey, s)
	public := r.URL.Path == "/login" || r.URL.Path == "/healthz" || strings.HasPrefix(r.URL.Path, "/assets/")
	switch {
	case crossOrigin.Check(r) != nil:
		c.refuse(g, refused(http.StatusForbidden, "That came from another site", "Only the console's own pages may change anything."))
	case s.SignedIn || public || IsLoopback(c.opts.Listen) && !c.opts.Web.Behind():
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		web.Redirect(g, "/login?to="+url.QueryEscape(r.URL.RequestURI()))
		g.Abort()
	default:
		c.refuse(g, refused(http.StatusUnauthorized, "Sign in first", "Others can reach this console, so it needs its token."))
	}
}

// signedIn demands a session and the token of its forms.
func (c *Console) signedIn(g *gin.Context) {
	s := sessionOf(g)
	if !s.SignedIn {
		c.refuse(g, refused(http.StatusUnauthorized, "Sign in first", "Changing letters, and seeing personal data, needs the console’s token."))
		return
	}
	if err := c.readForm(g.Request); err != nil {
		c.refuse(g, err)
		return
	}
	given := g.GetHeader("X-CSRF-Token")
	if given == "" {
		given = g.PostForm("csrf")
	}
	if !sameText(given, s.CSRF) {
		c.refuse(g, refused(http.StatusForbidden, "This form is out of date", "It was made before you signed in, or by somebody else. Go back, load the page again and repeat what you did."))
	}
}

// readForm reads a form of either encoding, or says why it cannot be read.
func (c *Console) readForm(r *http.Request) error {
	err := r.ParseForm()
	if err == nil {
		err = r.ParseMultipartForm(c.maxBody(r.URL.Path))
	}
	if err == nil || errors.Is(err, http.ErrNotMultipart) {
		return nil
	}
	return wrongForm(err)
}

// wrongForm is the refusal of a form that cannot be read.
func wrongForm(err error) error {
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) || errors.Is(err, multipart.ErrMessageTooLarge) {
		return refused(http.StatusRequestEntityTooLarge, "That is too large", "Nothing was done: the console takes no more at once. Edit a letter of this size in a terminal, with orderctl dlq edit and its id.")
	}
	return refused(http.StatusBadRequest, "That can’t be done", "The form has a value that is not possible: "+err.Error())
}

// hostNames are the host names that the console accepts.
type hostNames struct {
	names map[string]bool
	// anyAddress accepts all IP addresses: a console that listens on all of them has no
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
		more = append(more, host)
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

// IsLoopback reports whether only this machine can reach an address to listen on.
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

// safePath returns an address of the console itself, whatever a form says.
func safePath(address string) string {
	if !strings.HasPrefix(address, "/") || strings.HasPrefix(address, "//") || strings.ContainsAny(address, "\\\r\n\t") {
		return "/"
	}
	return address
}
