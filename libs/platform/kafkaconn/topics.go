package kafkaconn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// DeadLetterMaxBytes is max.message.bytes of the dead-letter topic. A letter is
// larger than its source record by its headers.
const DeadLetterMaxBytes = 8 << 20

// TopicSpec describes a topic: how to create it, and what its settings must be.
type TopicSpec struct {
	Name        string
	Partitions  int // from 1
	Replication int // -1: the broker's default
	Config      map[string]string
	// Check lists what is wrong with the settings of an existing topic, one
	// sentence each.
	Check func(settings map[string]string) []string
}

// TopicState is the outcome for one topic: it existed or was created.
type TopicState struct {
	Name       string
	Created    bool
	Partitions int
	Problems   []string // what the owner of the topic should change
}

// OrderTopics describes the topic of the orders and the dead-letter topic. The
// dead-letter topic is compacted and has no retention, so that open letters are
// kept for ever.
func OrderTopics(cfg config.Kafka, partitions, replication int) []TopicSpec {
	return []TopicSpec{
		{
			Name: cfg.Topic, Partitions: partitions, Replication: replication,
			Check: checkOrders,
		},
		{
			Name: cfg.DLQTopic, Partitions: partitions, Replication: replication,
			Config: map[string]string{
				"cleanup.policy":    "compact",
				"retention.ms":      "-1",
				"max.message.bytes": strconv.Itoa(DeadLetterMaxBytes),
			},
			Check: checkDeadLetters,
		},
	}
}

// ErrNoTopic means that a topic does not exist.
var ErrNoTopic = errors.New("the topic does not exist")

// Describe is the right to look at a topic.
const Describe = "Describe (which Read and Write include)"

// Admin is what EnsureTopics needs of a Kafka client.
type Admin interface {
	// Partitions counts a topic's partitions, or fails with ErrNoTopic.
	Partitions(ctx context.Context, topic string) (int, error)
	Settings(ctx context.Context, topic string) (map[string]string, error)
	// Create is false without an error if the topic exists by now.
	Create(ctx context.Context, spec TopicSpec) (bool, error)
}

// EnsureTopics creates the topics that are missing and checks the settings of those
// that exist. It changes no existing topic. Several processes may call it at once.
// The error names the topic.
func EnsureTopics(ctx context.Context, admin Admin, specs []TopicSpec) ([]TopicState, error) {
	states := make([]TopicState, 0, len(specs))
	for _, spec := range specs {
		state, err := ensureTopic(ctx, admin, spec)
		if err != nil {
			return states, fmt.Errorf("topic %s: %w", spec.Name, err)
		}
		states = append(states, state)
	}
	return states, nil
}

func ensureTopic(ctx context.Context, admin Admin, spec TopicSpec) (TopicState, error) {
	state := TopicState{Name: spec.Name, Partitions: spec.Partitions}
	partitions, err := admin.Partitions(ctx, spec.Name)
	if errors.Is(err, ErrNoTopic) {
		// Brokers do not list a topic that one may not see.
		if state.Created, err = admin.Create(ctx, spec); err != nil {
			return state, fmt.Errorf("does not exist, or is hidden for lack of the right %s, and cannot be created: %w", Describe, err)
		}
		if state.Created {
			return state, nil
		}
		if state.Partitions, err = admin.Partitions(ctx, spec.Name); errors.Is(err, ErrNoTopic) {
			err = Missing(errors.New("exists, but is not listed"), Describe+" on topic "+spec.Name)
		}
		return state, err
	}
	if err != nil {
		return state, err
	}
	state.Partitions = partitions
	settings, err := admin.Settings(ctx, spec.Name)
	switch {
	case err != nil:
		// A principal without DescribeConfigs can still do its work.
		state.Problems = []string{"its settings could not be read: " + err.Error()}
	case spec.Check != nil:
		state.Problems = spec.Check(settings)
	}
	return state, nil
}

func checkOrders(settings map[string]string) (problems []string) {
	if strings.Contains(settings["cleanup.policy"], "compact") {
		problems = append(problems, "cleanup.policy has compact: of two records with one key the broker may drop the first before it is read; set it to delete")
	}
	return problems
}

func checkDeadLetters(settings map[string]string) (problems []string) {
	policy := settings["cleanup.policy"]
	if policy != "compact" && (strings.Contains(policy, "compact") || settings["retention.ms"] != "-1") {
		problems = append(problems, fmt.Sprintf("cleanup.policy is %s with retention.ms %s: dead letters are forgotten when they are old; set cleanup.policy=compact, retention.ms=-1", policy, settings["retention.ms"]))
	} else if policy != "compact" {
		problems = append(problems, fmt.Sprintf("cleanup.policy is %s: purged letters stay on disk; set it to compact", policy))
	}
	if size, err := strconv.Atoi(settings["max.message.bytes"]); err == nil && size < DeadLetterMaxBytes {
		problems = append(problems, fmt.Sprintf("max.message.bytes is %d: a larger letter is cut; set it to %d", size, DeadLetterMaxBytes))
	}
	return problems
}
