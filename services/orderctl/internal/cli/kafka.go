package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
)

// kafkaSettings are those of commands that need nothing but Kafka.
type kafkaSettings struct{ Kafka config.Kafka }

// kafkaFlags override the environment.
type kafkaFlags struct {
	brokers []string
	topic   string
	dlq     string
	foreign []string
}

func (f *kafkaFlags) registerBrokers(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.brokers, "brokers", nil, "brokers, host:port,… (default: KAFKA_BROKERS)")
}

func (f *kafkaFlags) registerOrders(cmd *cobra.Command) {
	f.registerBrokers(cmd)
	cmd.Flags().StringVar(&f.topic, "topic", "", "topic of the orders (default: KAFKA_TOPIC)")
}

// registerOurs is for commands that work on our letters alone.
func (f *kafkaFlags) registerOurs(cmd *cobra.Command) {
	f.registerBrokers(cmd)
	cmd.Flags().StringVar(&f.dlq, "dlq-topic", "", "topic of the dead letters (default: KAFKA_DLQ_TOPIC)")
}

func (f *kafkaFlags) registerLetters(cmd *cobra.Command) {
	f.registerOurs(cmd)
	cmd.Flags().StringSliceVar(&f.foreign, "foreign", nil, "topics with the letters of Kafka Connect, Spring Kafka or others,\nto look at these instead; what is done is kept in --dlq-topic")
}

// options are those of franz-go for the settings and the flags.
func (f *kafkaFlags) options(cfg *config.Kafka) ([]kgo.Opt, error) {
	if len(f.brokers) > 0 {
		cfg.Brokers = f.brokers
	}
	if f.topic != "" {
		cfg.Topic = f.topic
	}
	if f.dlq != "" {
		cfg.DLQTopic = f.dlq
	}
	if err := cfg.Validate(); err != nil {
		// The environment alone was right.
		asFlags := strings.NewReplacer("KAFKA_BROKERS:", "--brokers:", "KAFKA_TOPIC:", "--topic:", "KAFKA_DLQ_TOPIC:", "--dlq-topic:")
		return nil, usagef("%s", asFlags.Replace(err.Error()))
	}
	options, err := franz.Options(*cfg)
	return options, usage(err)
}

// explainKafka says what is wrong with the brokers or topics, and what to do.
func explainKafka(cfg *config.Kafka, err error) error {
	var coded *errs.Error
	if err == nil || errors.As(err, &coded) || errors.Is(err, context.Canceled) {
		return err
	}
	explain := func(format string, args ...any) error { return errs.Wrap(errs.Unavailable, err, format, args...) }
	brokers := strings.Join(kafkaconn.Brokers(*cfg), ", ")
	var answer *kerr.Error
	var network *net.OpError
	switch {
	case errors.Is(err, dlq.ErrChanged), errors.Is(err, dlq.ErrAmbiguous):
		return err
	case errors.Is(err, dlq.ErrTarget):
		return usage(err)
	case errors.Is(err, dlq.ErrNotFound):
		return errs.Wrap(errs.NotFound, err, "%v", err)
	case errors.Is(err, kafkaconn.ErrNoTopic):
		return explain("%v: start the worker, which creates the topics, or run 'orderctl topics', or name others with KAFKA_TOPIC, KAFKA_DLQ_TOPIC", err)
	case errors.Is(err, dlq.ErrInterfered):
		return explain("%v", dlq.ErrInterfered)
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return explain("%v: the user %q lacks the right: undo and purge exclude each other, and need Write and Describe on the transactional id orderhub-dlq/%s", err, cfg.SASLUsername, cfg.DLQTopic)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return explain("%v: the user %q lacks the right: reading needs Describe and Read on the dead-letter topic, dealing with letters Write on it, redriving Write on the source's topic", err, cfg.SASLUsername)
	case errors.As(err, &network) && network.Op == "read", errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, new(*kgo.ErrFirstReadEOF)):
		return explain("the broker at %s closed the connection: does it want TLS (KAFKA_TLS) or a login (KAFKA_SASL_MECHANISM)?", brokers)
	case errors.As(err, &network):
		return explain("cannot reach Kafka at %s: %v: start it, or say where it is with KAFKA_BROKERS or --brokers", brokers, network)
	case errors.As(err, &answer):
		return explain("the broker at %s refuses: %v", brokers, err)
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kgo.ErrRecordRetries):
		return explain("%v: the topic takes no records now; what was done until then is done, run the command again for the rest", err)
	case errors.Is(err, context.DeadlineExceeded):
		return explain("the broker at %s does not answer in time: look at its log, or say where another is with KAFKA_BROKERS or --brokers", brokers)
	default:
		return explain("the broker at %s: %v", brokers, err)
	}
}

// isBrokerAway is true where waiting may help: no connection, or a cluster that
// is not complete yet.
func isBrokerAway(err error) bool {
	var network *net.OpError
	var answer *kerr.Error
	switch {
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.DeadlineExceeded):
		return true
	case errors.As(err, &answer):
		return answer.Retriable || answer == kerr.BrokerNotAvailable || answer == kerr.InvalidReplicationFactor
	default:
		return false
	}
}
