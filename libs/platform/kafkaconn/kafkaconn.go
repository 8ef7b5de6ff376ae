// Package kafkaconn holds what Orderhub's Kafka clients have in common: how they
// reach the brokers and how the topics must be set up. It uses no client itself.
// Package kafkago turns the settings into kafka-go's options, package franz into
// franz-go's, so that a program links only the client that it uses.
package kafkaconn

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// ClientID is the name under which brokers log requests and apply quotas.
const ClientID = "orderhub"

// DialTimeout bounds the connection to one broker, TLS included.
const DialTimeout = 5 * time.Second

// SASL mechanisms, as KAFKA_SASL_MECHANISM spells them.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

// Brokers returns the brokers' addresses without blanks around them.
func Brokers(cfg config.Kafka) []string {
	brokers := make([]string, len(cfg.Brokers))
	for i, b := range cfg.Brokers {
		brokers[i] = strings.TrimSpace(b)
	}
	return brokers
}

// TLS returns the TLS settings for connections to brokers, or nil without TLS. The
// ServerName is empty unless KAFKA_TLS_SERVER_NAME is set: both clients then verify
// each broker's certificate against that broker's own host.
func TLS(cfg config.Kafka) (*tls.Config, error) {
	if !cfg.TLS {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.TLSServerName}
	if cfg.TLSCAFile != "" {
		pem, err := os.ReadFile(cfg.TLSCAFile)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_TLS_CA_FILE: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("KAFKA_TLS_CA_FILE: %s contains no PEM certificate", cfg.TLSCAFile)
		}
	}
	if cfg.TLSCertFile != "" {
		pair, err := tls.LoadX509KeyPair(cfg.TLSCertFile, cfg.TLSKeyFile)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_TLS_CERT_FILE, KAFKA_TLS_KEY_FILE: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
