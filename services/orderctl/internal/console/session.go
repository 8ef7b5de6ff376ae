package console

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/web"
)

const (
	// sessionLife is how long somebody stays signed in.
	sessionLife = 12 * time.Hour
	// maxActor is the longest name of a person, in bytes.
	maxActor = 80

	// Wrong tokens are limited within each span: of one address, and of all.
	attemptSpan   = time.Minute
	attemptsOfOne = 10
	attemptsOfAll = 100
)

// NewToken makes a token that can't be guessed.
func NewToken() string { return rand.Text() }

// session is who asks. The zero value is somebody who is not signed in.
type session struct {
	SignedIn bool
	Actor    string
	CSRF     string // the token of the session's forms
}

const sessionKey = "session"

func sessionOf(g *gin.Context) session {
	s, _ := g.Value(sessionKey).(session)
	return s
}

// sessions knows who is signed in, and keeps nothing: the cookie names the person and is
// signed with a key that is derived from the token. Another token ends all sessions; a
// restart with the same token ends none.
type sessions struct {
	token  string
	key    []byte
	port   string
	secure bool
	now    func() time.Time

	mu       sync.Mutex
	attempts map[string]int // by address; "" counts all
	since    time.Time
}

func newSessions(token, port string, tls bool, now func() time.Time) *sessions {
	sum := sha256.Sum256([]byte("orderhub console session\x00" + token))
	return &sessions{token: strings.TrimSpace(token), key: sum[:], port: port, secure: tls, now: now, attempts: map[string]int{}}
}

var (
	errWrongToken = errors.New("that is not the token")
	errTooMany    = errors.New("too many wrong tokens: wait a minute")
	errNoName     = errors.New("say who you are: it is kept with what you do")
)

// signIn checks the token and returns the session's cookie for a console that the
// browser sees below prefix.
func (s *sessions) signIn(prefix, addr, token, actor string) (*http.Cookie, error) {
	actor = strings.TrimSpace(strings.ToValidUTF8(actor, ""))
	if actor = strings.ToValidUTF8(actor[:min(len(actor), maxActor)], ""); actor == "" {
		return nil, errNoName
	}
	if !s.attempt(addr, 1) {
		return nil, errTooMany
	}
	if !sameText(strings.TrimSpace(token), s.token) {
		return nil, errWrongToken
	}
	s.attempt(addr, -1)
	content := base64.RawURLEncoding.EncodeToString([]byte(actor)) + "." + strconv.FormatInt(s.now().Add(sessionLife).Unix(), 10)
	return s.newCookie(prefix, content+"."+s.sign("session", content), int(sessionLife/time.Second)), nil
}

// attempt counts an attempt before its token is compared, so that simultaneous attempts
// get no further than successive ones. It returns false where there were too many. A
// successful attempt is taken off the count again.
func (s *sessions) attempt(addr string, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.now(); now.Sub(s.since) >= attemptSpan {
		s.since = now
		clear(s.attempts)
	}
	if n > 0 && (s.attempts[""] >= attemptsOfAll || s.attempts[addr] >= attemptsOfOne) {
		return false
	}
	for _, of := range []string{"", addr} { // at most attemptsOfAll addresses
		s.attempts[of] = max(s.attempts[of]+n, 0)
	}
	return true
}

// signOut returns the cookie that ends a session.
func (s *sessions) signOut(prefix string) *http.Cookie { return s.newCookie(prefix, "", -1) }

// cookieName tells consoles on one machine apart: cookies do not know ports. Browsers
// take __Host- only from cookies of the whole host.
func (s *sessions) cookieName(prefix string) string {
	name := "orderhub_console_" + s.port
	switch {
	case s.secure && prefix == "":
		name = "__Host-" + name
	case s.secure:
		name = "__Secure-" + name
	}
	return name
}

func (s *sessions) newCookie(prefix, value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure is set where there is TLS: the loopback has none
		Name: s.cookieName(prefix), Value: value, Path: cmp.Or(prefix, "/"), MaxAge: maxAge,
		HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteStrictMode,
	}
}

// read returns the session of a request.
func (s *sessions) read(r *http.Request) session {
	cookie, err := r.Cookie(s.cookieName(web.Prefix(r)))
	if err != nil {
		return session{}
	}
	i := max(strings.LastIndexByte(cookie.Value, '.'), 0)
	content, signature := cookie.Value[:i], strings.TrimPrefix(cookie.Value[i:], ".")
	name, ends, _ := strings.Cut(content, ".")
	unix, err := strconv.ParseInt(ends, 10, 64)
	if err != nil || s.now().Unix() >= unix || !sameText(signature, s.sign("session", content)) {
		return session{}
	}
	actor, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil {
		return session{}
	}
	return session{SignedIn: true, Actor: string(actor), CSRF: s.sign("form", cookie.Value)}
}

func (s *sessions) sign(purpose, text string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(purpose + "\x00" + text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// sameText compares in a time that depends neither on where texts differ nor on the
// length of the secret.
func sameText(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return hmac.Equal(x[:], y[:])
}

type loginPage struct {
	frame
	To, Actor string
	Wrong     string
}

func (c *Console) loginPage(v *visit) error {
	return c.send(v, http.StatusOK, "login.html", loginPage{frame: v.frame, To: safePath(v.Query("to")), Actor: c.opts.Actor})
}

func (c *Console) login(v *visit) error {
	page := loginPage{frame: v.frame, To: safePath(v.PostForm("to")), Actor: v.PostForm("actor")}
	cookie, err := c.sessions.signIn(web.Prefix(v.Request), v.ClientIP(), v.PostForm("token"), page.Actor)
	if err != nil {
		status := http.StatusForbidden
		if errors.Is(err, errTooMany) {
			status = http.StatusTooManyRequests
			v.Header("Retry-After", "60")
			c.opts.Log.Warn("too many wrong tokens", zap.String("from", v.ClientIP()))
		}
		page.Wrong = err.Error()
		return c.send(v, status, "login.html", page)
	}
	http.SetCookie(v.Writer, cookie)
	web.Redirect(v.Context, page.To)
	return nil
}

func (c *Console) logout(g *gin.Context) {
	http.SetCookie(g.Writer, c.sessions.signOut(web.Prefix(g.Request)))
	web.Redirect(g, "/")
}
