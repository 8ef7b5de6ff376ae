package publish

import (
	"context"
	"fmt"

	"github.com/nats-io/stan.go"

	"github.com/orderhub/orderhub/libs/platform/natsconn"
)

// Streaming connects to a cluster of NATS Streaming, whose channel is the subject.
// It takes no IDs. stan.ErrConnectReqTimeout says that no such cluster answers.
func Streaming(n NATS, who natsconn.Streaming) (Broker, error) {
	b, err := n.connect()
	if err != nil {
		return nil, err
	}
	lost, lose := context.WithCancelCause(context.Background())
	conn, err := stan.Connect(who.ClusterID, who.ClientID, stan.NatsConn(b.conn), stan.PubAckWait(ackTimeout),
		stan.SetConnectionLostHandler(func(_ stan.Conn, err error) { lose(fmt.Errorf("connection lost: %w", err)) }))
	if err != nil {
		b.Close()
		return nil, err
	}
	b.close = func() { _ = conn.Close() } // all that matters is acknowledged
	b.start = func(r Record) func(context.Context) Result {
		acked := make(chan error, 1)
		_, err := conn.PublishAsync(n.Subject, r.Value, func(_ string, err error) { acked <- err })
		if err != nil {
			acked <- err
		}
		return func(ctx context.Context) Result {
			select {
			case err := <-acked:
				if lost.Err() != nil {
					err = context.Cause(lost)
				}
				return refusal(err)
			case <-ctx.Done():
				return Result{Err: context.Cause(ctx)}
			}
		}
	}
	return b, nil
}
