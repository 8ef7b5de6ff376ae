package httpapi

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

var (
	hostName  = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*$`)
	numberEnd = regexp.MustCompile(`(^|\.)(0x[0-9a-f]*|[0-9]+)$`)
	asBrowser = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))
)

// ParseOrigin returns an origin as browsers send it, which is how it is compared: in
// small letters, other scripts as xn--…, without the scheme's own port. The first label
// of the host may be *, which stands for one or more. "*" is every origin. What no
// browser can send is an error.
func ParseOrigin(text string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "*" {
		return text, nil
	}
	if text == "null" {
		return "", errors.New("null is sent by pages of any origin; use * to allow all")
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if scheme = strings.ToLower(scheme); !ok || scheme != "http" && scheme != "https" {
		return "", errors.New("an origin begins with http:// or https://")
	}
	if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
		return "", fmt.Errorf("an origin ends after its host and port: leave out %q", rest[i:])
	}
	if strings.Contains(rest, "@") {
		return "", errors.New("an origin has no user: leave out what is before the @")
	}
	wildcard := ""
	if after, found := strings.CutPrefix(rest, "*."); found {
		wildcard, rest = "*.", after
	}
	if strings.Contains(rest, "*") {
		return "", errors.New("* stands for whole labels at the beginning of the host, as in https://*.shop.example")
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil || u.Hostname() == "" {
		return "", errors.New("an origin is scheme://host or scheme://host:port")
	}
	host, err := originHost(u.Hostname())
	if err != nil {
		return "", err
	}
	if wildcard != "" && (!hostName.MatchString(host) || numberEnd.MatchString(host)) {
		return "", errors.New("an address has no names below it: leave out the *")
	}
	if !strings.Contains(rest, ":") || strings.HasSuffix(rest, "]") {
		return scheme + "://" + wildcard + host, nil
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case err != nil || port == 0:
		return "", errors.New("the port is no number from 1 to 65535")
	case scheme == "http" && port == 80, scheme == "https" && port == 443: // browsers leave it out
		return scheme + "://" + wildcard + host, nil
	}
	return scheme + "://" + wildcard + host + ":" + strconv.FormatUint(port, 10), nil
}

func originHost(host string) (string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" || ip.Is4In6() {
			return "", errors.New("browsers send no zone of an address, and no 192.0.2.1 within one in brackets")
		}
		if ip.Is6() {
			return "[" + ip.String() + "]", nil
		}
		return ip.String(), nil
	}
	if strings.HasSuffix(host, ".") {
		return "", errors.New("the host ends with a dot")
	}
	ascii, err := asBrowser.ToASCII(host)
	switch {
	case err != nil || !hostName.MatchString(ascii) || len(ascii) > 253:
		return "", errors.New("the host is not one that a browser can send")
	case numberEnd.MatchString(ascii): // browsers take it for an address, and write that in full
		return "", errors.New("the host is no whole address such as 192.0.2.1")
	}
	return ascii, nil
}
