package integration

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/orderctl/internal/cli"
)

// asOrderctl makes the test binary play orderctl, for commands that run until
// they are told to stop.
const asOrderctl = "ORDERCTL_OF_THE_TESTS"

func init() {
	if os.Getenv(asOrderctl) == "1" {
		os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
}

// said is what a process has written so far.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// ui runs orderctl dlqTopic ui until the test ends.
func (w *world) ui(environment ...string) (*exec.Cmd, *said) {
	w.t.Helper()
	cmd, out := exec.Command(os.Args[0], "dlq", "ui"), &said{}
	cmd.Env = append(append(os.Environ(), asOrderctl+"=1", "KAFKA_BROKERS="+w.broker.Addr(), "HTTP_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0",
		"ORDERHUB_AUDIT_FILE="+filepath.Join(w.t.TempDir(), "audit.jsonl")), environment...)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(w.t, cmd.Start())
	w.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd, out
}

var (
	printedAddress = regexp.MustCompile(`console for orders\.dlq: (https?://\S+)`)
	printedAdmin   = regexp.MustCompile(`"msg":"server ready",.*"server":"admin port","addr":"([^"]+)"`)
	printedToken   = regexp.MustCompile(`token, to change letters: ([A-Z0-9]{26})`)
)

func address(t *testing.T, out *said) string {
	t.Helper()
	require.Eventually(t, func() bool { return printedAddress.MatchString(out.String()) }, 20*time.Second, 10*time.Millisecond, "%s", out)
	return printedAddress.FindStringSubmatch(out.String())[1]
}

func TestDLQUIRunsUntilItIsStopped(t *testing.T) {
	w := newWorld(t)
	w.letters(1)
	cmd, out := w.ui("HTTP_HOSTS=dlq.example.com")
	url := address(t, out)
	require.Eventually(t, func() bool { return printedToken.MatchString(out.String()) }, 20*time.Second, 10*time.Millisecond, "%s", out)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	require.Eventually(t, func() bool {
		response, err := client.Get(url + "/letters")
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		return err == nil && strings.Contains(string(body), "3 letters")
	}, 20*time.Second, 20*time.Millisecond)
	t.Setenv("ADMIN_ADDR", printedAdmin.FindStringSubmatch(out.String())[1])
	require.Equal(t, 0, w.orderctl("dlq", "ui", "--healthcheck").code)

	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, cmd.Wait(), "%s", out)
	require.Contains(t, out.String(), "stopping")
	require.Equal(t, 1, w.orderctl("dlq", "ui", "--healthcheck").code)
}

func TestDLQUIRefusesToBeOpenToAll(t *testing.T) {
	w := newWorld(t)
	for name, wrong := range map[string][]string{
		"HTTP_AUTH: others can reach :0":            {"HTTP_ADDR", ":0"},
		"HTTP_AUTH: others can reach 0.0.0.0:0":     {"HTTP_ADDR", "0.0.0.0:0"},
		"HTTP_AUTH: others can reach example.com:0": {"HTTP_ADDR", "example.com:0"},
		"HTTP_AUTH: others can reach 127.0.0.1":     {"BASE_PATH", "/dlq"},
		"HTTP_AUTH: on needs HTTP_TOKENS_FILE":      {"HTTP_AUTH", "on"},
		"HTTP_ADDR: \"8082\" is not host:port":      {"HTTP_ADDR", "8082"},
		"ORDERHUB_CONSOLE_TOKEN: has 5 bytes":       {"ORDERHUB_CONSOLE_TOKEN", "short"},
		"ORDERHUB_CONSOLE_TLS_KEY: set both":        {"ORDERHUB_CONSOLE_TLS_CERT", "cert.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(wrong[0], wrong[1])
			got := w.orderctl("dlq", "ui")
			require.Equal(t, 2, got.code)
			require.Contains(t, got.stderr, name)
		})
	}
	t.Setenv("HTTP_AUTH", "off")
	t.Setenv("HTTP_ADDR", ":0")
	got := w.orderctl("dlq", "ui")
	require.Equal(t, 2, got.code)
	require.Contains(t, got.stderr, "ORDERHUB_CONSOLE_TOKEN: with HTTP_AUTH=off others can reach :0")
}

func TestDLQUIServesHTTPS(t *testing.T) {
	w := newWorld(t)
	certificate, key := selfSigned(t)
	cmd, out := w.ui("HTTP_ADDR=:0", "HTTP_AUTH=off", "ORDERHUB_CONSOLE_TOKEN="+consoleToken, "ORDERHUB_CONSOLE_TLS_CERT="+certificate, "ORDERHUB_CONSOLE_TLS_KEY="+key)
	url := address(t, out)
	require.True(t, strings.HasPrefix(url, "https://localhost:"), url)
	require.NotContains(t, out.String(), consoleToken)
	require.NotContains(t, out.String(), "unencrypted")
	trusted := x509.NewCertPool()
	text, err := os.ReadFile(certificate)
	require.NoError(t, err)
	require.True(t, trusted.AppendCertsFromPEM(text))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trusted}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url+"/", nil)
	require.NoError(t, err)
	request.Header.Set("Accept", "text/html")
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusSeeOther, response.StatusCode, "reading wants the token as well")
	require.NotEmpty(t, response.Header.Get("Strict-Transport-Security"))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "%s", out)
}

// selfSigned writes a certificate for localhost.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return certificate, key
}
