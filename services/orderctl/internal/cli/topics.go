package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

// topicsSettings are those of the worker, which creates topics too.
type topicsSettings struct {
	Kafka       config.Kafka
	Partitions  int `env:"KAFKA_TOPIC_PARTITIONS" envDefault:"4" help:"partitions of a topic that is created"`
	Replication int `env:"KAFKA_TOPIC_REPLICATION" envDefault:"-1" help:"replicas of a topic that is created (-1: the broker's default)"`
}

// topicsTimeout bounds one attempt at the topics.
const topicsTimeout = 30 * time.Second

func (a *app) topicsCommand() *cobra.Command {
	var s topicsSettings
	var flags kafkaFlags
	var partitions, replication int
	var wait time.Duration
	cmd := a.command(&cobra.Command{
		Use:   "topics",
		Short: "Create the topics of orders and dead letters where they are missing",
		Long: `Create the topics of orders and dead letters where they are missing, as the worker
would, and check the settings of those that exist. No existing topic is changed.

Exit code 1: a topic could not be created, or one has settings that lose data.`,
		Example: `  orderctl topics
  orderctl topics --partitions 12 --replication 3 --wait 1m`,
		Args: noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("partitions") {
				s.Partitions = partitions
			}
			if cmd.Flags().Changed("replication") {
				s.Replication = replication
			}
			if s.Partitions < 1 {
				return usagef("--partitions (KAFKA_TOPIC_PARTITIONS): at least 1, not %d", s.Partitions)
			}
			if s.Replication < 1 && s.Replication != -1 {
				return usagef("--replication (KAFKA_TOPIC_REPLICATION): at least 1, or -1 for the broker's default, not %d", s.Replication)
			}
			options, err := flags.options(&s.Kafka)
			if err != nil {
				return err
			}
			states, err := a.topics(cmd.Context(), &s, options, wait)
			if err != nil {
				return err
			}
			return a.reportTopics(states)
		},
	}, &s)
	flags.registerOrders(cmd)
	cmd.Flags().IntVar(&partitions, "partitions", 0, "partitions of a topic that is created (default: KAFKA_TOPIC_PARTITIONS)")
	cmd.Flags().IntVar(&replication, "replication", 0, "replicas of a topic that is created (default: KAFKA_TOPIC_REPLICATION)")
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait for the brokers to be there")
	return cmd
}

func (a *app) topics(ctx context.Context, s *topicsSettings, options []kgo.Opt, wait time.Duration) (states []kafkaconn.TopicState, err error) {
	client, err := kgo.NewClient(append(options, kgo.RetryTimeout(topicsTimeout), kgo.RequestRetries(2))...)
	if err != nil {
		return nil, usage(err)
	}
	defer client.Close()
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
		}{s.Name, s.Created, s.Partitions, s.Problems}, fmt.Sprintf("%s: %s, %s\n", s.Name, what, plural(s.Partitions, "partition")))
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
