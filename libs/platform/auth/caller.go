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
// use. Requests that bring the same credential have the same Caller as long as the
// credential is remembered.
type Caller struct {
	Kind string
	// Name is for the audit and for people: a token's name, or the subject of a JWT or
	// session, followed by its e-mail address or name in parentheses where it has one.
	Name    string
	Scopes  Scope
	Expires time.Time // zero: never

	// CSRF is the token that a form or script of a session has to send with changes,
	// as the field "csrf" or the header X-CSRF-Token; "" for other kinds.
	CSRF string

	once  sync.Once
	ended chan struct{}
	over  sync.Once
}

// NewCaller returns a caller of a kind. A zero time is a credential that does not
// expire.
func NewCaller(kind, name string, scopes Scope, expires time.Time) *Caller {
	return &Caller{Kind: kind, Name: name, Scopes: scopes, Expires: expires, ended: make(chan struct{})}
}

// May tells whether the caller has all of these scopes.
func (c *Caller) May(s Scope) bool { return c.Scopes&s == s }

// Ended is closed when the credential has expired or was revoked. Whoever answers for
// longer than a moment has to select on it.
func (c *Caller) Ended() <-chan struct{} {
	c.once.Do(func() {
		if !c.Expires.IsZero() {
			time.AfterFunc(time.Until(c.Expires), c.end)
		}
	})
	return c.ended
}

// end closes Ended.
func (c *Caller) end() { c.over.Do(func() { close(c.ended) }) }

const callerKey = "orderhub/auth.caller"

// nobody is the caller of requests that Identify has not seen, or that brought no
// credential.
var nobody = NewCaller(kindNone, "", 0, time.Time{})

// CallerOf returns who asks. Before Identify, and for requests without a credential,
// that is a caller without scopes. It is never nil.
func CallerOf(c *gin.Context) *Caller {
	if value, ok := c.Get(callerKey); ok {
		if caller, ok := value.(*Caller); ok {
			return caller
		}
	}
	return nobody
}
