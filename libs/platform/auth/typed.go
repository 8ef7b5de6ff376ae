package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"time"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/libs/platform/config"
)

const (
	typedLife = 12 * time.Hour // of a session
	// Wrong tokens are limited within each minute: of one address, and of all.
	attemptsOfOne = 10
	attemptsOfAll = 100
)

// The errors of [Typed.SignIn].
var (
	ErrWrongToken = errors.New("that is not the token")
	ErrAttempts   = errors.New("too many wrong tokens: wait a minute")
)

// Typed signs people in, with HTTP_AUTH=off, who know a token that they all share. They
// type their names, which nobody verifies. The sessions are as those of an issuer's
// people, under a key derived from the token: a restart with the same token ends none,
// another token ends all. Methods are safe for concurrent use.
type Typed struct {
	people *people
	hash   [sha256.Size]byte
	scopes Scope
	now    func() time.Time
	all    *rate.Limiter
	each   *lru.Cache[string, *rate.Limiter] // by address
}

// NewTyped signs people in with a token, for a program at addr. They get the scopes.
func NewTyped(addr, token string, scopes Scope, now func() time.Time) (*Typed, error) {
	key := sha256.Sum256([]byte("orderhub session\x00" + token))
	p, err := newPeople(&Guard{settings: Settings{SessionKey: config.Secret(hex.EncodeToString(key[:]))}, opts: Options{Addr: addr}})
	t := &Typed{people: p, hash: sha256.Sum256([]byte(token)), scopes: scopes, now: now, all: perMinute(attemptsOfAll)}
	t.each, _ = lru.New[string, *rate.Limiter](maxCallers) // it fails for a size below 1 only
	return t, err
}

func perMinute(n int) *rate.Limiter { return rate.NewLimiter(rate.Limit(n)/60, n) }

// SignIn begins the session of whoever gives the token. An attempt counts before the
// token is compared, so that simultaneous attempts get no further than successive ones.
func (t *Typed) SignIn(c *gin.Context, token, name string) error {
	now := t.now()
	all, one := t.all.ReserveN(now, 1), remembered(t.each, c.ClientIP(), perMinute(attemptsOfOne)).ReserveN(now, 1)
	given := sha256.Sum256([]byte(token))
	tooMany := all.DelayFrom(now) > 0 || one.DelayFrom(now) > 0
	right := subtle.ConstantTimeCompare(given[:], t.hash[:]) == 1
	if tooMany || right {
		all.CancelAt(now)
		one.CancelAt(now)
	}
	switch {
	case tooMany:
		return ErrAttempts
	case !right:
		return ErrWrongToken
	}
	t.people.set(c, sessionCookie, "", session{Name: name, Expires: now.Add(typedLife), CSRF: rand.Text()}, typedLife)
	return nil
}

// Caller returns who has signed in, or nil.
func (t *Typed) Caller(c *gin.Context) *Caller {
	var s session
	if !t.people.open(sessionCookie, t.people.read(c.Request, sessionCookie, ""), &s) || !t.now().Before(s.Expires) {
		return nil
	}
	caller := NewCaller(KindConsoleToken, s.Name, t.scopes, s.Expires)
	caller.CSRF = s.CSRF
	return caller
}

// SignOut ends the session.
func (t *Typed) SignOut(c *gin.Context) { t.people.set(c, sessionCookie, "", nil, 0) }
