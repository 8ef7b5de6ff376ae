package cli

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/errs"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
)

func TestTopicsReport(t *testing.T) {
	states := []kafkaconn.TopicState{{Name: "orders", Created: true, Partitions: 4}, {Name: "orders.dlq", Partitions: 1}}
	for format, want := range map[outputFormat]string{
		outputText: "orders: created, 4 partitions\norders.dlq: exists, 1 partition\n",
		outputJSON: `{"topic":"orders","created":true,"partitions":4}` + "\n" + `{"topic":"orders.dlq","created":false,"partitions":1}` + "\n",
	} {
		var stdout, stderr bytes.Buffer
		a := newApp(nil, &stdout, &stderr)
		a.output = format
		require.NoError(t, a.reportTopics(states))
		require.Equal(t, want, stdout.String())
		require.Empty(t, stderr.String())
	}
}

func TestTopicsWithWrongSettingsFail(t *testing.T) {
	var stdout, stderr bytes.Buffer
	a := newApp(nil, &stdout, &stderr)
	err := a.reportTopics([]kafkaconn.TopicState{{Name: "orders.dlq", Partitions: 4, Problems: []string{"cleanup.policy is delete"}}})
	require.Equal(t, failed(), err)
	require.Equal(t, "orderctl topics: orders.dlq: cleanup.policy is delete\n", stderr.String())
}

func TestTopicsTakesTheWorkersSettings(t *testing.T) {
	isolate(t)
	for _, variable := range []string{"KAFKA_TOPIC_PARTITIONS", "KAFKA_TOPIC_REPLICATION"} {
		t.Setenv(variable, "0")
		var stdout, stderr bytes.Buffer
		require.Equal(t, errs.ExitUsage, newApp(nil, &stdout, &stderr).run(t.Context(), []string{"topics"}))
		require.Contains(t, stderr.String(), variable+": at least 1")
		t.Setenv(variable, "2")
	}
}
