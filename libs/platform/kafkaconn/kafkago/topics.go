package kafkago

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
)

// EnsureTopics creates the topics that are missing and checks the settings of those
// that exist. It changes no existing topic. Several processes may call it at once.
// The error names the topic.
func EnsureTopics(ctx context.Context, client *kafka.Client, specs []kafkaconn.TopicSpec) ([]kafkaconn.TopicState, error) {
	states := make([]kafkaconn.TopicState, 0, len(specs))
	for _, spec := range specs {
		state, err := ensureTopic(ctx, client, spec)
		if err != nil {
			return states, fmt.Errorf("topic %s: %w", spec.Name, err)
		}
		states = append(states, state)
	}
	return states, nil
}

func ensureTopic(ctx context.Context, client *kafka.Client, spec kafkaconn.TopicSpec) (kafkaconn.TopicState, error) {
	state := kafkaconn.TopicState{Name: spec.Name}
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

func createTopic(ctx context.Context, client *kafka.Client, spec kafkaconn.TopicSpec) (kafkaconn.TopicState, error) {
	state := kafkaconn.TopicState{Name: spec.Name, Partitions: spec.Partitions}
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

// PartitionCount returns the number of a topic's partitions. A topic that does not
// exist is the error kafka.UnknownTopicOrPartition.
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
