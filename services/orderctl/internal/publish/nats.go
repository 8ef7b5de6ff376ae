package publish

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/libs/platform/retry"
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
