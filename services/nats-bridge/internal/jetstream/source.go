// Package jetstream takes messages from a JetStream stream, through a durable pull
// consumer, and hands them on in the stream's order.
//
// A server delivers newer messages before it delivers again those that a killed
// process or a broken connection has lost. So the source reads such messages from
// the stream itself before it goes on: those that were delivered to nobody who
// still knows them, which the consumer's state tells at the start, and those whose
// delivery was lost, which shows as a gap in the deliveries' numbers.
package jetstream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/forward"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/outage"
)

const (
	// maxFetch bounds one request for messages.
	maxFetch = 2048
	// fetchWait is how long a request waits for messages.
	fetchWait = 10 * time.Second
	heartbeat = 2 * time.Second
	// checkInterval is how often the stream and the consumer are looked at.
	checkInterval = 5 * time.Second
	apiTimeout    = 5 * time.Second
)

// Config of a source.
type Config struct {
	Stream, Subject, Durable string
	MaxMessages              int // in flight
	AckWait                  time.Duration
}

// Source takes messages from a stream.
type Source struct {
	*lifecycle.Loop
	cfg     Config
	conn    *nats.Conn
	js      jetstream.JetStream
	forward *forward.Forwarder
	metrics *Metrics
	log     *zap.Logger

	// accepted is the highest sequence that was handed on. The loop writes it.
	accepted atomic.Uint64
	// delivery is the number of the consumer's last delivery.
	delivery uint64
	created  time.Time // the stream, to recognize one that was made anew

	problems string // of the stream, as last logged

	// complete is set where the stream has no other subjects, so that a missing
	// sequence is a message that was dropped.
	complete atomic.Bool
	counting sync.Mutex
	counted  uint64 // all that was lost before this sequence is counted
}

// New returns a source that reads with conn once it is started.
func New(cfg Config, conn *nats.Conn, forwarder *forward.Forwarder, server *outage.Outage, metrics *Metrics, log *zap.Logger) (*Source, error) {
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(apiTimeout))
	if err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, conn: conn, js: js, forward: forwarder, metrics: metrics, log: log}
	s.Loop = lifecycle.NewLoop("JetStream", func(ctx context.Context) error { return server.Retry(ctx, s.session) }, nil)
	return s, nil
}

// session reads until something is wrong, which it returns. It calls works when it
// starts to read.
func (s *Source) session(ctx context.Context, works func()) error {
	if err := natsconn.Connected(s.conn); err != nil {
		return err
	}
	consumer, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	works()
	ctx, cancel := context.WithCancelCause(ctx)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		cancel(s.watch(ctx, consumer))
	}()
	err = s.read(ctx, consumer)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(err)
	<-watching
	return err
}

// watch looks at the connection, the stream and the consumer until something is
// wrong with them, or ctx ends.
func (s *Source) watch(ctx context.Context, consumer jetstream.Consumer) error {
	status := s.conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer s.conn.RemoveStatusListener(status)
	for {
		if err := s.check(ctx, consumer); err != nil {
			return err
		}
		select {
		case <-status:
			return natsconn.Disconnected(s.conn)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(checkInterval):
		}
	}
}

// read fetches messages as far as there is room for them.
func (s *Source) read(ctx context.Context, consumer jetstream.Consumer) error {
	largest := int(s.conn.MaxPayload()) + 64<<10
	for {
		messages, bytes, err := s.forward.Room(ctx, largest)
		if err != nil {
			return err
		}
		fetch, cancel := context.WithTimeout(ctx, fetchWait)
		batch, err := consumer.Fetch(min(messages, maxFetch),
			jetstream.FetchMaxBytes(bytes), jetstream.FetchContext(fetch), jetstream.FetchHeartbeat(heartbeat))
		if err == nil {
			for m := range batch.Messages() {
				if err = s.accept(ctx, m); err != nil {
					break
				}
			}
			if err == nil {
				err = batch.Error()
			}
		}
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
			return err
		}
	}
}

// accept hands a delivery on, after those that were lost before it.
func (s *Source) accept(ctx context.Context, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	if meta.Sequence.Consumer != s.delivery+1 {
		s.log.Info("deliveries were lost; reading them from the stream",
			zap.Uint64("expected", s.delivery+1), zap.Uint64("delivery", meta.Sequence.Consumer))
		if err := s.readAgain(ctx, s.accepted.Load()+1, meta.Sequence.Stream-1); err != nil {
			return err
		}
	}
	s.delivery = meta.Sequence.Consumer
	s.countLost(meta.Sequence.Stream)
	s.forward.Accept(forward.Message{
		Stream: s.cfg.Stream, Subject: m.Subject(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp,
		Header: m.Headers(), Data: m.Data(), Delivery: m,
	})
	s.acceptedUpTo(meta.Sequence.Stream)
	return nil
}

func (s *Source) acceptedUpTo(sequence uint64) { s.accepted.Store(max(s.accepted.Load(), sequence)) }

// readAgain hands on the messages with the sequences from first to last. Their
// deliveries come later.
func (s *Source) readAgain(ctx context.Context, first, last uint64) error {
	for sequence := first; sequence <= last; {
		m, err := s.stored(ctx, sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Sequence > last {
			return nil
		}
		if err == nil {
			err = s.forward.Take(ctx, m)
		}
		if err != nil {
			return err
		}
		s.acceptedUpTo(m.Sequence)
		s.metrics.readAgain.Inc()
		sequence = m.Sequence + 1
	}
	return nil
}
