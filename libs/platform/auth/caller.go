package auth

import (
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// The kinds of callers.
const (
	KindOff          = "off"           // HTTP_AUTH=off: nobody is asked who they are
	KindToken        = "token"         // a token of HTTP_TOKENS_FILE
	KindJWT          = "jwt"           // a JWT of OIDC_ISSUER
	KindSession      = "session"       // a person who has signed in
	KindConsoleToken = "console-token" // a person who gave ORDERHUB_CONSOLE_TOKEN
	kindNone         = "none"          // no credential
)

// Caller is who asks. It is immutable, shared between requests, and safe for concurrent
// use.
type Caller struct {
	Kind string
	// Name is for the audit: a token's name, or the subject of a JWT or session, followed
	// by its e-mail address or name in parentheses where it has one.
	Name    string
	Scopes  Scope
	Expires time.Time // zero: never
	// CSRF is the token that forms and scripts of a session send with changes, as the
	// field "csrf" or the header X-CSRF-Token; "" for other kinds.
	CSRF string

	allowance *allowance // nil: no limits
	timer     sync.Once
	ending    sync.Once
	ended     chan struct{}
}

// NewCaller returns a caller without limits.
func NewCaller(kind, name string, scopes Scope, expires time.Time) *Caller {
	return &Caller{Kind: kind, Name: name, Scopes: scopes, Expires: expires, ended: make(chan struct{})}
}

// May tells whether the caller has all of these scopes.
func (c *Caller) May(s Scope) bool { return c.Scopes&s == s }

// Ended is closed when the credential has expired or was revoked. Answers that stay open
// select on it.
func (c *Caller) Ended() <-chan struct{} {
	c.timer.Do(func() {
		if !c.Expires.IsZero() {
			time.AfterFunc(time.Until(c.Expires), c.end)
		}
	})
	return c.ended
}

func (c *Caller) end() { c.ending.Do(func() { close(c.ended) }) }

// valid tells whether the credential still counts.
func (c *Caller) valid() bool {
	select {
	case <-c.ended:
		return false
	default:
		return c.Expires.IsZero() || time.Now().Before(c.Expires)
	}
}

const callerKey = "orderhub/auth.caller"

var nobody = NewCaller(kindNone, "", 0, time.Time{})

// CallerOf returns who asks; it is never nil. Before Identify, and for requests without
// a credential, that is a caller without scopes.
func CallerOf(c *gin.Context) *Caller {
	if caller, ok := c.Value(callerKey).(*Caller); ok {
		return caller
	}
	return nobody
}
