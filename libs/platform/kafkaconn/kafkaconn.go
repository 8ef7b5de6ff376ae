// Package kafkaconn holds what Orderhub's Kafka clients have in common: how they
// reach the brokers and how the topics must be set up. It uses no client itself.
// Package kafkago turns the settings into kafka-go's options, package franz into
// franz-go's, so that a program links only the client that it uses.
package kafkaconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// ClientID is the name under which brokers log requests and apply quotas.
const ClientID = "orderhub"

// DialTimeout bounds the connection to one broker, TLS included.
const DialTimeout = 5 * time.Second

// Brokers returns the brokers' addresses without blanks around them.
func Brokers(cfg config.KafkaConn) []string {
	brokers := make([]string, len(cfg.Brokers))
	for i, b := range cfg.Brokers {
		brokers[i] = strings.TrimSpace(b)
	}
	return brokers
}

// Missing adds to a broker's refusal the right that this program's user lacks, such as
// "Read on group orderhub".
func Missing(err error, right string) error {
	return fmt.Errorf("%w: grant %s to this program's Kafka user", err, right)
}

// Dialer returns a function that opens connections to brokers, with TLS if it is on.
// Each connection reads the files of certificates anew, so that they can be rotated.
// Unless KAFKA_TLS_SERVER_NAME is set, each broker's certificate is verified against
// that broker's own host. Files that cannot be used now are an error at once.
func Dialer(cfg config.KafkaConn) (func(ctx context.Context, network, address string) (net.Conn, error), error) {
	network := &net.Dialer{Timeout: DialTimeout, KeepAlive: 30 * time.Second}
	if !cfg.TLS {
		return network.DialContext, nil
	}
	if _, err := secured(cfg); err != nil {
		return nil, err
	}
	return func(ctx context.Context, protocol, address string) (net.Conn, error) {
		secure, err := secured(cfg)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, DialTimeout)
		defer cancel()
		return (&tls.Dialer{NetDialer: network, Config: secure}).DialContext(ctx, protocol, address)
	}, nil
}

func secured(cfg config.KafkaConn) (*tls.Config, error) {
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
