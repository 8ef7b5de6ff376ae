// Package kafkago turns the Kafka settings into kafka-go's connections, and creates
// and checks topics over them.
package kafkago

import (
	"crypto/tls"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
)

// Balancer chooses the partition of a key as Java's producer does, and as franz-go
// does by default: by murmur2. A nil key goes anywhere.
var Balancer kafka.Balancer = kafka.Murmur2Balancer{}

// Dialer opens connections of their own, as a consumer group and a fetcher need.
// Safe for concurrent use.
func Dialer(cfg config.Kafka) (*kafka.Dialer, error) {
	secure, login, err := security(cfg)
	if err != nil {
		return nil, err
	}
	return &kafka.Dialer{
		ClientID:      kafkaconn.ClientID,
		Timeout:       kafkaconn.DialTimeout,
		DualStack:     true,
		KeepAlive:     30 * time.Second,
		TLS:           secure,
		SASLMechanism: login,
	}, nil
}

// Transport pools connections for requests through a kafka.Client or kafka.Writer.
// Call CloseIdleConnections when done. Safe for concurrent use.
func Transport(cfg config.Kafka) (*kafka.Transport, error) {
	secure, login, err := security(cfg)
	if err != nil {
		return nil, err
	}
	return &kafka.Transport{
		ClientID:    kafkaconn.ClientID,
		DialTimeout: kafkaconn.DialTimeout,
		IdleTimeout: time.Minute,
		MetadataTTL: 5 * time.Second,
		TLS:         secure,
		SASL:        login,
	}, nil
}

// Client sends single requests to the brokers. Safe for concurrent use.
func Client(cfg config.Kafka, transport kafka.RoundTripper) *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(kafkaconn.Brokers(cfg)...), Transport: transport}
}

func security(cfg config.Kafka) (*tls.Config, sasl.Mechanism, error) {
	secure, err := kafkaconn.TLS(cfg)
	if err != nil {
		return nil, nil, err
	}
	login, err := mechanism(cfg)
	return secure, login, err
}

func mechanism(cfg config.Kafka) (sasl.Mechanism, error) {
	password := cfg.SASLPassword.Reveal()
	switch cfg.SASLMechanism {
	case kafkaconn.Plain:
		return plain.Mechanism{Username: cfg.SASLUsername, Password: password}, nil
	case kafkaconn.ScramSHA256:
		return scram.Mechanism(scram.SHA256, cfg.SASLUsername, password)
	case kafkaconn.ScramSHA512:
		return scram.Mechanism(scram.SHA512, cfg.SASLUsername, password)
	default:
		return nil, nil // config.Kafka.Validate lets nothing else through
	}
}
