package publish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/stan.go"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// NATS says which subject of which server is published to.
type NATS struct {
	URL     string
	Login   natsconn.Login
	Subject string
	// GiveUpAfter is how long a record is tried while the server is away.
	GiveUpAfter time.Duration
}

const (
	// ackTimeout is how long an acknowledgement is waited for before a record is
	// sent again.
	ackTimeout   = 5 * time.Second
	longestPause = time.Second
)

// natsBroker is a subject of NATS.
type natsBroker struct {
	NATS
	conn  *nats.Conn
	start start
	close func()

	trouble atomic.Pointer[error]
	denied  context.Context // ends with the server's answer that the user lacks the right
}

// start sends a record and returns how to wait for what becomes of it. It must not
// block.
type start func(Record) (wait func(context.Context) Result)

// connect connects to the server. The connection is made again when it is lost.
func (n NATS) connect() (*natsBroker, error) {
	b := &natsBroker{NATS: n}
	var deny context.CancelCauseFunc
	b.denied, deny = context.WithCancelCause(context.Background())
	note := func(err error) {
		if err != nil {
			b.trouble.Store(&err)
		}
		if errors.Is(err, nats.ErrPermissionViolation) {
			deny(err)
		}
	}
	var err error
	b.conn, err = natsconn.Connect(natsconn.Settings{URL: config.Secret(n.URL), Login: n.Login}, "orderctl",
		nats.RetryOnFailedConnect(false),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { note(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { note(err) }))
	b.close = func() {}
	return b, err
}

func (b *natsBroker) Close() {
	b.close()
	b.conn.Close()
}

func (b *natsBroker) Trouble() error {
	if err := natsconn.Connected(b.conn); err != nil {
		return err
	}
	if err := b.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *natsBroker) Send(ctx context.Context, batch []Record) []Result {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(b.denied, func() { cancel(context.Cause(b.denied)) })()
	results, pending := make([]Result, len(batch)), make([]int, len(batch))
	for i := range pending {
		pending[i] = i
	}
	backoff, began := retry.NewBackoff(longestPause), time.Now()
	for {
		waits := make([]func(context.Context) Result, len(pending))
		for at, i := range pending {
			waits[at] = b.start(batch[i])
		}
		again := pending[:0]
		for at, i := range pending {
			if results[i] = waits[at](ctx); mayPass(results[i].Err) {
				again = append(again, i)
			}
		}
		pending = again
		if len(pending) == 0 || time.Since(began) > b.GiveUpAfter || backoff.Wait(ctx) != nil {
			return results
		}
	}
}

// mayPass is true where the connection was lost, or the server did not answer.
func mayPass(err error) bool {
	for _, passing := range passing {
		if errors.Is(err, passing) {
			return true
		}
	}
	return errors.As(err, new(*net.OpError))
}

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
		m := &nats.Msg{Subject: n.Subject, Data: r.Value, Header: nats.Header{}}
		if r.ID != "" {
			m.Header[nats.MsgIdHdr] = []string{r.ID}
		}
		if r.Traceparent != nil {
			m.Header[tracing.Header] = []string{string(r.Traceparent)}
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
