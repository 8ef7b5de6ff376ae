package app

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
)

const modeStreaming = "streaming" // of NATS_MODE, whose other value is jetstream

// Settings of the bridge.
type Settings struct {
	config.Service `ADMIN_ADDR:"127.0.0.1:9083"`

	NATS  natsconn.Settings
	Kafka config.Kafka

	Mode    string `env:"NATS_MODE" envDefault:"jetstream" validate:"oneof=jetstream streaming" help:"jetstream, or streaming for NATS Streaming (end of life)"`
	Stream  string `env:"NATS_STREAM" envDefault:"ORDERS" help:"JetStream stream; created where it is missing"`
	Subject string `env:"NATS_SUBJECT" envDefault:"orders" help:"subject of the orders; may have wildcards in JetStream"`
	Durable string `env:"NATS_DURABLE" envDefault:"orderhub" help:"name of the durable consumer, or of the durable queue subscription"`

	Streaming natsconn.Streaming `STAN_CLIENT_ID:"orderhub-bridge"`

	MaxMessages int           `env:"NATS_MAX_IN_FLIGHT" envDefault:"4096" validate:"min=1,max=1_000_000" help:"most messages that wait for Kafka"`
	MaxBytes    int           `env:"NATS_MAX_IN_FLIGHT_BYTES" envDefault:"67108864" validate:"min=1_048_576,max=1_099_511_627_776" help:"most bytes of messages that wait for Kafka"`
	AckWait     time.Duration `env:"NATS_ACK_WAIT" envDefault:"30s" validate:"min=1s,max=1h" help:"how long the server waits before it delivers a message again"`
}

// Validate names the variables whose values cannot be used.
func (s *Settings) Validate() error {
	var errs []error
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
