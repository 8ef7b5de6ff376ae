package publish

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/stan.go"
)

// passing are the errors after which a record is sent again.
var passing = []error{
	nats.ErrDisconnected, nats.ErrReconnectBufExceeded, jetstream.ErrAsyncPublishTimeout, jetstream.ErrTooManyStalledMsgs, stan.ErrTimeout,
}

// messageTooLarge is JetStream's answer to a message above the stream's
// max_msg_size.
const messageTooLarge jetstream.ErrorCode = 10054

// JetStream connects to a server whose stream stores what is published to the
// subject. A record's ID becomes Nats-Msg-Id. jetstream.ErrNoStreamResponse says
// that no stream takes the subject.
func JetStream(n NATS) (Broker, error) {
	b, err := n.connect()
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(b.conn, jetstream.WithPublishAsyncMaxPending(2*maxBatchRecords), jetstream.WithPublishAsyncTimeout(ackTimeout))
	if err != nil {
		b.Close()
		return nil, err
	}
	// Not js.CleanupPublisher: a goroutine of js that it overtakes waits without end.
	// All of them end with the connection.
	b.start = func(r Record) func(context.Context) Result {
		m := &nats.Msg{Subject: n.Subject, Data: r.Value}
		if r.ID != "" {
			m.Header = nats.Header{nats.MsgIdHdr: {r.ID}}
		}
		future, err := js.PublishMsgAsync(m)
		return func(ctx context.Context) Result {
			if err != nil {
				return refusal(err)
			}
			select {
			case ack := <-future.Ok():
				return Result{Place: Place{StreamPlace: &StreamPlace{ack.Stream, ack.Sequence, ack.Duplicate}}}
			case err := <-future.Err():
				return refusal(err)
			case <-ctx.Done():
				return Result{Err: context.Cause(ctx)}
			}
		}
	}
	return b, nil
}

func refusal(err error) Result {
	var answer *jetstream.APIError
	return Result{Err: err, Refused: errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &answer) && answer.ErrorCode == messageTooLarge}
}
