// Package kafkaconn turns the Kafka settings into kafka-go's connections, and
// creates or checks the topics.
package kafkaconn

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// clientID is how the broker's log and quotas know us.
const clientID = "orderhub"

const dialTimeout = 5 * time.Second

// Dialer is for what kafka-go does over a connection of its own, such as a
// consumer group. Safe for concurrent use.
func Dialer(cfg config.Kafka) (*kafka.Dialer, error) {
	secure, login, err := security(cfg)
	if err != nil {
		return nil, err
	}
	return &kafka.Dialer{
		ClientID:      clientID,
		Timeout:       dialTimeout,
		DualStack:     true,
		KeepAlive:     30 * time.Second,
		TLS:           secure,
		SASLMechanism: login,
	}, nil
}

// Transport is for requests through kafka.Client, over pooled connections. Call
// CloseIdleConnections when done. Safe for concurrent use.
func Transport(cfg config.Kafka) (*kafka.Transport, error) {
	secure, login, err := security(cfg)
	if err != nil {
		return nil, err
	}
	return &kafka.Transport{
		ClientID:    clientID,
		DialTimeout: dialTimeout,
		IdleTimeout: time.Minute,
		MetadataTTL: 5 * time.Second,
		TLS:         secure,
		SASL:        login,
	}, nil
}

// Client bundles the brokers' addresses with a transport.
func Client(cfg config.Kafka, transport kafka.RoundTripper) *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(Brokers(cfg)...), Transport: transport}
}

// Brokers are the addresses without the blanks that people put after commas.
func Brokers(cfg config.Kafka) []string {
	brokers := make([]string, len(cfg.Brokers))
	for i, b := range cfg.Brokers {
		brokers[i] = strings.TrimSpace(b)
	}
	return brokers
}

func security(cfg config.Kafka) (*tls.Config, sasl.Mechanism, error) {
	secure, err := tlsConfig(cfg)
	if err != nil {
		return nil, nil, err
	}
	login, err := mechanism(cfg)
	return secure, login, err
}

func tlsConfig(cfg config.Kafka) (*tls.Config, error) {
	if !cfg.TLS {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.TLSServerName}
	if c.ServerName == "" {
		host, _, err := net.SplitHostPort(strings.TrimSpace(cfg.Brokers[0]))
		if err == nil && len(cfg.Brokers) == 1 {
			c.ServerName = host
		}
	}
	if cfg.TLSCAFile != "" {
		pem, err := os.ReadFile(cfg.TLSCAFile)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_TLS_CA_FILE: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("KAFKA_TLS_CA_FILE: %s holds no PEM certificate", cfg.TLSCAFile)
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

func mechanism(cfg config.Kafka) (sasl.Mechanism, error) {
	password := cfg.SASLPassword.Reveal()
	switch cfg.SASLMechanism {
	case "PLAIN":
		return plain.Mechanism{Username: cfg.SASLUsername, Password: password}, nil
	case "SCRAM-SHA-256":
		return scram.Mechanism(scram.SHA256, cfg.SASLUsername, password)
	case "SCRAM-SHA-512":
		return scram.Mechanism(scram.SHA512, cfg.SASLUsername, password)
	default:
		return nil, nil // config.Kafka.Validate lets nothing else through
	}
}
