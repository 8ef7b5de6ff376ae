package auth

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

const (
	issuerTimeout = 5 * time.Second // of a request to the issuer
	issuerPeriod  = 5 * time.Minute // after which keys that were withdrawn no longer count
	keysPause     = 5 * time.Second // between reads of keys, however many tokens name unknown ones
	maxKeySet     = 1 << 20         // bytes
	maxName       = 200             // bytes of a caller's name
)

// algorithms that JWTs may be signed with: asymmetric ones. So the header of a token can
// choose neither none nor one that takes a public key for a secret.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// Errors of credentials, with texts for whoever sent one.
var (
	errInvalid = errors.New("the token is not valid here")
	errExpired = errors.New("the token has expired or is not valid yet")
	errAway    = errors.New("the identity provider does not answer")
)

type issuer struct {
	settings *Settings
	keys     *keyCache
	client   *http.Client
	provider atomic.Pointer[provider]
}

// provider is what the issuer says about itself.
type provider struct {
	*oidc.Provider
	keys       oidc.KeySet
	EndSession string `json:"end_session_endpoint"`
	KeySet     string `json:"jwks_uri"`
}

func newIssuer(s *Settings, m *metrics) *issuer {
	keys := &keyCache{next: http.DefaultTransport.(*http.Transport).Clone(), metrics: m}
	return &issuer{settings: s, keys: keys, client: &http.Client{Transport: keys, Timeout: issuerTimeout}}
}

// follow reads what the issuer says about itself, again and again. refreshed is called
// after each success.
func (i *issuer) follow(ctx context.Context, log *zap.Logger, component *health.Component, refreshed func()) {
	backoff, complained := retry.NewBackoff(issuerTimeout), false
	for ctx.Err() == nil {
		err := i.read(ctx)
		switch {
		case err == nil:
			if complained {
				log.Info("the identity provider answers", zap.String("issuer", i.settings.Issuer))
			}
			complained = false
			component.Ready("")
			refreshed()
			backoff.Reset()
			_ = retry.Sleep(ctx, issuerPeriod) // the loop sees the end of ctx
			continue
		case i.provider.Load() != nil || i.settings.TokensFile != "":
			component.Ready(err.Error())
		default:
			component.NotReady(err.Error())
		}
		if !complained && ctx.Err() == nil {
			complained = true
			log.Warn("cannot read the identity provider's keys, retrying; keys that are known still count", zap.String("issuer", i.settings.Issuer), zap.Error(err))
		}
		_ = backoff.Wait(ctx)
	}
}

func (i *issuer) read(ctx context.Context) error {
	ctx = oidc.ClientContext(ctx, i.client)
	found, err := oidc.NewProvider(ctx, i.settings.Issuer)
	if err != nil {
		i.keys.metrics.keyErrors.Inc()
		return err
	}
	p := &provider{Provider: found}
	if err := found.Claims(p); err != nil || !secure(p.KeySet) {
		return errors.Join(err, errors.New("the issuer's jwks_uri is no https address"))
	}
	i.keys.address.Store(&p.KeySet)
	p.keys = oidc.NewRemoteKeySet(ctx, p.KeySet)
	i.provider.Store(p)
	return nil
}

// keyCache is between go-oidc, which asks for the keys whenever a token names one that
// it does not know, and the issuer. It remembers the last answer, so that such tokens
// cause no storm of requests, and known keys outlive an issuer that is away.
type keyCache struct {
	next    *http.Transport
	metrics *metrics
	address atomic.Pointer[string]
	failing atomic.Bool // the last read failed

	mu    sync.Mutex
	body  []byte
	asked time.Time
}

func (k *keyCache) RoundTrip(r *http.Request) (*http.Response, error) {
	if address := k.address.Load(); address == nil || r.URL.String() != *address {
		return k.next.RoundTrip(r)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.asked) >= keysPause {
		k.asked = time.Now()
		body, err := k.fetch(r)
		k.failing.Store(err != nil)
		if err == nil {
			k.body = body
		} else {
			k.metrics.keyErrors.Inc()
		}
	}
	if k.body == nil {
		return nil, errAway
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(k.body)), Header: http.Header{}, Request: r}, nil
}

func (k *keyCache) fetch(r *http.Request) ([]byte, error) {
	response, err := k.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, maxKeySet))
}

type claims struct {
	Subject   string  `json:"sub"`
	Email     string  `json:"email"`
	Username  string  `json:"preferred_username"`
	Nonce     string  `json:"nonce"`
	NotBefore float64 `json:"nbf"`

	expires time.Time
	scopes  Scope
}

// name of who a JWT is about.
func (c *claims) name() string {
	if more := cmp.Or(c.Email, c.Username, c.Subject); more != c.Subject {
		return Printable(c.Subject + " (" + more + ")")
	}
	return Printable(c.Subject)
}

// verify checks a JWT's signature, issuer, audience and times. reason is for the log.
func (i *issuer) verify(ctx context.Context, token, audience string) (c claims, reason, err error) {
	p := i.provider.Load()
	if p == nil {
		return c, nil, errAway
	}
	verifier := oidc.NewVerifier(i.settings.Issuer, p.keys, &oidc.Config{
		ClientID: audience, SupportedSigningAlgs: algorithms,
		Now: func() time.Time { return time.Now().Add(-i.settings.ClockSkew) },
	})
	verified, reason := verifier.Verify(ctx, token)
	expired, all := new(oidc.TokenExpiredError), map[string]any{}
	switch {
	case errors.As(reason, &expired):
		return c, reason, errExpired
	case reason != nil && i.keys.failing.Load():
		return c, reason, errAway // the issuer may have new keys
	case reason != nil:
		return c, reason, errInvalid
	}
	if reason = errors.Join(verified.Claims(&c), verified.Claims(&all)); reason != nil || Printable(c.Subject) == "" {
		return c, reason, errInvalid
	}
	if c.NotBefore > float64(time.Now().Add(i.settings.ClockSkew).Unix()) {
		return c, nil, errExpired
	}
	c.expires, c.scopes = verified.Expiry.Add(i.settings.ClockSkew), scopesIn(all, i.settings.ScopesClaim)
	return c, nil, nil
}

// scopesIn reads the scopes from the claim of this name, or the one to which the names
// with dots between them lead: a text with blanks between scopes, or a list.
func scopesIn(claims map[string]any, name string) Scope {
	value, found := claims[name]
	if first, rest, deeper := strings.Cut(name, "."); !found && deeper {
		inner, _ := claims[first].(map[string]any)
		return scopesIn(inner, rest)
	}
	var names []string
	switch value := value.(type) {
	case string:
		names = strings.Fields(value)
	case []any:
		for _, one := range value {
			text, _ := one.(string)
			names = append(names, text)
		}
	}
	scopes, _ := ParseScopes(names)
	return scopes
}

// Printable shortens a name, and removes what could change how a terminal shows it, and
// what nobody sees.
func Printable(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
	return strings.ToValidUTF8(name[:min(len(name), maxName)], "")
}
