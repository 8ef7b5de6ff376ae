package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Service holds the settings that every service has. Each service's settings embed
// it, with a tag for the default of ADMIN_ADDR.
type Service struct {
	Log         Log
	Traces      Traces
	AdminAddr   string        `env:"ADMIN_ADDR" help:"address of /livez, /readyz, /metrics and /loglevel"`
	AdminPprof  bool          `env:"ADMIN_PPROF" envDefault:"false" help:"true: Go's profiles as well, at /debug/pprof/ of ADMIN_ADDR; beyond the loopback with ADMIN_TOKEN only"`
	AdminToken  Secret        `env:"ADMIN_TOKEN" validate:"omitempty,bytes=16" help:"bearer token that profiles and changes of /loglevel ask for, 16 bytes or more"`
	StopTimeout time.Duration `env:"STOP_TIMEOUT" envDefault:"10s" validate:"min=1s,max=1h" help:"how long a stop may take"`
}

// Common returns the settings that every service has.
func (s *Service) Common() *Service { return s }

// Validate names the variables whose values cannot be used.
func (s *Service) Validate() error {
	var profiles error
	if s.AdminPprof && s.AdminToken == "" && !IsLoopback(s.AdminAddr) {
		profiles = fmt.Errorf("ADMIN_PPROF: profiles show what the program holds in memory, and other machines can reach ADMIN_ADDR=%s: set ADMIN_TOKEN, or listen on the loopback", s.AdminAddr)
	}
	return errors.Join(profiles, ListenAddr("ADMIN_ADDR", s.AdminAddr))
}

// Log is how a program writes its log.
type Log struct {
	Level  string `env:"LOG_LEVEL" envDefault:"info" validate:"oneof=debug info warn error" help:"debug, info, warn or error; PUT /loglevel at ADMIN_ADDR changes it"`
	Format string `env:"LOG_FORMAT" envDefault:"json" validate:"oneof=json console" help:"json (for programs) or console (for people)"`
}

// Database is the address of PostgreSQL.
type Database struct {
	URL     Secret `env:"DATABASE_URL" envDefault:"postgres://orders:orders@localhost:5432/orders?sslmode=disable" help:"PostgreSQL with the orders"`
	URLFile string `env:"DATABASE_URL_FILE"`
}

// Kafka is where the topics of orders and letters are.
type Kafka struct {
	KafkaConn
	Topic    string `env:"KAFKA_TOPIC" envDefault:"orders" help:"topic of the orders"`
	DLQTopic string `env:"KAFKA_DLQ_TOPIC" envDefault:"orders.dlq" help:"dead-letter topic"`
}

// Validate names the variable whose value cannot be used, besides those of the
// connection.
func (k Kafka) Validate() error {
	var errs []error
	for _, t := range []struct{ name, topic string }{{"KAFKA_TOPIC", k.Topic}, {"KAFKA_DLQ_TOPIC", k.DLQTopic}} {
		if !topicName.MatchString(t.topic) || t.topic == "." || t.topic == ".." {
			errs = append(errs, fmt.Errorf("%s: %q is no topic name: 1 to 249 of a-z, A-Z, 0-9, '.', '_', '-'", t.name, t.topic))
		}
	}
	if k.Topic == k.DLQTopic {
		errs = append(errs, fmt.Errorf("KAFKA_DLQ_TOPIC: %q is the topic of the orders as well", k.DLQTopic))
	}
	return errors.Join(errs...)
}

// KafkaConn holds the brokers' addresses and how to log in there.
type KafkaConn struct {
	Brokers []string `env:"KAFKA_BROKERS" envDefault:"localhost:9092" help:"host:port of one or more brokers, comma-separated"`

	TLS           bool   `env:"KAFKA_TLS" envDefault:"false" help:"true: speak TLS to the brokers"`
	TLSCAFile     string `env:"KAFKA_TLS_CA_FILE" help:"PEM file with the authority to trust (default: the system's)"`
	TLSCertFile   string `env:"KAFKA_TLS_CERT_FILE" help:"PEM file with the client's certificate"`
	TLSKeyFile    string `env:"KAFKA_TLS_KEY_FILE" help:"PEM file with the client's key"`
	TLSServerName string `env:"KAFKA_TLS_SERVER_NAME" help:"name that the broker's certificate must bear (default: the broker's host)"`

	SASLMechanism    string `env:"KAFKA_SASL_MECHANISM" validate:"omitempty,oneof=PLAIN SCRAM-SHA-256 SCRAM-SHA-512 OAUTHBEARER AWS_MSK_IAM" help:"PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM (default: no login)"`
	SASLUsername     string `env:"KAFKA_SASL_USERNAME" help:"user to log in as"`
	SASLPassword     Secret `env:"KAFKA_SASL_PASSWORD" help:"the user's password"`
	SASLPasswordFile string `env:"KAFKA_SASL_PASSWORD_FILE"`
	SASLPlaintext    string `env:"KAFKA_SASL_PLAINTEXT" envDefault:"refuse" validate:"oneof=refuse allow" help:"allow: send passwords and tokens over connections without TLS"`

	OAuthTokenURL         string `env:"KAFKA_SASL_OAUTH_TOKEN_URL" help:"where OAUTHBEARER gets tokens, by the grant client_credentials"`
	OAuthClientID         string `env:"KAFKA_SASL_OAUTH_CLIENT_ID" help:"client to get tokens as"`
	OAuthClientSecret     Secret `env:"KAFKA_SASL_OAUTH_CLIENT_SECRET" help:"the client's secret"`
	OAuthClientSecretFile string `env:"KAFKA_SASL_OAUTH_CLIENT_SECRET_FILE"`
	OAuthScope            string `env:"KAFKA_SASL_OAUTH_SCOPE" help:"scopes to ask for, separated by blanks"`

	AWSRegion string `env:"KAFKA_SASL_AWS_REGION" help:"region of the cluster, for AWS_MSK_IAM"`
}

// Validate names the variable whose value cannot be used.
func (k KafkaConn) Validate() error {
	var errs []error
	for _, b := range k.Brokers {
		if _, _, err := net.SplitHostPort(strings.TrimSpace(b)); err != nil {
			errs = append(errs, fmt.Errorf("KAFKA_BROKERS: %q is not host:port", b))
		}
	}
	if !k.TLS && (k.TLSCAFile != "" || k.TLSCertFile != "" || k.TLSServerName != "") {
		errs = append(errs, errors.New("KAFKA_TLS: other KAFKA_TLS_ variables are set, but it is not true"))
	}
	return errors.Join(append(errs, Pair("KAFKA_TLS_CERT_FILE", k.TLSCertFile, "KAFKA_TLS_KEY_FILE", k.TLSKeyFile), k.validateLogin())...)
}

// validateLogin checks that the login is complete, and that nobody on the network can
// read it.
func (k KafkaConn) validateLogin() error {
	var errs []error
	secure := k.TLS
	switch k.SASLMechanism {
	case "SCRAM-SHA-256", "SCRAM-SHA-512": // never sends the password
		secure = true
		fallthrough
	case "PLAIN":
		if k.SASLUsername == "" || k.SASLPassword == "" {
			errs = append(errs, errors.New("KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD: a login needs both"))
		}
	case "OAUTHBEARER":
		if k.OAuthTokenURL == "" || k.OAuthClientID == "" || k.OAuthClientSecret == "" {
			errs = append(errs, errors.New("KAFKA_SASL_OAUTH_TOKEN_URL, KAFKA_SASL_OAUTH_CLIENT_ID and KAFKA_SASL_OAUTH_CLIENT_SECRET: OAUTHBEARER needs all three"))
			break
		}
		address, err := url.Parse(k.OAuthTokenURL)
		if err != nil || address.Host == "" || address.User != nil || address.Scheme != "https" && address.Scheme != "http" {
			errs = append(errs, errors.New("KAFKA_SASL_OAUTH_TOKEN_URL: not an address such as https://login.example/token"))
		} else if address.Scheme == "http" && k.SASLPlaintext != "allow" {
			errs = append(errs, errors.New("KAFKA_SASL_OAUTH_TOKEN_URL: http would send the client's secret unencrypted: use https, or set KAFKA_SASL_PLAINTEXT=allow"))
		}
	case "AWS_MSK_IAM":
		if k.AWSRegion == "" {
			errs = append(errs, errors.New("KAFKA_SASL_AWS_REGION: AWS_MSK_IAM needs it"))
		}
	default:
		return nil
	}
	if !secure && k.SASLPlaintext != "allow" {
		errs = append(errs, fmt.Errorf("KAFKA_SASL_MECHANISM: %s without TLS sends the login unencrypted: set KAFKA_TLS=true, or KAFKA_SASL_PLAINTEXT=allow where nobody else can read the network", k.SASLMechanism))
	}
	return errors.Join(errs...)
}

// topicName follows org.apache.kafka.common.internals.Topic, which excludes "." and ".."
// as well.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// ListenAddr checks a setting that is an address to listen on.
func ListenAddr(name, addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("%s: %q is not host:port (or :port)", name, addr)
	}
	return nil
}

// IsLoopback tells whether only this machine can reach an address to listen on.
func IsLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && IsLoopbackHost(host)
}

// IsLoopbackHost tells whether a host name or an address is this machine's own.
func IsLoopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// Traces says which spans are recorded and where they go, by OpenTelemetry's standard
// variables. Without an endpoint there are none.
type Traces struct {
	Disabled       bool   `env:"OTEL_SDK_DISABLED" envDefault:"false" help:"true: no traces, whatever else is set"`
	Exporter       string `env:"OTEL_TRACES_EXPORTER" validate:"omitempty,oneof=otlp none" help:"otlp or none (default: otlp where an endpoint is set, else none)"`
	Endpoint       string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" validate:"omitempty,http_url" help:"collector to send traces to, by OTLP over HTTP, such as http://localhost:4318"`
	TracesEndpoint string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" validate:"omitempty,http_url" help:"the whole address for traces, used as it stands instead of OTEL_EXPORTER_OTLP_ENDPOINT"`
	Headers        Secret `env:"OTEL_EXPORTER_OTLP_HEADERS" help:"headers for the collector, such as authorization=Bearer%20TOKEN, comma-separated"`
	HeadersFile    string `env:"OTEL_EXPORTER_OTLP_HEADERS_FILE"`
	Protocol       string `env:"OTEL_EXPORTER_OTLP_PROTOCOL" envDefault:"http/protobuf" validate:"oneof=http/protobuf" help:"http/protobuf, the only one that is supported"`
	TimeoutMillis  int    `env:"OTEL_EXPORTER_OTLP_TIMEOUT" envDefault:"10000" validate:"min=1,max=600_000" help:"milliseconds that a request to the collector may take"`
	CAFile         string `env:"OTEL_EXPORTER_OTLP_CERTIFICATE" help:"PEM file with the authority to trust (default: the system's)"`
	Sampler        string `env:"OTEL_TRACES_SAMPLER" validate:"omitempty,oneof=always_on always_off traceidratio parentbased_always_on parentbased_always_off parentbased_traceidratio" help:"always_on, always_off, traceidratio, or parentbased_ and one of these (default: parentbased_always_off; of orderctl's commands the first 100 traces)"`
	SamplerArg     string `env:"OTEL_TRACES_SAMPLER_ARG" help:"share of the traces that traceidratio records, 0 to 1 (default: 1)"`
}

// On says whether spans are exported.
func (t *Traces) On() bool {
	return !t.Disabled && t.Exporter != "none" && (t.Exporter != "" || t.Endpoint != "" || t.TracesEndpoint != "")
}

// Validate names the variable whose value cannot be used.
func (t *Traces) Validate() error {
	if share, err := strconv.ParseFloat(t.SamplerArg, 64); t.SamplerArg != "" && (err != nil || share < 0 || share > 1) {
		return fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is no share from 0 to 1", t.SamplerArg)
	}
	return nil
}
