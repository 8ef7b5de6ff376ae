package console

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// sessionLife is how long somebody stays signed in.
	sessionLife = 12 * time.Hour
	// maxActor is the longest name of a person, in bytes.
	maxActor = 80

	// Wrong tokens are counted by the minute: of one address, and of all.
	attemptSpan   = time.Minute
	attemptsOfOne = 10
	attemptsOfAll = 100
)

// NewToken makes a token that can't be guessed.
func NewToken() string { return rand.Text() }

// sessions knows who is signed in. Nothing is kept here: the cookie says who, and
// is signed with a key that follows from the token, so that another token ends
// all sessions and a restart with the same one ends none.
type sessions struct {
	token  string
	key    []byte
	cookie string
	secure bool
	now    func() time.Time
	tries  attempts
}

func newSessions(token, port string, tls bool, now func() time.Time) *sessions {
	sum := sha256.Sum256([]byte("orderhub console session\x00" + token))
	// Cookies don't know ports: two consoles of one machine need two names.
	name := "orderhub_console_" + port
	if tls {
		name = "__Host-" + name
	}
	return &sessions{token: token, key: sum[:], cookie: name, secure: tls, now: now, tries: attempts{byAddr: map[string]int{}}}
}

var (
	errWrongToken = errors.New("that is not the token")
	errTooMany    = errors.New("too many wrong tokens: wait a minute")
	errNoName     = errors.New("say who you are: it is kept with what you do")
)

// signIn checks the token and gives the cookie.
func (s *sessions) signIn(addr, token, actor string) (*http.Cookie, error) {
	actor = strings.TrimSpace(strings.ToValidUTF8(actor, ""))
	if len(actor) > maxActor {
		actor = strings.ToValidUTF8(actor[:maxActor], "")
	}
	if actor == "" {
		return nil, errNoName
	}
	if !s.tries.take(addr, s.now()) {
		return nil, errTooMany
	}
	if !sameText(strings.TrimSpace(token), s.token) {
		return nil, errWrongToken
	}
	s.tries.giveBack(addr)
	ends := s.now().Add(sessionLife)
	said := base64.RawURLEncoding.EncodeToString([]byte(actor)) + "." + strconv.FormatInt(ends.Unix(), 10)
	return s.newCookie(said+"."+s.sign("session", said), int(sessionLife/time.Second)), nil
}

// signOut gives the cookie that ends a session.
func (s *sessions) signOut() *http.Cookie { return s.newCookie("", -1) }

func (s *sessions) newCookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure wherever there is TLS: the loopback has none
		Name: s.cookie, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteStrictMode,
	}
}

// read says who asks.
func (s *sessions) read(r *http.Request) session {
	cookie, err := r.Cookie(s.cookie)
	if err != nil {
		return session{}
	}
	i := strings.LastIndexByte(cookie.Value, '.')
	if i < 0 || !sameText(cookie.Value[i+1:], s.sign("session", cookie.Value[:i])) {
		return session{}
	}
	name, ends, _ := strings.Cut(cookie.Value[:i], ".")
	unix, err := strconv.ParseInt(ends, 10, 64)
	if err != nil || s.now().Unix() >= unix {
		return session{}
	}
	actor, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil {
		return session{}
	}
	return session{SignedIn: true, Actor: string(actor), CSRF: s.sign("form", cookie.Value)}
}

func (s *sessions) sign(what, text string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(what + "\x00" + text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// sameText compares in a time that says nothing about where texts differ, nor
// how long the secret is.
func sameText(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return hmac.Equal(x[:], y[:])
}

// attempts counts wrong tokens.
type attempts struct {
	mu     sync.Mutex
	since  time.Time
	all    int
	byAddr map[string]int
}

// take counts an attempt before its token is looked at, so that many at once get
// no further than one after another. It is false where there were too many.
func (a *attempts) take(addr string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.since) >= attemptSpan {
		a.since, a.all = now, 0
		clear(a.byAddr)
	}
	if a.all >= attemptsOfAll || a.byAddr[addr] >= attemptsOfOne {
		return false
	}
	a.all++
	a.byAddr[addr]++ // at most attemptsOfAll of them
	return true
}

// giveBack takes an attempt off the count: it was the right token.
func (a *attempts) giveBack(addr string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = max(a.all-1, 0)
	a.byAddr[addr] = max(a.byAddr[addr]-1, 0)
}

// addrOf is the other end's address, without the port.
func addrOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
