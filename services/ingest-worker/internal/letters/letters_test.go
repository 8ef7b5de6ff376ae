package letters

import (
	"fmt"
	"io"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
)

func TestErrorsOfAMessageThatIsTooLarge(t *testing.T) {
	for _, err := range []error{kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, fmt.Errorf("produce: %w", kafka.MessageSizeTooLarge)} {
		require.True(t, messageTooLarge(err), err)
	}
	for _, err := range []error{nil, io.EOF, kafka.NotEnoughReplicas} {
		require.False(t, messageTooLarge(err), err)
	}
}
