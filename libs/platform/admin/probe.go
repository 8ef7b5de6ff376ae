package admin

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const probeTimeout = 3 * time.Second

// Probe asks the process on this machine whose admin port is addr (as in
// ADMIN_ADDR) whether it is ready. Nil means yes. The error says why not, with the
// components as /readyz shows them.
//
// Container images have no shell and no curl, so their health checks run this.
func Probe(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	url, err := readyzURL(addr)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ADMIN_ADDR: %w", err)
	}
	// The default transport would honour proxies, which do not reach this
	// machine's ports.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the admin port does not answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // nothing depends on it
	if response.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10)) // the status says enough if it cannot be read
	return fmt.Errorf("not ready: %s: %s", response.Status, strings.TrimSpace(string(body)))
}

// readyzURL returns the address of /readyz of a process that listens on addr. For
// one that listens on all addresses it is on the loopback.
func readyzURL(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("ADMIN_ADDR: %q is not host:port (or :port)", addr)
	}
	switch ip := net.ParseIP(host); {
	case host == "", ip.Equal(net.IPv4zero):
		host = "127.0.0.1"
	case ip.Equal(net.IPv6unspecified):
		host = "::1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/readyz", nil
}
