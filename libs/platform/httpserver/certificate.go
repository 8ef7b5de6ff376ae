package httpserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// certificateCheck is the time between two looks at the certificate's files.
const certificateCheck = 2 * time.Second

// certificate is a pair of files that may be replaced while the server runs, for
// instance by cert-manager. It compares their contents: a time of modification may stay
// the same, and Kubernetes replaces a link to their folder.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
	cert, key         []byte // as they were read last, usable or not
}

// load reads the files again. Of a pair that cannot be used, as while one of the two
// has been replaced, the previous one remains.
func (c *certificate) load() (changed bool, err error) {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return false, fmt.Errorf("HTTP_TLS_CERT_FILE: %w", err)
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return false, fmt.Errorf("HTTP_TLS_KEY_FILE: %w", err)
	}
	if bytes.Equal(cert, c.cert) && bytes.Equal(key, c.key) {
		return false, nil
	}
	c.cert, c.key = cert, key
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("HTTP_TLS_CERT_FILE %s, HTTP_TLS_KEY_FILE %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return true, nil
}

// watch loads the files when they change, until ctx ends.
func (c *certificate) watch(ctx context.Context, every time.Duration, log *zap.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failure := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := c.load()
		switch {
		case err != nil && err.Error() != failure:
			failure = err.Error()
			log.Error("cannot use the new certificate, serving the previous one", zap.Error(err), zap.Time("expires", c.expires()))
		case changed:
			failure = ""
			log.Info("certificate replaced", zap.Time("expires", c.expires()))
		}
	}
}

func (c *certificate) expires() time.Time { return c.current.Load().Leaf.NotAfter }

func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}

func (c *certificate) metric() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "orderhub_certificate_expiry_seconds", Help: "Seconds until the certificate of the HTTPS port expires.",
	}, func() float64 { return time.Until(c.expires()).Seconds() })
}
