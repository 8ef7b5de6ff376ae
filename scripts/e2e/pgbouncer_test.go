package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	processes "github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// Worker, reader and orderctl do their work behind PgBouncer, as docs/operations.md says: in
// session mode all of it, in transaction mode all but LISTEN.
func TestBehindPgBouncer(t *testing.T) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // Debian's
		if _, err := os.Stat(program); err != nil {
			processes.SkipForTest(t, "pgbouncer is missing: install it")
		}
	}
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) {
			server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
			p := newPipelineOn(t, server.URL())
			port, err := ports.Free()
			require.NoError(t, err)
			ctx, stop := context.WithCancel(p.ctx)
			ended := make(chan error, 1)
			go func() {
				ended <- server.Shell(ctx, fmt.Sprintf(`cat >pgbouncer.ini <<END
[databases]
orders = host=127.0.0.1 port=$PGPORT dbname=orders user=orders password=orders
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
END
exec %s pgbouncer.ini`, port, mode, program))
			}()
			defer func() { stop(); <-ended }()
			pooled := strings.Replace(p.database, ports.Loopback(server.Port()), ports.Loopback(port), 1)
			p.eventually("PgBouncer answers", func() (bool, string) {
				conn, err := pgx.Connect(ctx, pooled)
				if err == nil {
					err = conn.Close(ctx)
				}
				select {
				case failed := <-ended:
					require.NoError(t, errors.Join(failed, err))
				default:
				}
				return err == nil, fmt.Sprint(err)
			})
			p.env = append(p.env, "DATABASE_URL="+pooled)
			if mode == "transaction" {
				p.env = append(p.env, "DATABASE_LISTEN_URL="+p.database)
			}

			p.worker()
			readers := []*process{p.reader(), p.reader()}
			client, err := ledger.Client([]string{p.brokers})
			require.NoError(t, err)
			defer client.Close()
			progress, err := ledger.NewProgress([]string{p.brokers}, "orders", "orderhub")
			require.NoError(t, err)
			defer progress.Close()
			load := ledger.NewLoad(client, rand.New(rand.NewPCG(1, 2)), "orders", 4, "pooled-")
			for range 10 {
				require.NoError(t, load.Send(p.ctx, 100))
			}
			require.NoError(t, progress.DrainInto(p.ctx, p.database))
			expected, err := ledger.Expect(p.ctx, []string{p.brokers}, "orders")
			require.NoError(t, err)
			world := ledger.World{Brokers: []string{p.brokers}, Topic: "orders", DLQ: "orders.dlq", Group: "orderhub", Database: p.database, Readers: []string{readers[0].addr, readers[1].addr}}
			p.eventually("all is accounted for", func() (bool, string) {
				found, err := ledger.Account(p.ctx, world, expected)
				require.NoError(t, err)
				return found.Exact(), found.String()
			})
			p.orderctl("", "worker", "status")
			p.orderctl("", "verify", "--api", "http://"+readers[0].addr)
			require.Contains(t, readers[0].log.String(), "listening for notifications")
		})
	}
}
