package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
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
	var flags kafkaFlags
	var partitions, replication int
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "topics",
		Short: "Create the topics of orders and dead letters where they are missing",
		Long: `Create the topics of orders and dead letters where they are missing, as the worker
would, and check the settings of those that exist. No existing topic is changed.

Exit code 1: a topic could not be created, or one has settings that lose data.`,
		Example: `  orderctl topics
  orderctl topics --partitions 12 --replication 3 --wait 1m`,
		Args: noArgs(""),
		RunE: a.work(func(cmd *cobra.Command, _ []string) error {
			var s topicsSettings
			if err := load(&s); err != nil {
				return err
			}
			if !cmd.Flags().Changed("partitions") {
				partitions = s.Partitions
			}
			if !cmd.Flags().Changed("replication") {
				replication = s.Replication
			}
			if partitions < 1 {
				return usagef("--partitions (KAFKA_TOPIC_PARTITIONS): at least 1, not %d", partitions)
			}
			if replication < 1 && replication != -1 {
				return usagef("--replication (KAFKA_TOPIC_REPLICATION): at least 1, or -1 for the broker's default, not %d", replication)
			}
			return a.topics(cmd.Context(), &flags, partitions, replication, wait)
		}),
	}
	flags.register(cmd)
	cmd.Flags().IntVar(&partitions, "partitions", 0, "partitions of a topic that is created (default: KAFKA_TOPIC_PARTITIONS)")
	cmd.Flags().IntVar(&replication, "replication", 0, "replicas of a topic that is created (default: KAFKA_TOPIC_REPLICATION)")
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait for the brokers to be there")
	a.settings[cmd] = &topicsSettings{}
	return cmd
}

func (a *app) topics(ctx context.Context, flags *kafkaFlags, partitions, replication int, wait time.Duration) error {
	cfg, err := flags.settings()
	if err != nil {
		return err
	}
	var states []kafkaconn.TopicState
	err = a.waiting(ctx, wait, isBrokerAway, func() error {
		// A client remembers for seconds that nobody was there.
		client, disconnect, err := a.connect(cfg)
		if err != nil {
			return err
		}
		defer disconnect()
		attempt, cancel := context.WithTimeout(ctx, topicsTimeout)
		defer cancel()
		states, err = kafkago.EnsureTopics(attempt, client, kafkaconn.OrderTopics(cfg, partitions, replication))
		if err != nil {
			return explainKafka(cfg, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.reportTopics(states)
}

func (a *app) reportTopics(states []kafkaconn.TopicState) error {
	var result error
	for _, s := range states {
		var err error
		if a.output == outputJSON {
			err = writeJSON(a.stdout, struct {
				Topic      string   `json:"topic"`
				Created    bool     `json:"created"`
				Partitions int      `json:"partitions"`
				Problems   []string `json:"problems,omitempty"`
			}{s.Name, s.Created, s.Partitions, s.Problems})
		} else {
			what := "exists"
			if s.Created {
				what = "created"
			}
			_, err = fmt.Fprintf(a.stdout, "%s: %s, %s\n", s.Name, what, plural(s.Partitions, "partition"))
		}
		if err != nil {
			return err
		}
		for _, problem := range s.Problems {
			a.say("orderctl topics: %s: %s", s.Name, problem)
			result = silent(exitFailed)
		}
	}
	return result
}

// waiting tries until it succeeds, fails for good, or limit has passed.
func (a *app) waiting(ctx context.Context, limit time.Duration, isAway func(error) bool, try func() error) error {
	told := false
	for deadline := time.Now().Add(limit); ; {
		err := try()
		if err == nil || !isAway(err) || ctx.Err() != nil {
			return err
		}
		if !time.Now().Before(deadline) {
			if limit > 0 {
				err = fmt.Errorf("waited %s: %w", limit, err)
			}
			return err
		}
		if !told {
			a.say("waiting up to %s: %v", limit, err)
			told = true
		}
		const pause = 500 * time.Millisecond
		select {
		case <-time.After(min(pause, time.Until(deadline))):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}
