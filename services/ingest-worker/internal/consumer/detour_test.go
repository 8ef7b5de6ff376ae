package consumer

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
)

// listen takes connections and answers nothing.
func listen(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// A broker that takes connections and lets requests time out is not asked again
// for a while; the others are.
func TestSilentBrokersAreAvoided(t *testing.T) {
	silent, other := listen(t), listen(t)
	dialer := withDetour(&kafka.Dialer{Timeout: time.Minute}, []string{silent, other})
	conn, err := dialer.Dial("tcp", silent)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Millisecond)))
	_, err = conn.Brokers()
	require.Error(t, err)
	_ = conn.Close() // it is broken

	_, err = dialer.DialContext(context.Background(), "tcp", silent)
	require.ErrorContains(t, err, "did not answer")
	conn, err = dialer.Dial("tcp", other)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

// A single broker is asked for ever: there is no other.
func TestASingleBrokerIsNotAvoided(t *testing.T) {
	dialer := &kafka.Dialer{}
	require.Same(t, dialer, withDetour(dialer, []string{"only:9092"}))
}
