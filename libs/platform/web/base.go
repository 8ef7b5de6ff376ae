package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"

	"github.com/gin-gonic/gin"
)

// A program that a proxy serves below a path, as /orders/, knows two kinds of
// addresses. Its own begin at its root: routes, and what its code and templates write.
// Base translates them at the border: it removes the path from requests, and Rebase,
// Redirect and Problem put it before the addresses of answers.

// Settings say where a web program is behind proxies.
type Settings struct {
	BasePath       string   `env:"BASE_PATH" help:"path below which proxies serve it, such as /orders (default: none)"`
	TrustedProxies []string `env:"TRUSTED_PROXIES" help:"addresses or networks of proxies whose X-Forwarded-Prefix, -Host, -Proto, -For and X-Request-Id count, comma-separated (default: none)"`
}

// Validate names the variables whose values cannot be used.
func (s *Settings) Validate() error {
	_, err := s.proxies()
	path := strings.TrimSuffix(s.BasePath, "/")
	if path != "" && !basePath.MatchString(path) {
		err = errors.Join(err, fmt.Errorf("BASE_PATH: %q is no path such as /orders", s.BasePath))
	}
	s.BasePath = path
	return err
}

// Behind tells whether there is a proxy: then others than this machine's users reach
// the program, wherever it listens.
func (s *Settings) Behind() bool { return s.BasePath != "" || len(s.TrustedProxies) > 0 }

// basePath leaves out . and .. as segments, and what would have to be escaped.
var basePath = regexp.MustCompile(`^(/([A-Za-z0-9_~-]|\.[A-Za-z0-9_~-])[A-Za-z0-9._~-]*)+$`)

func (s *Settings) proxies() (all []netip.Prefix, err error) {
	for i, text := range s.TrustedProxies {
		text = strings.TrimSpace(text)
		s.TrustedProxies[i] = text
		network, bad := netip.ParsePrefix(text)
		if addr, notAddr := netip.ParseAddr(text); bad != nil && notAddr == nil {
			network, bad = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
		}
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("TRUSTED_PROXIES: %q is no address or network such as 10.0.0.0/8", text))
		}
		all = append(all, network)
	}
	return all, err
}

// base is the outermost handler of a program behind proxies.
type base struct {
	next    http.Handler
	path    string
	proxies []netip.Prefix
	own     map[string]bool // first segments of the program's routes
}

// Behind returns the handler of an engine with all its routes, behind the proxies that
// the settings name. It fails where BASE_PATH begins as a route does: whether a request
// still has the path could not be told.
func Behind(s Settings, engine *gin.Engine) (http.Handler, error) {
	if !s.Behind() {
		return engine, nil
	}
	b := &base{next: engine, path: s.BasePath, own: map[string]bool{}}
	for _, route := range engine.Routes() {
		b.own[firstSegment(route.Path)] = true
	}
	if s.BasePath != "" && b.own[firstSegment(s.BasePath)] {
		return nil, fmt.Errorf("BASE_PATH: %s begins like an address of the program itself: choose another", s.BasePath)
	}
	var err error
	b.proxies, err = s.proxies()
	return b, errors.Join(err, engine.SetTrustedProxies(s.TrustedProxies))
}

func firstSegment(path string) string {
	segment, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return segment
}

type prefixKey struct{}

type httpsKey struct{}

func (b *base) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	prefix, host, https := b.path, "", false
	if b.trusts(r.RemoteAddr) {
		takeID(w, r)
		scheme, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
		https = strings.EqualFold(strings.TrimSpace(scheme), "https")
		if forwarded := joined(r.Header.Values("X-Forwarded-Prefix")); basePath.MatchString(forwarded) {
			prefix = forwarded
		}
		host, _, _ = strings.Cut(r.Header.Get("X-Forwarded-Host"), ",")
	}
	ctx := context.WithValue(r.Context(), prefixKey{}, prefix)
	if https {
		ctx = context.WithValue(ctx, httpsKey{}, true)
	}
	inner := r.WithContext(ctx)
	if host = strings.TrimSpace(host); host != "" {
		inner.Host = host
	}
	for _, path := range []string{prefix, b.path} {
		if rest, below := strings.CutPrefix(r.URL.Path, path); path != "" && below && (rest == "" || rest[0] == '/') && !b.own[firstSegment(path)] {
			url := *r.URL
			url.Path = "/" + strings.TrimPrefix(rest, "/")
			// Escaped, the path is the same: it has nothing to escape.
			url.RawPath = strings.TrimPrefix(url.RawPath, path)
			inner.URL = &url
			break
		}
	}
	b.next.ServeHTTP(w, inner)
}

func (b *base) trusts(remote string) bool {
	host, _, _ := net.SplitHostPort(remote)
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, network := range b.proxies {
		if network.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// joined is the path that a chain of proxies has removed, the outermost part first.
func joined(values []string) (path string) {
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		path += strings.TrimSuffix(strings.TrimSpace(part), "/")
	}
	return path
}

// Prefix is the path before the program's own addresses as the client sees them, such
// as "/orders"; "" at the root of a host.
func Prefix(r *http.Request) string {
	prefix, _ := r.Context().Value(prefixKey{}).(string)
	return prefix
}

// HTTPS tells whether the client sees an https address: the program's own, or that of a
// trusted proxy before it.
func HTTPS(r *http.Request) bool { return r.TLS != nil || r.Context().Value(httpsKey{}) != nil }

// linked are the attributes of HTML whose values are addresses. A value cannot imitate
// them: html/template escapes its quotes.
var linked = []string{"href", "action", "formaction", "src", "data-stream", "data-check"}

// Rebase puts the request's prefix before the program's own addresses in a page.
func Rebase(r *http.Request, page []byte) []byte {
	prefix := Prefix(r)
	if prefix == "" {
		return page
	}
	var pairs []string
	for _, name := range linked {
		pairs = append(pairs, " "+name+`="/`, " "+name+`="`+prefix+"/")
	}
	return []byte(strings.NewReplacer(pairs...).Replace(string(page)))
}

// Redirect sends the client to an address of the program itself, or to another site's.
func Redirect(c *gin.Context, address string) {
	if strings.HasPrefix(address, "/") {
		address = Prefix(c.Request) + address
	}
	c.Redirect(http.StatusSeeOther, address)
}
