package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
)

// kafkaFlags go before the environment.
type kafkaFlags struct {
	brokers []string
	topic   string
}

func (f *kafkaFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.brokers, "brokers", nil, "brokers, host:port,… (default: KAFKA_BROKERS)")
	cmd.Flags().StringVar(&f.topic, "topic", "", "topic of the orders (default: KAFKA_TOPIC)")
}

// settings are those of the environment and the flags.
func (f *kafkaFlags) settings() (config.Kafka, error) {
	var s kafkaSettings
	if err := load(&s); err != nil {
		return config.Kafka{}, err
	}
	if len(f.brokers) > 0 {
		s.Kafka.Brokers = f.brokers
	}
	if f.topic != "" {
		s.Kafka.Topic = f.topic
	}
	if err := s.Kafka.Validate(); err != nil {
		// The environment alone was right.
		asFlags := strings.NewReplacer("KAFKA_BROKERS:", "--brokers:", "KAFKA_TOPIC:", "--topic:")
		return config.Kafka{}, usage(errors.New(asFlags.Replace(err.Error())))
	}
	return s.Kafka, nil
}

// connect returns a client, which connects when first used, and what closes it.
func connect(cfg config.Kafka) (*kafka.Client, func(), error) {
	transport, err := kafkago.Transport(cfg)
	if err != nil {
		return nil, nil, usage(err)
	}
	return kafkago.Client(cfg, transport), transport.CloseIdleConnections, nil
}

// explainKafka says what became of the brokers, and what to do.
func explainKafka(cfg config.Kafka, err error) error {
	brokers := strings.Join(kafkaconn.Brokers(cfg), ", ")
	var answer kafka.Error
	var network *net.OpError
	switch {
	case errors.As(err, &network) && network.Op == "read", errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the broker at %s broke the connection off: does it want TLS (KAFKA_TLS) or a login (KAFKA_SASL_MECHANISM)?%w", brokers, hidden{err})
	case errors.As(err, &answer):
		return fmt.Errorf("the broker at %s refuses: %w", brokers, withoutMethod(err))
	case errors.As(err, &network):
		return fmt.Errorf("cannot reach Kafka at %s: %w: start it, or say where it is with KAFKA_BROKERS or --brokers", brokers, network)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the broker at %s does not answer in time: look at its log, or say where another is with KAFKA_BROKERS or --brokers%w", brokers, hidden{err})
	default:
		return fmt.Errorf("the broker at %s: %w", brokers, withoutMethod(err))
	}
}

// isBrokerAway is true where waiting may help: no connection, or a cluster that
// is not complete yet.
func isBrokerAway(err error) bool {
	var network *net.OpError
	var answer kafka.Error
	switch {
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.DeadlineExceeded):
		return true
	case errors.As(err, &answer):
		return answer.Temporary() || answer == kafka.BrokerNotAvailable || answer == kafka.InvalidReplicationFactor
	default:
		return false
	}
}

// withoutMethod leaves out the names of kafka-go's methods.
func withoutMethod(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		prefix, found := strings.CutSuffix(err.Error(), inner.Error())
		if !found || !strings.HasPrefix(prefix, "kafka.(") {
			return err
		}
		err = inner
	}
}
