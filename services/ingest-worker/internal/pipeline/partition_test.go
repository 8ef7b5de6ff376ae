package pipeline

import (
	"fmt"
	"io"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
)

func TestErrorsOfAGenerationThatEnded(t *testing.T) {
	for _, err := range []error{kafka.IllegalGeneration, kafka.UnknownMemberId, kafka.RebalanceInProgress, kafka.NotCoordinatorForGroup} {
		require.True(t, generationEnded(fmt.Errorf("commit: %w", err)), err)
	}
	for _, err := range []error{nil, io.EOF, kafka.GroupLoadInProgress, kafka.RequestTimedOut} {
		require.False(t, generationEnded(err), err)
	}
}

// increase() sees nothing of a series that is created by its first event.
func TestFlushesAreCountedByTriggerFromTheStart(t *testing.T) {
	metrics := NewMetrics(prometheus.NewRegistry())
	require.Equal(t, 5, testutil.CollectAndCount(metrics.flushes))
	metrics.flushes.WithLabelValues(string(memory)).Inc()
	require.Equal(t, 5, testutil.CollectAndCount(metrics.flushes))
}
