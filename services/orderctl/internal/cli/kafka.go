package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

// topicsSettings are those of the worker, which creates topics too.
type topicsSettings struct {
	Kafka       config.Kafka
	Partitions  int `env:"KAFKA_TOPIC_PARTITIONS" envDefault:"4" help:"partitions of a topic that is created"`
	Replication int `env:"KAFKA_TOPIC_REPLICATION" envDefault:"-1" help:"replicas of a topic that is created (-1: the broker's default)"`
}

const topicsTimeout = 30 * time.Second

func (a *app) topicsCommand() *cobra.Command {
	var s topicsSettings
	var flags kafkaFlags
	var wait time.Duration
	cmd := a.command("topics", &s, nil, func(cmd *cobra.Command, _ []string) error {
		if s.Partitions < 1 {
			return usagef("KAFKA_TOPIC_PARTITIONS: at least 1, not %d", s.Partitions)
		}
		if s.Replication < 1 && s.Replication != -1 {
			return usagef("KAFKA_TOPIC_REPLICATION: at least 1, or -1 for the broker's default, not %d", s.Replication)
		}
		client, err := a.brokers(&flags, &s.Kafka, kgo.RetryTimeout(topicsTimeout), kgo.RequestRetries(2))
		if err != nil {
			return err
		}
		states, err := a.topics(cmd.Context(), &s, client, wait)
		if err != nil {
			return err
		}
		return a.reportTopics(states)
	})
	flags.registerOrders(cmd)
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait for the brokers to be there")
	return cmd
}

func (a *app) topics(ctx context.Context, s *topicsSettings, client *kgo.Client, wait time.Duration) (states []kafkaconn.TopicState, err error) {
	err = a.waiting(ctx, wait, isBrokerAway, func() error {
		attempt, cancel := context.WithTimeout(ctx, topicsTimeout)
		defer cancel()
		states, err = franz.EnsureTopics(attempt, client, kafkaconn.OrderTopics(s.Kafka, s.Partitions, s.Replication))
		return explainKafka(&s.Kafka, err)
	})
	return states, err
}

func (a *app) reportTopics(states []kafkaconn.TopicState) error {
	var result error
	for _, s := range states {
		what := "exists"
		if s.Created {
			what = "created"
		}
		err := a.print(struct {
			Topic      string   `json:"topic"`
			Created    bool     `json:"created"`
			Partitions int      `json:"partitions"`
			Problems   []string `json:"problems,omitempty"`
		}{s.Name, s.Created, s.Partitions, s.Problems}, fmt.Sprintf("%s: %s, %s\n", s.Name, what, dlqview.Plural(s.Partitions, "partition")))
		if err != nil {
			return err
		}
		for _, problem := range s.Problems {
			a.say("orderctl topics: %s: %s", s.Name, problem)
			result = failed()
		}
	}
	return result
}

// waiting tries until it succeeds, fails for good, or limit has passed.
func (a *app) waiting(ctx context.Context, limit time.Duration, isAway func(error) bool, try func() error) error {
	told := false
	for deadline := time.Now().Add(limit); ; {
		err := try()
		if err == nil || !isAway(err) || ctx.Err() != nil || limit <= 0 {
			return err
		}
		if !time.Now().Before(deadline) {
			a.say("waited %s", limit)
			return err
		}
		if !told {
			a.say("waiting up to %s: %s", limit, text(err))
			told = true
		}
		const pause = 500 * time.Millisecond
		if stopped := retry.Sleep(ctx, min(pause, time.Until(deadline))); stopped != nil {
			return errors.Join(stopped, err)
		}
	}
}

// kafkaSettings are those of commands that need nothing but Kafka.
type kafkaSettings struct{ Kafka config.Kafka }

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
	if err := config.Check(cfg); err != nil {
		// The environment alone was right.
		asFlags := strings.NewReplacer("KAFKA_BROKERS:", "--brokers:", "KAFKA_TOPIC:", "--topic:", "KAFKA_DLQ_TOPIC:", "--dlq-topic:")
		return nil, usagef("%s", asFlags.Replace(err.Error()))
	}
	options, err := franz.Options(cfg.KafkaConn)
	return options, usage(err)
}

// brokers has connections until the command ends.
func (a *app) brokers(f *kafkaFlags, cfg *config.Kafka, further ...kgo.Opt) (*kgo.Client, error) {
	options, err := f.options(cfg)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(options, further...)...)
	if err == nil {
		a.ends = append(a.ends, client.Close)
	}
	return client, usage(err)
}

// explainKafka says what is wrong with the brokers or topics, and what to do.
func explainKafka(cfg *config.Kafka, err error) error {
	var coded *errs.Error
	if err == nil || errors.As(err, &coded) || errors.Is(err, context.Canceled) {
		return err
	}
	explain := func(format string, args ...any) error { return errs.Wrap(errs.Unavailable, err, format, args...) }
	brokers := strings.Join(kafkaconn.Brokers(cfg.KafkaConn), ", ")
	var answer *kerr.Error
	var network *net.OpError
	switch {
	case errors.Is(err, dlq.ErrChanged), errors.Is(err, dlq.ErrAmbiguous):
		return err
	case errors.Is(err, dlq.ErrTarget), errors.Is(err, erasure.ErrKey):
		return usage(err)
	case errors.Is(err, dlq.ErrNotFound):
		return errs.Wrap(errs.NotFound, err, "%v", err)
	case errors.Is(err, kafkaconn.ErrNoTopic):
		return explain("%v: start the worker, which creates the topics, or run 'orderctl topics', or name others with KAFKA_TOPIC, KAFKA_DLQ_TOPIC", err)
	case errors.Is(err, dlq.ErrInterfered):
		return explain("%v", dlq.ErrInterfered)
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return explain("%v: the user %q lacks the right: undo and purge exclude each other, and need Write and Describe on the transactional id orderhub-dlq/%s", err, cfg.SASLUsername, cfg.DLQTopic)
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return explain("%v: the user %q lacks the right: worker and replay need Read on the workers' group (KAFKA_GROUP)", err, cfg.SASLUsername)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed): // of a producer that may write nowhere
		return explain("%v: the user %q lacks the right: reading needs Describe and Read on the dead-letter topic, dealing with letters Write on it, redriving Write on the source's topic, replaying Read on that of the orders", err, cfg.SASLUsername)
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
