package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/poll"
)

// handMade begins the uids of orders that are written by hand.
const handMade = "hand-"

// hand writes, changes and deletes orders in the tables as people do with psql,
// so that readers have changes and deletions to follow.
type hand struct {
	url  string
	made int
}

// handPause is between two changes.
const handPause = 50 * time.Millisecond

// run changes orders until ctx ends. Errors while the database is away are
// ignored: in the end the tables say what was done.
func (h *hand) run(ctx context.Context, random *rand.Rand) {
	for retry.Sleep(ctx, handPause) == nil {
		_ = h.change(ctx, random)
	}
}

func (h *hand) change(ctx context.Context, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// A connection of its own: one that is kept breaks when the server is killed.
	conn, err := pgx.Connect(ctx, h.url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	uid := fmt.Sprint(handMade, random.IntN(h.made+1))
	switch random.IntN(3) {
	case 0:
		order := ledger.NewOrder(fmt.Sprint(handMade, h.made), 1)
		h.made++
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return ledger.Insert(ctx, tx, order) })
	case 1:
		_, err = conn.Exec(ctx, `UPDATE deliveries SET city = $2 WHERE order_uid = $1`, uid, fmt.Sprint("City ", random.IntN(1000)))
	default:
		_, err = conn.Exec(ctx, `DELETE FROM orders WHERE order_uid = $1`, uid)
	}
	return err
}

const bridgeName = "nats-bridge"

// natsPart is what --nats adds: orders that come through NATS and the bridge. The
// server is in this process, so that it can be restarted, but not killed.
type natsPart struct {
	options natsserver.Options
	server  *natsserver.Server
	conn    *nats.Conn
	js      jetstream.JetStream
	bridge  *service
	sent    int // orders that the stream has acknowledged: natsUID(0) and so on
}

func natsUID(n int) string { return fmt.Sprint("nats-", n) }

var natsKinds = []kind{
	{"SIGKILL of the bridge", 12, natsBridge, func(ctx context.Context, s *site, _ *rand.Rand) error { return restart(ctx, s.nats.bridge, true) }},
	{"SIGTERM of the bridge", 4, natsBridge, func(ctx context.Context, s *site, _ *rand.Rand) error { return restart(ctx, s.nats.bridge, false) }},
	{"SIGSTOP of the bridge", 4, natsBridge, func(ctx context.Context, s *site, r *rand.Rand) error {
		return freeze(ctx, upTo(r, 4*time.Second), s.nats.bridge)
	}},
	{"restart of NATS", 6, natsBridge, func(ctx context.Context, s *site, r *rand.Rand) error {
		return outage(ctx, upTo(r, 3*time.Second), func() error { s.nats.server.Stop(); return nil }, s.nats.start)
	}},
}

func (s *site) startNATS(ctx context.Context) {
	s.nats = &natsPart{options: natsserver.Options{DataDir: filepath.Join(s.logs, "nats"), Port: must.Get(ports.Free())}}
	s.nats.bridge = newService(s, bridgeName, 0, "")
	must.Succeed(s.nats.start(ctx))
	s.onStop(func(context.Context) { s.nats.server.Stop() })
	s.nats.conn = must.Get(nats.Connect(s.nats.server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond)))
	s.onStop(func(context.Context) { s.nats.conn.Close() })
	s.nats.js = must.Get(jetstream.New(s.nats.conn))
}

func (p *natsPart) start(context.Context) error {
	server, err := natsserver.Start(p.options)
	if err == nil {
		p.server = server
	}
	return err
}

// publish publishes orders until ctx ends, each until the stream has it.
func (p *natsPart) publish(ctx context.Context) {
	for retry.Sleep(ctx, 5*time.Millisecond) == nil {
		uid := natsUID(p.sent)
		if _, err := p.js.Publish(ctx, topic, []byte(ledger.Content(uid, 0)), jetstream.WithMsgID(uid)); err == nil {
			p.sent++
		}
	}
}

// drain returns once the bridge has forwarded all messages, and stops it.
func (p *natsPart) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	must.Succeed(poll.Until(ctx, watchPolling, func() error {
		stream, err := p.js.Stream(ctx, "ORDERS")
		if err == nil && stream.CachedInfo().State.Msgs > 0 {
			err = fmt.Errorf("the bridge does not forward everything within %s", patience)
		}
		return err
	}))
	must.Succeed(p.bridge.terminate(ctx))
}

// missing are the orders that did not come through.
func (p *natsPart) missing(expected *ledger.Expected) (uids []string) {
	for n := range p.sent {
		if _, there := expected.Orders[natsUID(n)]; !there {
			uids = append(uids, natsUID(n))
		}
	}
	return uids
}
