package httpserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// writePair writes a certificate for 127.0.0.1 and its key, and trusts it in pool.
func writePair(t *testing.T, s Settings, serial int64, ends time.Time, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: ends,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	replace := func(path, kind string, bytes []byte) {
		require.NoError(t, os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	replace(s.CertFile, "CERTIFICATE", der)
	replace(s.KeyFile, "PRIVATE KEY", private)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool.AddCert(leaf)
}

func pairSettings(t *testing.T) Settings {
	t.Helper()
	dir := t.TempDir()
	return Settings{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), MaxConnections: 100}
}

func dial(ctx context.Context, s *Server, config *tls.Config) (*tls.Conn, error) {
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

func TestHTTPSWithHTTP2AndNothingBelowTLS12(t *testing.T) {
	files, pool := pairSettings(t), x509.NewCertPool()
	writePair(t, files, 1, time.Now().Add(time.Hour), pool)
	metrics := prometheus.NewRegistry()
	s := New(Options{Name: "API", Addr: "127.0.0.1:0", Handler: hello(), Settings: files, Metrics: metrics})
	require.NoError(t, s.Start(t.Context()))
	defer s.Stop()
	conn, err := dial(t.Context(), s, &tls.Config{RootCAs: pool, NextProtos: []string{"h2", "http/1.1"}})
	require.NoError(t, err)
	require.Equal(t, "h2", conn.ConnectionState().NegotiatedProtocol)
	require.NoError(t, conn.Close())
	_, err = dial(t.Context(), s, &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	require.ErrorContains(t, err, "protocol version")
	families, err := metrics.Gather()
	require.NoError(t, err)
	require.Len(t, families, 1)
	require.Equal(t, "orderhub_certificate_expiry_seconds", families[0].GetName())
	require.InDelta(t, time.Hour.Seconds(), families[0].GetMetric()[0].GetGauge().GetValue(), 600)
}

func TestStartNamesTheFileThatCannotBeUsed(t *testing.T) {
	files := pairSettings(t)
	start := func() error {
		return New(Options{Name: "API", Addr: "127.0.0.1:0", Handler: hello(), Settings: files}).Start(t.Context())
	}
	require.ErrorContains(t, start(), "HTTP_TLS_CERT_FILE: open "+files.CertFile)
	writePair(t, files, 1, time.Now().Add(time.Hour), x509.NewCertPool())
	require.NoError(t, os.Remove(files.KeyFile))
	require.ErrorContains(t, start(), "HTTP_TLS_KEY_FILE: open "+files.KeyFile)
	require.NoError(t, os.WriteFile(files.KeyFile, []byte("no key"), 0o600))
	require.ErrorContains(t, start(), "HTTP_TLS_KEY_FILE "+files.KeyFile)

	for _, one := range []Settings{{CertFile: "a", MaxConnections: 10}, {KeyFile: "a", MaxConnections: 10}} {
		require.ErrorContains(t, config.Check(&one), "HTTP_TLS_CERT_FILE and HTTP_TLS_KEY_FILE")
	}
	require.ErrorContains(t, config.Check(&Settings{}), "HTTP_MAX_CONNECTIONS")
}

// TestACertificateIsReplacedUnderLoad replaces the certificate, first by a pair that does
// not match, while clients make new connections and requests on kept ones.
func TestACertificateIsReplacedUnderLoad(t *testing.T) {
	files, pool := pairSettings(t), x509.NewCertPool()
	core, logs := observer.New(zap.InfoLevel)
	writePair(t, files, 1, time.Now().Add(time.Hour), pool)
	s := New(Options{Name: "API", Addr: "127.0.0.1:0", Handler: hello(), Settings: files, Log: zap.New(core)})
	s.look = time.Millisecond
	require.NoError(t, s.Start(t.Context()))
	defer s.Stop()
	var asking sync.WaitGroup

	// Both certificates are trusted before any client asks: a pool is not to be changed
	// beside its use.
	second := pairSettings(t)
	writePair(t, second, 2, time.Now().Add(2*time.Hour), pool)
	load := func(path string) []byte {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		return content
	}
	replace := func(path string, content []byte) {
		require.NoError(t, os.WriteFile(path+".new", content, 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	stop := make(chan struct{})
	var serial, answers, failures atomic.Int64
	for i := range 4 {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: i%2 == 0, ForceAttemptHTTP2: i < 2}}
		asking.Go(func() {
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				answer, err := client.Get("https://" + s.Addr())
				if err != nil {
					failures.Add(1)
					t.Errorf("a request failed: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
				answers.Add(1)
				if i == 0 {
					serial.Store(answer.TLS.PeerCertificates[0].SerialNumber.Int64())
				}
			}
		})
	}
	within := func(what string, is func() bool) {
		t.Helper()
		require.Eventually(t, func() bool { return is() || failures.Load() > 0 }, time.Minute, time.Millisecond, what)
	}
	within("the first certificate", func() bool { return serial.Load() == 1 })
	replace(files.CertFile, load(second.CertFile)) // without its key
	within("an error in the log", func() bool { return logs.FilterMessageSnippet("serving the previous one").Len() > 0 })
	before := answers.Load()
	within("answers with the previous certificate", func() bool { return answers.Load() > before+20 })
	require.Equal(t, int64(1), serial.Load())
	replace(files.KeyFile, load(second.KeyFile))
	within("the second certificate", func() bool { return serial.Load() == 2 })
	close(stop)
	asking.Wait()
	require.Zero(t, failures.Load())
	require.Equal(t, 1, logs.FilterMessageSnippet("serving the previous one").Len(), "logged once")
	require.Equal(t, 1, logs.FilterMessageSnippet("certificate replaced").Len())
	require.WithinDuration(t, time.Now().Add(2*time.Hour), s.cert.expires(), time.Minute)
}
