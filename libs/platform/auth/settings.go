package auth

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// Settings say who may ask a web program, and how much.
type Settings struct {
	Auth       string `env:"HTTP_AUTH" validate:"omitempty,oneof=on off" help:"on: requests need a credential; off: everybody may do everything (default: off, on loopback only)"`
	TokensFile string `env:"HTTP_TOKENS_FILE" help:"file with static tokens, which orderctl token new makes; read again when it changes"`

	Issuer       string        `env:"OIDC_ISSUER" help:"address of the OpenID Connect issuer whose JWTs count, and where people sign in"`
	Audience     string        `env:"OIDC_AUDIENCE" help:"audience (aud) that JWTs of requests must have (default: they are refused)"`
	ScopesClaim  string        `env:"OIDC_SCOPES_CLAIM" envDefault:"scope" help:"claim with the scopes; dots lead into objects, as in realm_access.roles"`
	ClockSkew    time.Duration `env:"OIDC_CLOCK_SKEW" envDefault:"1m" validate:"min=0s,max=5m" help:"how far the issuer's clock may differ from this machine's"`
	ClientID     string        `env:"OIDC_CLIENT_ID" help:"client at the issuer for people to sign in (default: nobody can)"`
	ClientSecret config.Secret `env:"OIDC_CLIENT_SECRET" help:"the client's secret (default: a public client)"`
	SignInScopes []string      `env:"OIDC_SIGNIN_SCOPES" envDefault:"openid,profile,email" help:"scopes that a sign-in asks the issuer for, comma-separated"`

	SessionKey  config.Secret `env:"HTTP_SESSION_KEY" help:"key of session cookies, at least 32 characters; several, comma-separated: the first encrypts, all decrypt"`
	SessionLife time.Duration `env:"HTTP_SESSION_DURATION" envDefault:"8h" validate:"min=1m,max=720h" help:"how long a person stays signed in"`

	Hosts []string `env:"HTTP_HOSTS" help:"host names to answer to, comma-separated (default: localhost, on loopback; else any)"`

	Rate        int `env:"HTTP_RATE" envDefault:"500" validate:"min=0,max=1_000_000" help:"cost of requests a second for each caller; an order costs 1, a list more (0: no limit)"`
	Burst       int `env:"HTTP_RATE_BURST" envDefault:"1000" validate:"min=1,max=1_000_000" help:"cost that a caller may use at once"`
	RefusedRate int `env:"HTTP_RATE_REFUSED" envDefault:"10" validate:"min=0,max=1_000_000" help:"refused requests a second for each address, and ten times as many at once (0: no limit)"`
	Streams     int `env:"HTTP_STREAMS_PER_CALLER" envDefault:"20" validate:"min=0,max=1_000_000" help:"most streams of a caller at a time (0: no limit)"`
}

// minKey is the shortest session key in bytes.
const minKey = 32

// Validate names the variables whose values cannot be used.
func (s *Settings) Validate() error {
	var errs []error
	_, err := s.keys("")
	credentials, client := s.TokensFile != "" || s.Issuer != "", s.ClientID != ""
	for _, one := range []struct {
		wrong bool
		text  string
	}{
		{s.Auth == "" && credentials, "HTTP_AUTH: HTTP_TOKENS_FILE or OIDC_ISSUER is set, so say whether requests need a credential: on or off"},
		{s.Auth == "on" && !credentials, "HTTP_AUTH: on needs HTTP_TOKENS_FILE or OIDC_ISSUER"},
		{s.Issuer == "" && (s.Audience != "" || client), "OIDC_ISSUER: OIDC_AUDIENCE or OIDC_CLIENT_ID is set, but no issuer"},
		{s.Issuer != "" && !secure(s.Issuer), "OIDC_ISSUER: it is no https address, or http on loopback"},
		{s.Issuer != "" && s.Audience == "" && !client, "OIDC_ISSUER: set OIDC_AUDIENCE for JWTs of requests, OIDC_CLIENT_ID for people to sign in, or both"},
		{client && err != nil, fmt.Sprintf("HTTP_SESSION_KEY: a sign-in (OIDC_CLIENT_ID) needs keys of at least %d characters, the same for all replicas; openssl rand -base64 32 makes one", minKey)},
	} {
		if one.wrong {
			errs = append(errs, errors.New(one.text))
		}
	}
	return errors.Join(errs...)
}

// secure tells whether nobody on the way can change what an address answers.
func secure(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && config.IsLoopbackHost(u.Hostname()))
}

// keys derives a key for a purpose from each part of HTTP_SESSION_KEY.
func (s *Settings) keys(purpose string) (keys [][]byte, err error) {
	for part := range strings.SplitSeq(s.SessionKey.Reveal(), ",") {
		part = strings.TrimSpace(part)
		key, err := hkdf.Key(sha256.New, []byte(part), nil, "orderhub "+purpose, 32)
		if err != nil || len(part) < minKey {
			return nil, errors.Join(err, errors.New("the key is too short"))
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Check tells whether a program may listen at addr. behind says that a proxy makes it
// reachable for others, wherever it listens.
func (s *Settings) Check(addr string, behind bool) error {
	if s.Auth == "" && (behind || !config.IsLoopback(addr)) {
		return fmt.Errorf("HTTP_AUTH: others can reach %s, so say whether requests need a credential: "+
			"on (with HTTP_TOKENS_FILE or OIDC_ISSUER), or off, and then everybody who can reach it may do everything", addr)
	}
	return nil
}
