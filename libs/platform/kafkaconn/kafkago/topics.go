package kafkago

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
)

// EnsureTopics is kafkaconn.EnsureTopics with a client of kafka-go.
func EnsureTopics(ctx context.Context, client *kafka.Client, specs []kafkaconn.TopicSpec) ([]kafkaconn.TopicState, error) {
	return kafkaconn.EnsureTopics(ctx, admin{client}, specs)
}

// Refused names the right that is missing if the broker's authorizer refuses a request:
// operation on the topic, or Read on the group. Other errors stay as they are.
func Refused(err error, operation, topic, group string) error {
	switch {
	case errors.Is(err, kafka.TopicAuthorizationFailed):
		return kafkaconn.Missing(err, operation+" on topic "+topic)
	case errors.Is(err, kafka.GroupAuthorizationFailed):
		return kafkaconn.Missing(err, "Read on group "+group)
	default:
		return err
	}
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

// Committed returns the committed offsets of a group in a topic of so many partitions. -1
// is none. With an error it has those that could be asked.
func Committed(ctx context.Context, client *kafka.Client, group, topic string, partitions int) (map[int]int64, error) {
	ids := make([]int, partitions)
	for id := range ids {
		ids[id] = id
	}
	answer, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: ids}})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		return nil, fmt.Errorf("committed offsets of group %s: %w", group, err)
	}
	committed := map[int]int64{}
	for _, p := range answer.Topics[topic] {
		err = errors.Join(err, p.Error)
		committed[p.Partition] = p.CommittedOffset
	}
	return committed, err
}

type admin struct{ client *kafka.Client }

func (a admin) Partitions(ctx context.Context, topic string) (int, error) {
	n, err := PartitionCount(ctx, a.client, topic)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		err = kafkaconn.ErrNoTopic
	}
	return n, Refused(err, kafkaconn.Describe, topic, "")
}

func (a admin) Create(ctx context.Context, spec kafkaconn.TopicSpec) (bool, error) {
	topic := kafka.TopicConfig{Topic: spec.Name, NumPartitions: spec.Partitions, ReplicationFactor: spec.Replication}
	for name, value := range spec.Config {
		topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	answer, err := a.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
	if err == nil {
		err = answer.Errors[spec.Name]
	}
	if errors.Is(err, kafka.TopicAlreadyExists) {
		return false, nil
	}
	return err == nil, Refused(err, "Create", spec.Name, "")
}

func (a admin) Settings(ctx context.Context, topic string) (map[string]string, error) {
	answer, err := a.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}},
	})
	if err != nil {
		return nil, err
	}
	settings := map[string]string{}
	for _, resource := range answer.Resources {
		if resource.Error != nil {
			return nil, Refused(resource.Error, "DescribeConfigs", topic, "")
		}
		for _, entry := range resource.ConfigEntries {
			settings[entry.ConfigName] = entry.ConfigValue
		}
	}
	return settings, nil
}
