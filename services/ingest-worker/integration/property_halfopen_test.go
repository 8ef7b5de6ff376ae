package integration

import (
	"bytes"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/proxy"
)

// A writer whose machine vanishes leaves its transaction open on the server, and
// the order_uids in it locked, for as long as TCP takes to notice: hours. Nobody
// waits so long, neither the same worker over a new connection nor another one.
func TestATransactionThatALostConnectionLeftBehindHoldsNobodyUp(t *testing.T) {
	for name, request := range map[string]func([]byte) bool{"before its COMMIT": proxy.PostgresCommit, "within COPY": proxy.PostgresData} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, 1)
			direct, err := url.Parse(b.url)
			require.NoError(t, err)
			p, err := proxy.Start(direct.Host, proxy.Postgres)
			require.NoError(t, err)
			t.Cleanup(p.Close)
			proxied := *direct
			proxied.Host = p.Addr()
			w := b.startWorker("DATABASE_WRITE_TIMEOUT=1s", "DATABASE_URL="+proxied.String())

			p.Set(proxy.Trap{Match: request, Effect: proxy.FallSilent})
			b.produce(0, order(t, "a", "1"), order(t, "b", "1"))
			b.drained()
			require.Equal(t, 1, p.Sprung())
			require.Equal(t, 2, b.count("orders"))

			p.Set(proxy.Trap{Match: request, Effect: proxy.FallSilent})
			b.produce(0, order(t, "c", "1"))
			b.eventually("the transaction is left behind", func() (bool, string) { return p.Sprung() == 2, "" })
			p.Refuse(true)
			p.Silence()
			w.stop()
			b.startWorker("DATABASE_WRITE_TIMEOUT=1s", "DATABASE_URL="+b.url)
			b.drained()
			require.Equal(t, 3, b.count("orders"))
			require.Empty(t, b.letters())
		})
	}
}

// Whichever statement of a generation's start or of its first batch is never answered, the
// worker notices, and goes on over another connection. The generation also removes an erased
// order that a restored database has again.
func TestAStatementThatIsNeverAnsweredHoldsNobodyUp(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker("ERASURE_KEY=" + erasureKey)
	b.produce(0, order(t, "order-0", "1"))
	b.drained()
	w.stop()
	b.erase("gone")
	direct, err := url.Parse(b.writer)
	require.NoError(t, err)
	for n, last := 1, false; !last && !t.Failed(); n++ {
		t.Run(fmt.Sprintf("statement %d", n), func(t *testing.T) {
			b := *b
			b.t = t
			b.exec(`UPDATE erasures SET pending = true`)
			b.exec(`DELETE FROM ingest_positions WHERE topic = $1`, dlqTopic)
			p, err := proxy.Start(direct.Host, proxy.Postgres)
			require.NoError(t, err)
			t.Cleanup(p.Close)
			var begun atomic.Bool
			var statements atomic.Int64
			p.Set(proxy.Trap{Effect: proxy.FallSilent, Match: func(request []byte) bool {
				if request[0] != 'Q' && request[0] != 'P' {
					return false
				}
				if bytes.Contains(request, []byte("to_regclass('ingest_pauses')")) { // the generation's first
					begun.Store(true)
				}
				return begun.Load() && statements.Add(1) == int64(n)
			}})
			proxied := *direct
			proxied.Host = p.Addr()
			b.produce(0, order(t, fmt.Sprint("order-", n), "1"), []byte("broken"))
			settings := b.settings("INGEST_LAG_INTERVAL=1h", "ERASURE_KEY="+erasureKey, "DATABASE_URL="+proxied.String())
			settings.WriteTimeout = 400 * time.Millisecond
			w := b.start(settings)
			b.drained()
			require.Equal(t, n+1, b.count("orders"))
			w.stop()
			last = p.Sprung() == 0
		})
	}
}
