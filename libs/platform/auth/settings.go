package auth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// Settings say who may ask a web program, and how much.
type Settings struct {
	Auth string `env:"HTTP_AUTH" help:"on: every request needs a credential; off: everybody may do everything (default: off, on loopback only)"`

	TokensFile string `env:"HTTP_TOKENS_FILE" help:"file with static tokens, which orderctl token new makes; read again when it changes"`

	Issuer       string        `env:"OIDC_ISSUER" help:"address of the OpenID Connect issuer whose JWTs count, and at which people sign in"`
	Audience     string        `env:"OIDC_AUDIENCE" help:"audience (aud) that JWTs of requests must have (default: such JWTs are refused)"`
	ScopesClaim  string        `env:"OIDC_SCOPES_CLAIM" envDefault:"scope" help:"claim with the scopes; dots lead into objects, as in realm_access.roles"`
	ClockSkew    time.Duration `env:"OIDC_CLOCK_SKEW" envDefault:"1m" help:"how far the issuer's clock may differ from this machine's"`
	ClientID     string        `env:"OIDC_CLIENT_ID" help:"client at the issuer for people to sign in (default: nobody can)"`
	ClientSecret config.Secret `env:"OIDC_CLIENT_SECRET" help:"the client's secret (default: a public client)"`
	SignInScopes []string      `env:"OIDC_SIGNIN_SCOPES" envDefault:"openid,profile,email" help:"scopes that a sign-in asks the issuer for, comma-separated"`

	SessionKey  config.Secret `env:"HTTP_SESSION_KEY" help:"key of session cookies, at least 32 characters; several, comma-separated: the first encrypts, all decrypt"`
	SessionLife time.Duration `env:"HTTP_SESSION_DURATION" envDefault:"8h" help:"how long a person stays signed in"`

	Hosts []string `env:"HTTP_HOSTS" help:"host names to answer to, comma-separated (default: those of loopback on loopback, else any)"`

	Rate        int `env:"HTTP_RATE" envDefault:"500" help:"cost of requests a second for each caller; an order costs 1, a list 10 (0: no limit)"`
	Burst       int `env:"HTTP_RATE_BURST" envDefault:"1000" help:"cost that a caller may use at once"`
	RefusedRate int `env:"HTTP_RATE_REFUSED" envDefault:"10" help:"requests with a missing, wrong or new credential a second for each address (0: no limit)"`
	Streams     int `env:"HTTP_STREAMS_PER_CALLER" envDefault:"20" help:"most streams of a caller at a time (0: no limit)"`
}

// Validate names the variables whose values cannot be used. Check does the rest, which
// depends on where the program listens.
func (s *Settings) Validate() error {
	errs := []error{
		config.OneOf("HTTP_AUTH", s.Auth, "", "on", "off"),
		config.Between("OIDC_CLOCK_SKEW", s.ClockSkew, 0, 5*time.Minute),
		config.Between("HTTP_SESSION_DURATION", s.SessionLife, time.Minute, 30*24*time.Hour),
		config.Between("HTTP_RATE", s.Rate, 0, 1e9),
		config.Between("HTTP_RATE_BURST", s.Burst, 1, 1e9),
		config.Between("HTTP_RATE_REFUSED", s.RefusedRate, 0, 1e9),
		config.Between("HTTP_STREAMS_PER_CALLER", s.Streams, 0, 1e9),
	}
	return errors.Join(errs...)
}

// Check tells whether a program may listen at addr. behind says that a proxy makes it
// reachable for others, wherever it listens.
func (s *Settings) Check(addr string, behind bool) error {
	if s.Auth == "" && (behind || !IsLoopback(addr)) {
		return fmt.Errorf("HTTP_AUTH: others can reach %s, so say whether requests need a credential: "+
			"on (with HTTP_TOKENS_FILE or OIDC_ISSUER), or off, and then everybody who can reach it may do everything", addr)
	}
	return nil
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
