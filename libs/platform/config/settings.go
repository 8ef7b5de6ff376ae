package config

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Service holds the settings that every service has. Each service's settings embed
// it, with a tag for the default of ADMIN_ADDR.
type Service struct {
	Log         Log
	AdminAddr   string        `env:"ADMIN_ADDR" help:"address of /livez, /readyz, /metrics and pprof"`
	StopTimeout time.Duration `env:"STOP_TIMEOUT" envDefault:"10s" help:"how long a stop may take"`
}

// Common returns the settings that every service has.
func (s *Service) Common() *Service { return s }

// Validate names the variables whose values cannot be used.
func (s *Service) Validate() error {
	return errors.Join(
		ListenAddr("ADMIN_ADDR", s.AdminAddr),
		Between("STOP_TIMEOUT", s.StopTimeout, time.Second, time.Hour))
}

// Log is how a program writes its log.
type Log struct {
	Level  string `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error"`
	Format string `env:"LOG_FORMAT" envDefault:"json" help:"json (for programs) or console (for people)"`
}

// Validate names the variable whose value is unknown.
func (l Log) Validate() error {
	return errors.Join(
		OneOf("LOG_LEVEL", l.Level, "debug", "info", "warn", "error"),
		OneOf("LOG_FORMAT", l.Format, "json", "console"))
}

// Database is the address of PostgreSQL.
type Database struct {
	URL Secret `env:"DATABASE_URL" envDefault:"postgres://orders:orders@localhost:5432/orders?sslmode=disable" help:"PostgreSQL with the orders"`
}

// Kafka holds the brokers' addresses, how to log in there, and the topics.
type Kafka struct {
	Brokers  []string `env:"KAFKA_BROKERS" envDefault:"localhost:9092" help:"host:port of one or more brokers, comma-separated"`
	Topic    string   `env:"KAFKA_TOPIC" envDefault:"orders" help:"topic of the orders"`
	DLQTopic string   `env:"KAFKA_DLQ_TOPIC" envDefault:"orders.dlq" help:"dead-letter topic"`
	Group    string   `env:"KAFKA_GROUP" envDefault:"orderhub" help:"consumer group of the workers"`

	TLS           bool   `env:"KAFKA_TLS" envDefault:"false" help:"true: speak TLS to the brokers"`
	TLSCAFile     string `env:"KAFKA_TLS_CA_FILE" help:"PEM file with the authority to trust (default: the system's)"`
	TLSCertFile   string `env:"KAFKA_TLS_CERT_FILE" help:"PEM file with the client's certificate"`
	TLSKeyFile    string `env:"KAFKA_TLS_KEY_FILE" help:"PEM file with the client's key"`
	TLSServerName string `env:"KAFKA_TLS_SERVER_NAME" help:"name that the broker's certificate must bear (default: the broker's host)"`

	SASLMechanism string `env:"KAFKA_SASL_MECHANISM" help:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 (default: no login)"`
	SASLUsername  string `env:"KAFKA_SASL_USERNAME" help:"user to log in as"`
	SASLPassword  Secret `env:"KAFKA_SASL_PASSWORD" help:"the user's password"`
}

// Validate names the variable whose value cannot be used.
func (k Kafka) Validate() error {
	var errs []error
	for _, b := range k.Brokers {
		if _, _, err := net.SplitHostPort(strings.TrimSpace(b)); err != nil {
			errs = append(errs, fmt.Errorf("KAFKA_BROKERS: %q is not host:port", b))
		}
	}
	for _, t := range []struct{ name, topic string }{{"KAFKA_TOPIC", k.Topic}, {"KAFKA_DLQ_TOPIC", k.DLQTopic}} {
		if !validTopic(t.topic) {
			errs = append(errs, fmt.Errorf("%s: %q is no topic name: 1 to 249 of a-z, A-Z, 0-9, '.', '_', '-'", t.name, t.topic))
		}
	}
	if k.Topic == k.DLQTopic {
		errs = append(errs, fmt.Errorf("KAFKA_DLQ_TOPIC: %q is the topic of the orders as well", k.DLQTopic))
	}
	if (k.TLSCertFile == "") != (k.TLSKeyFile == "") {
		errs = append(errs, errors.New("KAFKA_TLS_CERT_FILE and KAFKA_TLS_KEY_FILE: set both or none"))
	}
	if !k.TLS && (k.TLSCAFile != "" || k.TLSCertFile != "" || k.TLSServerName != "") {
		errs = append(errs, errors.New("KAFKA_TLS: other KAFKA_TLS_ variables are set, but it is not true"))
	}
	if k.SASLMechanism != "" {
		errs = append(errs, OneOf("KAFKA_SASL_MECHANISM", k.SASLMechanism, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"))
		if k.SASLUsername == "" || k.SASLPassword == "" {
			errs = append(errs, errors.New("KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD: a login needs both"))
		}
	}
	return errors.Join(errs...)
}

// validTopic follows org.apache.kafka.common.internals.Topic.
func validTopic(name string) bool {
	if name == "" || len(name) > 249 || name == "." || name == ".." {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// ListenAddr checks a setting that is an address to listen on.
func ListenAddr(name, addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("%s: %q is not host:port (or :port)", name, addr)
	}
	return nil
}
