package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/gin-gonic/gin"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/orderhub/orderhub/libs/platform/web"
)

//go:embed templates
var templates embed.FS

const (
	signInPath   = "/signin"
	callbackPath = "/signin/callback"
	signOutPath  = "/signout"

	signInLife = 10 * time.Minute // for which somebody may stay at the issuer
	maxHint    = 2800             // bytes of an ID token in a cookie: browsers take 4096
)

// cookie is a kind of cookie. Its content is encrypted, each kind with a key of its own.
type cookie struct{ name, path string }

var (
	sessionCookie = cookie{"session", "/"}
	signInCookie  = cookie{"signin", signInPath}
	hintCookie    = cookie{"hint", signOutPath}
)

// session is the content of a session cookie. There is no store of sessions besides.
type session struct {
	Subject, Name string
	Scopes        Scope
	Expires       time.Time
	CSRF          string
}

// hint is what the sign-out tells the issuer.
type hint struct{ IDToken string }

// signIn is what a sign-in remembers while the browser is at the issuer. It is in a
// cookie, so that no other browser can end the sign-in.
type signIn struct {
	State, Nonce, Verifier string
	To                     string // address to return to
	Expires                time.Time
}

type people struct {
	*Guard
	port string // of cookies' names: cookies know neither ports nor programs
	keys map[cookie][][]byte
	look *web.Look
}

func newPeople(g *Guard) (*people, error) {
	_, port, err := net.SplitHostPort(g.opts.Addr)
	p := &people{Guard: g, port: port, keys: map[cookie][][]byte{}, look: web.NewLook(embed.FS{}, ".", templates, "templates", nil)}
	for _, k := range []cookie{sessionCookie, signInCookie, hintCookie} {
		keys, wrong := g.settings.keys(k.name)
		err = errors.Join(err, wrong)
		p.keys[k] = keys
	}
	return p, err
}

// name begins so that browsers take a cookie from https only.
func (p *people) name(r *http.Request, k cookie, suffix string) string {
	name := "orderhub_" + k.name + "_" + p.port + suffix
	if web.HTTPS(r) {
		name = "__Secure-" + name
	}
	return name
}

// set sets a cookie; no life deletes it. SameSite is Lax: with Strict, who comes back
// from the issuer, or follows a link from elsewhere, would not be known.
func (p *people) set(c *gin.Context, k cookie, suffix string, content any, life time.Duration) {
	value, age := "", -1
	if life > 0 {
		encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: p.keys[k][0]}, nil)
		if err == nil {
			value, err = jwt.Encrypted(encrypter).Claims(content).Serialize()
		}
		if err != nil {
			panic(err) // the key fits the algorithm, and the content is ours
		}
		age = int(life / time.Second)
	}
	http.SetCookie(c.Writer, &http.Cookie{ //nolint:gosec // Secure is set where there is TLS: loopback has none
		Name: p.name(c.Request, k, suffix), Value: value, Path: web.Prefix(c.Request) + k.path, MaxAge: age,
		HttpOnly: true, Secure: web.HTTPS(c.Request), SameSite: http.SameSiteLaxMode,
	})
}

// read returns a cookie's value as it was sent; "" without one.
func (p *people) read(r *http.Request, k cookie, suffix string) string {
	sent, err := r.Cookie(p.name(r, k, suffix))
	if err != nil {
		return ""
	}
	return sent.Value
}

// open decrypts a cookie's value. That of another kind, or of a key that is gone, does
// not open.
func (p *people) open(k cookie, value string, content any) bool {
	sealed, err := jwt.ParseEncrypted(value, []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.A256GCM})
	return err == nil && slices.ContainsFunc(p.keys[k], func(key []byte) bool { return sealed.Claims(key, content) == nil })
}

// caller returns who a session's cookie is about, or nil.
func (p *people) caller(value string) *Caller {
	var s session
	if !p.open(sessionCookie, value, &s) {
		return nil
	}
	caller := p.newCaller(KindSession, s.Name, "subject "+s.Subject, s.Scopes, s.Expires)
	caller.CSRF = s.CSRF
	return caller
}

// fromOwnPage tells whether a request has the token that only the program's own pages
// know. Handlers that limit bodies, and those that read uploads, come before it.
func fromOwnPage(r *http.Request, csrf string) bool {
	given := r.Header.Get("X-CSRF-Token")
	if given == "" && r.ParseForm() == nil {
		given = r.PostForm.Get("csrf")
	}
	if given == "" && r.MultipartForm != nil {
		given = url.Values(r.MultipartForm.Value).Get("csrf")
	}
	return subtle.ConstantTimeCompare([]byte(given), []byte(csrf)) == 1
}

// Register adds the routes for people to sign in and out, where they can: GET /signin
// (to: address to return to), GET /signin/callback, GET and POST /signout.
func (g *Guard) Register(r gin.IRouter) {
	if p := g.people; p != nil {
		r.GET(signInPath, p.ready, p.begin)
		r.GET(callbackPath, p.ready, p.end)
		r.GET(signOutPath, func(c *gin.Context) { p.page(c, signOutPage{"You are signed out.", "Sign in", signInPath}) })
		r.POST(signOutPath, p.signOut)
	}
}

// ready refuses what cannot be done now.
func (p *people) ready(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	if !p.strangers(c).requests.Allow() {
		p.tooMany(c, "rate", "Too many sign-ins come from this address.", 1)
	} else if p.issuer.provider.Load() == nil {
		p.refuse(c, "issuer", IssuerAway.New("The identity provider does not answer, so nobody can sign in now. Try again in a moment."))
	}
}

func (p *people) client(r *http.Request) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.settings.ClientID, ClientSecret: p.settings.ClientSecret.Reveal(), Endpoint: p.issuer.provider.Load().Endpoint(),
		RedirectURL: external(r, callbackPath), Scopes: p.settings.SignInScopes,
	}
}

// external is an address of the program as the client sees it.
func external(r *http.Request, path string) string {
	scheme := "http://"
	if web.HTTPS(r) {
		scheme = "https://"
	}
	return scheme + r.Host + web.Prefix(r) + path
}

func (p *people) begin(c *gin.Context) {
	s := signIn{rand.Text(), rand.Text(), oauth2.GenerateVerifier(), SafePath(c.Query("to")), time.Now().Add(signInLife)}
	p.set(c, signInCookie, "_"+s.State, s, signInLife) // one for each tab
	c.Redirect(http.StatusSeeOther, p.client(c.Request).AuthCodeURL(s.State, oidc.Nonce(s.Nonce), oauth2.S256ChallengeOption(s.Verifier)))
}

func (p *people) end(c *gin.Context) {
	var s signIn
	state := c.Query("state")
	known := p.open(signInCookie, p.read(c.Request, signInCookie, "_"+state), &s)
	if !known || s.State != state || time.Now().After(s.Expires) {
		p.failed(c, errors.New("there is no such sign-in"), "It took too long, or was begun in another browser.")
		return
	}
	p.set(c, signInCookie, "_"+state, nil, 0)
	if refusal := Printable(c.Query("error")); refusal != "" {
		p.failed(c, errors.New(refusal), "The identity provider refused it: "+refusal+".")
		return
	}
	found, idToken, err := p.exchange(c, s)
	if err != nil {
		p.failed(c, err, "What the identity provider says cannot be verified; the program's log says why.")
		return
	}
	life := p.settings.SessionLife
	p.set(c, sessionCookie, "", session{found.Subject, found.name(), found.scopes, time.Now().Add(life), rand.Text()}, life)
	if p.issuer.provider.Load().EndSession != "" && len(idToken) <= maxHint {
		p.set(c, hintCookie, "", hint{idToken}, life)
	}
	p.metrics.signIns.WithLabelValues("done").Inc()
	web.Redirect(c, s.To)
}

// exchange gets the ID token for the issuer's code, and verifies it.
func (p *people) exchange(c *gin.Context, s signIn) (found claims, idToken string, err error) {
	ctx := oidc.ClientContext(c.Request.Context(), p.issuer.client)
	token, err := p.client(c.Request).Exchange(ctx, c.Query("code"), oauth2.VerifierOption(s.Verifier))
	if refused := new(oauth2.RetrieveError); errors.As(err, &refused) {
		err = fmt.Errorf("the issuer answers %s %s", refused.Response.Status, Printable(refused.ErrorCode)) // without what else it says
	}
	if err != nil {
		return found, "", err
	}
	idToken, _ = token.Extra("id_token").(string)
	found, reason, err := p.issuer.verify(ctx, idToken, p.settings.ClientID)
	if err == nil && found.Nonce != s.Nonce {
		err = errors.New("the ID token is of another sign-in")
	}
	return found, idToken, errors.Join(err, reason)
}

func (p *people) failed(c *gin.Context, err error, detail string) {
	p.metrics.signIns.WithLabelValues("failed").Inc()
	p.complaints.Do(func() { web.Log(c, p.opts.Log).Info("sign-in failed", zap.Error(err)) })
	p.opts.Answer(c, SignInFailed.New("You are not signed in. "+detail))
	c.Abort()
}

// signOut ends the session, and the issuer's own where it has an address for that. The
// browser goes there by a header: pages forbid that a form leads to another site.
func (p *people) signOut(c *gin.Context) {
	caller, r := CallerOf(c), c.Request
	if caller.Kind == KindSession && !fromOwnPage(r, caller.CSRF) {
		p.refuse(c, "cross_site", CrossSite.New("The form is out of date. Load the page again, then sign out."))
		return
	}
	if caller.Kind == KindSession {
		caller.end() // its streams
	}
	var h hint
	p.open(hintCookie, p.read(r, hintCookie, ""), &h)
	p.set(c, sessionCookie, "", nil, 0)
	p.set(c, hintCookie, "", nil, 0)
	provider := p.issuer.provider.Load()
	if provider == nil || provider.EndSession == "" {
		web.Redirect(c, signOutPath)
		return
	}
	to, err := url.Parse(provider.EndSession)
	if err != nil {
		panic(err) // it was parsed before
	}
	query := to.Query()
	query.Set("client_id", p.settings.ClientID)
	if h.IDToken != "" { // without it, issuers ask the person, and do not send the browser back
		query.Set("id_token_hint", h.IDToken)
		query.Set("post_logout_redirect_uri", external(r, signOutPath))
	}
	to.RawQuery = query.Encode()
	c.Header("Refresh", "0; url="+to.String())
	p.page(c, signOutPage{"You are signed out here. The identity provider ends your session there, too.", "Go on", to.String()})
}

type signOutPage struct{ Text, Link, To string }

func (p *people) page(c *gin.Context, data signOutPage) {
	var body bytes.Buffer
	if err := p.look.Render(&body, "signout.html", data); err != nil {
		panic(err) // a test renders it
	}
	web.Secure(c)
	c.Header("Cache-Control", "no-store")
	c.Data(http.StatusOK, "text/html; charset=utf-8", web.Rebase(c.Request, body.Bytes()))
}

// SafePath returns an address of the program itself, whatever a link says.
func SafePath(address string) string {
	if !strings.HasPrefix(address, "/") || strings.HasPrefix(address, "//") || strings.ContainsAny(address, "\\\r\n\t") {
		return "/"
	}
	return address
}
