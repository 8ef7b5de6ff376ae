package e2e

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/certificates"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// site is a pipeline whose parts can fail one by one, for as long as a test wants.
type site struct {
	*pipeline
	data               string // the broker's folder
	kafka              *broker.Broker
	toWorker, toReader *proxy.Proxy // between these and the database
	client             *kgo.Client
	worker, reader     *process
	https              *process // a reader that asks for credentials
	certificate        certificates.Files
	broken             atomic.Bool // every other record is none
	paused             atomic.Bool // no records are sent
}

// newSite starts worker and readers.
func newSite(t *testing.T, patience time.Duration) *site {
	t.Helper()
	s := &site{pipeline: newPipeline(t), data: t.TempDir()}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	s.ctx = ctx
	s.kafka = broker.StartForTest(t, broker.Options{DataDir: s.data})
	s.brokers = s.kafka.Addr()
	s.env = append(s.env, "KAFKA_BROKERS="+s.brokers)
	s.toWorker, s.toReader = s.between("ingest-worker"), s.between("read-api")
	var err error
	s.client, err = kgo.NewClient(kgo.SeedBrokers(s.brokers), kgo.DefaultProduceTopic("orders"))
	require.NoError(t, err)
	s.orderctl("", "topics")
	s.worker, s.reader = s.start("ingest-worker"), s.start("read-api")

	s.certificate, err = certificates.Make(t.TempDir())
	require.NoError(t, err)
	tokens := filepath.Join(t.TempDir(), "tokens.yaml")
	s.orderctl("", "token", "new", "--name", "test", "--scopes", "orders:read", "--file", tokens)
	s.https = s.run("read-api", []string{"HTTP_AUTH=on", "HTTP_TOKENS_FILE=" + tokens,
		"HTTP_TLS_CERT_FILE=" + s.certificate.Server, "HTTP_TLS_KEY_FILE=" + s.certificate.Server})
	return s
}

// bridge starts NATS, a bridge, and what sends messages through it.
func (s *site) bridge() *process {
	s.t.Helper()
	to := natsserver.StartForTest(s.t, natsserver.Options{}).URL()
	s.env = append(s.env, "NATS_URL="+to)
	bridge := s.start("nats-bridge")
	sender := s.run("orderctl", nil, "publish", "--to", to+"/orders", "--rate", "10", "--count", "1000000")
	s.t.Cleanup(func() { sender.stop(syscall.SIGKILL) })
	return bridge
}

// between puts a proxy between a program and the database.
func (s *site) between(program string) *proxy.Proxy {
	s.t.Helper()
	address, err := url.Parse(strings.TrimPrefix(s.roles[program], "DATABASE_URL="))
	require.NoError(s.t, err)
	p, err := proxy.Start(address.Host, proxy.Postgres)
	require.NoError(s.t, err)
	s.t.Cleanup(p.Close)
	address.Host = p.Addr()
	s.roles[program] = "DATABASE_URL=" + address.String()
	return p
}

func (s *site) services() []*process { return []*process{s.worker, s.reader, s.https} }

// load sends orders and reads until the end of the test.
func (s *site) load() {
	ctx, cancel := context.WithCancel(s.ctx)
	var running sync.WaitGroup
	s.t.Cleanup(func() {
		cancel()
		s.client.Close() // a record that a stopped broker has not acknowledged is waited for otherwise
		running.Wait()
	})
	running.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			time.Sleep(20 * time.Millisecond)
			uid := fmt.Sprint("load-", n)
			value := strings.Replace(ledger.Content(uid, 0), "{", `{"note":"unknown",`, 1)
			if n%400 == 50 || s.broken.Load() && n%2 == 0 {
				value = "broken"
			}
			if s.paused.Load() {
				continue
			}
			_ = s.client.ProduceSync(ctx, &kgo.Record{Key: []byte(uid), Value: []byte(value)})
		}
	})
	running.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			switch n % 20 {
			case 0:
				s.reader.get("/api/v1/orders?limit=1")
			case 1:
				s.reader.get("/order/load-1", "Cache-Control: no-cache")
			case 2:
				s.reader.get("/api/v1/orders?limit=1", "Cache-Control: no-cache")
			default:
				s.reader.get("/order/load-1")
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}
