package tracing

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

// client sends spans by OTLP over HTTP. OpenTelemetry's own client would bring gRPC into
// every program, 5 MB of each and 60 packages, for two generated types. This one also
// reads the settings as all others are read, .env and files of secrets included.
type client struct {
	settings *config.Traces
	address  string
	http     *http.Client
	stopped  chan struct{} // closed when nothing is tried again
}

func newClient(settings *config.Traces) (*client, error) {
	base := strings.TrimRight(cmp.Or(settings.Endpoint, "http://localhost:4318"), "/")
	c := &client{settings: settings, address: cmp.Or(settings.TracesEndpoint, base+"/v1/traces"), stopped: make(chan struct{})}
	secured := &tls.Config{MinVersion: tls.VersionTLS12}
	if settings.CAFile != "" {
		authority, err := os.ReadFile(settings.CAFile)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		if secured.RootCAs = x509.NewCertPool(); !secured.RootCAs.AppendCertsFromPEM(authority) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %s holds no certificate", settings.CAFile)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = secured
	c.http = &http.Client{Transport: transport, Timeout: time.Duration(settings.TimeoutMillis) * time.Millisecond}
	return c, nil
}

func (c *client) Start(context.Context) error { return nil }

func (c *client) Stop(context.Context) error { return nil }

// end ends what is being sent: the SDK's Shutdown returns at its deadline and leaves it.
func (c *client) end() {
	close(c.stopped)
	c.http.CloseIdleConnections()
}

// UploadTraces implements otlptrace.Client. It tries again until ctx ends, unless the
// collector refuses the spans for good. Errors contain neither headers nor addresses,
// which may hold secrets.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// It has the same form on the wire as an ExportTraceServiceRequest.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-c.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	backoff := retry.NewBackoff(5 * time.Second)
	for {
		again, err := c.post(ctx, body)
		if err == nil || !again || backoff.Wait(ctx) != nil {
			return err
		}
	}
}

// post sends one request and reports whether to send it again.
func (c *client) post(ctx context.Context, body []byte) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.address, bytes.NewReader(body))
	if err != nil {
		return false, errors.New("OTEL_EXPORTER_OTLP_ENDPOINT: not an address")
	}
	headers, err := c.settings.Headers.Now(c.settings.HeadersFile)
	if err != nil {
		return true, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS_FILE: %w", err)
	}
	for pair := range strings.SplitSeq(headers.Reveal(), ",") {
		name, value, _ := strings.Cut(pair, "=")
		if value, err := url.PathUnescape(strings.TrimSpace(value)); err == nil && strings.TrimSpace(name) != "" {
			request.Header.Set(strings.TrimSpace(name), value)
		}
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	response, err := c.http.Do(request)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return true, fmt.Errorf("the collector at %s: %w", request.URL.Host, err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection is used again
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	if response.StatusCode/100 != 2 {
		return again, fmt.Errorf("the collector at %s answers %s", request.URL.Host, response.Status)
	}
	return false, nil
}
