package kafkaconn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// DeadLetterMaxBytes is how large a record the dead-letter topic is created to
// take: a letter is larger than its source record by its headers.
const DeadLetterMaxBytes = 8 << 20

// TopicSpec is a topic as it is created where it is missing.
type TopicSpec struct {
	Name        string
	Partitions  int // from 1
	Replication int // -1: the broker's default
	Config      map[string]string
	// Check says what is wrong with the settings of a topic that exists, a
	// sentence each.
	Check func(settings map[string]string) []string
}

// TopicState is what EnsureTopics found or did.
type TopicState struct {
	Name       string
	Created    bool
	Partitions int
	Problems   []string // what the owner of the topic should change
}

// OrderTopics are the topics of the orders and of the dead letters. The
// dead-letter topic is compacted and keeps its records without end: nothing open
// is ever forgotten.
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

// EnsureTopics creates the topics that are missing and looks at the settings of
// those that exist. It changes no existing topic. A process that creates the same
// topic at the same time does no harm. The error names the topic.
func EnsureTopics(ctx context.Context, client *kafka.Client, specs []TopicSpec) ([]TopicState, error) {
	states := make([]TopicState, 0, len(specs))
	for _, spec := range specs {
		state, err := ensureTopic(ctx, client, spec)
		if err != nil {
			return states, fmt.Errorf("topic %s: %w", spec.Name, err)
		}
		states = append(states, state)
	}
	return states, nil
}

func ensureTopic(ctx context.Context, client *kafka.Client, spec TopicSpec) (TopicState, error) {
	state := TopicState{Name: spec.Name}
	partitions, err := PartitionCount(ctx, client, spec.Name)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return createTopic(ctx, client, spec)
	}
	if err != nil {
		return state, err
	}
	state.Partitions = partitions
	settings, err := topicConfig(ctx, client, spec.Name)
	switch {
	case err != nil:
		// A principal without DescribeConfigs can still do its work.
		state.Problems = []string{"its settings could not be read: " + err.Error()}
	case spec.Check != nil:
		state.Problems = spec.Check(settings)
	}
	return state, nil
}

func createTopic(ctx context.Context, client *kafka.Client, spec TopicSpec) (TopicState, error) {
	state := TopicState{Name: spec.Name, Partitions: spec.Partitions}
	topic := kafka.TopicConfig{Topic: spec.Name, NumPartitions: spec.Partitions, ReplicationFactor: spec.Replication}
	for name, value := range spec.Config {
		topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	answer, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
	if err == nil {
		err = answer.Errors[spec.Name]
	}
	if errors.Is(err, kafka.TopicAlreadyExists) {
		state.Partitions, err = PartitionCount(ctx, client, spec.Name)
		return state, err
	}
	if err != nil {
		return state, fmt.Errorf("does not exist and cannot be created: %w", err)
	}
	state.Created = true
	return state, nil
}

// PartitionCount asks how many partitions a topic has. For a topic that does not
// exist errors.Is(err, kafka.UnknownTopicOrPartition) holds.
func PartitionCount(ctx context.Context, client *kafka.Client, topic string) (int, error) {
	answer, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, err
	}
	for _, t := range answer.Topics {
		if t.Name == topic {
			return len(t.Partitions), t.Error
		}
	}
	return 0, kafka.UnknownTopicOrPartition
}

func topicConfig(ctx context.Context, client *kafka.Client, topic string) (map[string]string, error) {
	answer, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}},
	})
	if err != nil {
		return nil, err
	}
	settings := map[string]string{}
	for _, resource := range answer.Resources {
		if resource.Error != nil {
			return nil, resource.Error
		}
		for _, entry := range resource.ConfigEntries {
			settings[entry.ConfigName] = entry.ConfigValue
		}
	}
	return settings, nil
}
