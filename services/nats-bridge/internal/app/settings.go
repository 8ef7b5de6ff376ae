package app

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
)

const (
	modeJetStream = "jetstream"
	modeStreaming = "streaming"
)

// Settings of the bridge.
type Settings struct {
	NATS  natsconn.Settings
	Kafka config.Kafka
	Log   config.Log

	Mode    string `env:"NATS_MODE" envDefault:"jetstream" help:"jetstream, or streaming for NATS Streaming (end of life)"`
	Stream  string `env:"NATS_STREAM" envDefault:"ORDERS" help:"JetStream stream; created where it is missing"`
	Subject string `env:"NATS_SUBJECT" envDefault:"orders" help:"subject of the orders; may have wildcards in JetStream"`
	Durable string `env:"NATS_DURABLE" envDefault:"orderhub" help:"name of the durable consumer, or of the durable queue subscription"`

	ClusterID string `env:"STAN_CLUSTER_ID" envDefault:"test-cluster" help:"cluster of NATS Streaming"`
	ClientID  string `env:"STAN_CLIENT_ID" envDefault:"orderhub-bridge" help:"the bridge's name in NATS Streaming"`

	MaxMessages int           `env:"NATS_MAX_IN_FLIGHT" envDefault:"4096" help:"most messages that wait for Kafka"`
	MaxBytes    int           `env:"NATS_MAX_IN_FLIGHT_BYTES" envDefault:"67108864" help:"most bytes of messages that wait for Kafka"`
	AckWait     time.Duration `env:"NATS_ACK_WAIT" envDefault:"30s" help:"how long the server waits before it delivers a message again"`

	AdminAddr   string        `env:"ADMIN_ADDR" envDefault:"127.0.0.1:9083" help:"where /livez, /readyz, /metrics and pprof are"`
	StopTimeout time.Duration `env:"STOP_TIMEOUT" envDefault:"10s" help:"how long a stop may take"`
}

// Validate names the variables whose values cannot be used.
func (s *Settings) Validate() error {
	errs := []error{
		config.OneOf("NATS_MODE", s.Mode, modeJetStream, modeStreaming),
		config.ListenAddr("ADMIN_ADDR", s.AdminAddr),
		between("NATS_MAX_IN_FLIGHT", s.MaxMessages, 1, 1_000_000),
		between("NATS_MAX_IN_FLIGHT_BYTES", s.MaxBytes, 1<<20, 1<<40),
		between("NATS_ACK_WAIT", s.AckWait, time.Second, time.Hour),
		between("STOP_TIMEOUT", s.StopTimeout, time.Second, time.Hour),
	}
	for name, value := range map[string]string{"NATS_STREAM": s.Stream, "NATS_DURABLE": s.Durable} {
		if strings.ContainsAny(value, ".*> \t/\\") {
			errs = append(errs, fmt.Errorf("%s: %q has one of . * > / \\ or a blank", name, value))
		}
	}
	if strings.ContainsAny(s.Subject, " \t") || s.Mode == modeStreaming && strings.ContainsAny(s.Subject, "*>") {
		errs = append(errs, fmt.Errorf("NATS_SUBJECT: %q is no subject (NATS Streaming has no wildcards)", s.Subject))
	}
	return errors.Join(errs...)
}

func between[T int | time.Duration](name string, value, least, most T) error {
	if value < least || value > most {
		return fmt.Errorf("%s: %v is not from %v to %v", name, value, least, most)
	}
	return nil
}
