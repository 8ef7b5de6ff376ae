package consumer

import (
	"context"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
)

// blocked counts what a consumer reports to the log and to readiness.
type blocked struct{ reasons []error }

func (b *blocked) BlockGroup(why error) { b.reasons = append(b.reasons, why) }
func (b *blocked) ClearGroup()          {}

// A worker that stops does not say that it waits for its topics.
func TestAStoppedConsumerWaitsForNothing(t *testing.T) {
	var reported blocked
	stopped, stop := context.WithCancel(t.Context())
	stop()
	c := New(Config{Topics: []kafkaconn.TopicSpec{{Name: "orders"}}}, Deps{
		Client: &kafka.Client{Addr: kafka.TCP("127.0.0.1:1")}, Membership: &reported,
		Component: health.NewRegistry().Component("group"), Log: zap.NewNop(),
		Prepare: func(context.Context) error { return nil },
	})
	require.ErrorIs(t, c.run(stopped), context.Canceled)
	require.Empty(t, reported.reasons)
}
