package franz

import (
	"cmp"
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
)

// EnsureTopics is kafkaconn.EnsureTopics with a client of franz-go.
func EnsureTopics(ctx context.Context, client *kgo.Client, specs []kafkaconn.TopicSpec) ([]kafkaconn.TopicState, error) {
	return kafkaconn.EnsureTopics(ctx, admin{kadm.NewClient(client)}, specs)
}

// Refused names the right that is missing if the broker's authorizer refuses a request on
// a topic. Other errors stay as they are. The cluster's refusal is that of an idempotent
// producer that may write to no topic.
func Refused(err error, operation, topic string) error {
	if errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) {
		return kafkaconn.Missing(err, operation+" on topic "+topic)
	}
	return err
}

// PartitionCount returns the number of a topic's partitions, or
// kafkaconn.ErrNoTopic.
func PartitionCount(ctx context.Context, client *kgo.Client, topic string) (int, error) {
	return admin{kadm.NewClient(client)}.Partitions(ctx, topic)
}

// Settings returns a topic's settings. The error names the right that is missing.
func Settings(ctx context.Context, client *kgo.Client, topic string) (map[string]string, error) {
	return admin{kadm.NewClient(client)}.Settings(ctx, topic)
}

type admin struct{ client *kadm.Client }

func (a admin) Partitions(ctx context.Context, topic string) (int, error) {
	metadata, err := a.client.Metadata(ctx, topic)
	err = cmp.Or(err, metadata.Topics[topic].Err)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		err = kafkaconn.ErrNoTopic
	}
	return len(metadata.Topics[topic].Partitions), Refused(err, kafkaconn.Describe, topic)
}

func (a admin) Create(ctx context.Context, spec kafkaconn.TopicSpec) (bool, error) {
	settings := map[string]*string{}
	for name, value := range spec.Config {
		settings[name] = &value
	}
	_, err := a.client.CreateTopic(ctx, int32(spec.Partitions), int16(spec.Replication), settings, spec.Name)
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return false, nil
	}
	return err == nil, Refused(err, "Create", spec.Name)
}

func (a admin) Settings(ctx context.Context, topic string) (map[string]string, error) {
	resources, err := a.client.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	settings := map[string]string{}
	for _, resource := range resources {
		if resource.Err != nil {
			return nil, Refused(resource.Err, "DescribeConfigs", topic)
		}
		for _, entry := range resource.Configs {
			settings[entry.Key] = entry.MaybeValue()
		}
	}
	return settings, nil
}
