package integration

import (
	"net/url"
	"testing"

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
