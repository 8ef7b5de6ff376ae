package kafkatest

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
)

// testOutcomes publishes records of every kind with orderctl, through topics
// that the worker has made, to a reader.
func testOutcomes(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, 0)
	w := s.worker()
	s.reader()
	replicas := min(3, len(cluster.Brokers))
	details, err := s.progress.Admin().ListTopics(bounded(t), s.world.Topic, s.world.DLQ)
	require.NoError(t, err)
	for _, topic := range details.Sorted() {
		require.Len(t, topic.Partitions, 4, topic.Topic)
		for _, partition := range topic.Partitions.Sorted() {
			require.Len(t, partition.Replicas, replicas, topic.Topic)
		}
	}
	configs, err := s.progress.Admin().DescribeTopicConfigs(bounded(t), s.world.DLQ)
	require.NoError(t, err)
	require.Equal(t, "compact", setting(t, configs, "cleanup.policy"))
	require.Equal(t, "-1", setting(t, configs, "retention.ms"))
	require.Equal(t, strconv.Itoa(8<<20), setting(t, configs, "max.message.bytes"))

	type published struct {
		UID  string `json:"order_uid"`
		Kind string `json:"kind"`
	}
	kinds := map[string]int{}
	for _, p := range each[published](t, s.orderctl("publish", "--output", "json", "--count", "800", "--seed", "7",
		"--invalid", "0.1", "--duplicates", "0.1", "--conflicts", "0.1")) {
		kinds[p.Kind]++
	}
	require.NoError(t, s.progress.Drain(bounded(t)))
	expected := s.exact()
	require.Len(t, expected.Orders, kinds["order"])
	require.Equal(t, 80, expected.Broken)
	require.Equal(t, 80, expected.Conflicts)
	require.Equal(t, 80, expected.Duplicates)
	require.EqualValues(t, 800, w.metric("orderhub_ingest_records_total"))
	require.EqualValues(t, 160, w.metric("orderhub_dead_letters_total"))
	stats := each[struct {
		Open int `json:"open"`
	}](t, s.orderctl("dlq", "stats", "--output", "json"))
	require.Equal(t, 160, stats[0].Open)
}

func setting(t *testing.T, configs kadm.ResourceConfigs, name string) string {
	t.Helper()
	for _, config := range configs[0].Configs {
		if config.Key == name {
			return config.MaybeValue()
		}
	}
	t.Fatalf("no setting %s", name)
	return ""
}
