package pipeline

import (
	"fmt"
	"io"
	"testing"

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
