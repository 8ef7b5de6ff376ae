// Package streaming takes messages from NATS Streaming, through a durable queue
// subscription with manual acknowledgements. NATS Streaming is at its end of life:
// once nobody has a channel left to drain, this package can be deleted, with
// NATS_MODE and the STAN_ settings.
package streaming

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/stan.go"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/forward"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/outage"
)

const (
	connectTimeout = 5 * time.Second
	// A server that has not answered for pings × pingSeconds is away.
	pingSeconds, pings = 2, 3
)

// Config of a source.
type Config struct {
	natsconn.Streaming
	Subject, Durable string
	MaxMessages      int // in flight
	AckWait          time.Duration
}

// Source takes messages from a channel.
type Source struct {
	*lifecycle.Loop
	cfg     Config
	conn    *nats.Conn
	forward *forward.Forwarder
	log     *zap.Logger
}

// New returns a source that reads with conn once it is started.
func New(cfg Config, conn *nats.Conn, forwarder *forward.Forwarder, server *outage.Outage, log *zap.Logger) *Source {
	s := &Source{cfg: cfg, conn: conn, forward: forwarder, log: log}
	s.Loop = lifecycle.NewLoop("NATS Streaming", func(ctx context.Context) error { return server.Retry(ctx, s.session) }, nil)
	return s
}

// session is subscribed until the connection is lost, or ctx ends. The server
// delivers what was not acknowledged before anything new, when a durable
// subscription is resumed.
func (s *Source) session(ctx context.Context, works func()) error {
	if err := natsconn.Connected(s.conn); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := stan.Connect(s.cfg.ClusterID, s.cfg.ClientID, stan.NatsConn(s.conn), stan.ConnectWait(connectTimeout),
		stan.Pings(pingSeconds, pings), stan.SetConnectionLostHandler(func(_ stan.Conn, err error) {
			cancel(fmt.Errorf("connection lost: %w", err))
		}))
	if err != nil {
		return fmt.Errorf("cluster %s: %w", s.cfg.ClusterID, err)
	}
	// To close a subscription keeps the durable name, to unsubscribe would drop it.
	defer func() { _ = conn.Close() }()
	_, err = conn.QueueSubscribe(s.cfg.Subject, s.cfg.Durable, func(m *stan.Msg) { s.accept(ctx, m) },
		stan.DurableName(s.cfg.Durable), stan.DeliverAllAvailable(), stan.SetManualAckMode(),
		stan.MaxInflight(s.cfg.MaxMessages), stan.AckWait(s.cfg.AckWait))
	if err != nil {
		return fmt.Errorf("channel %s: %w", s.cfg.Subject, err)
	}
	s.log.Info("subscribed", zap.String("channel", s.cfg.Subject), zap.String("durable", s.cfg.Durable))
	works()
	<-ctx.Done()
	return context.Cause(ctx)
}

// accept hands a delivery on. While it waits for room nothing else is delivered.
func (s *Source) accept(ctx context.Context, m *stan.Msg) {
	_ = s.forward.Take(ctx, forward.Message{ // it fails when the session is over
		Stream: s.cfg.Subject, Subject: m.Subject, Sequence: m.Sequence, Time: time.Unix(0, m.Timestamp),
		Data: m.Data, Delivery: delivery{m},
	})
}

// delivery can only be acknowledged: what is not is delivered again after the
// AckWait, and recognized.
type delivery struct{ *stan.Msg }

func (delivery) InProgress() error { return nil }
func (delivery) Nak() error        { return nil }
