package reader_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

// throughProxy leads to a server through what a test can break.
func throughProxy(t *testing.T, server *postgres.Server) *proxy.Proxy {
	t.Helper()
	p, err := proxy.Start(fmt.Sprintf("127.0.0.1:%d", server.Port()), proxy.Postgres)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// at is a database's address on another host and port.
func at(database, hostPort string) string {
	u, err := url.Parse(database)
	if err != nil {
		panic(err) // it is ours
	}
	u.Host = hostPort
	return u.String()
}

// listens has a reader listen at another address than it reads from.
func listens(database string) func(*app.Settings) {
	return func(s *app.Settings) { s.ListenURL = config.Secret(database) }
}

// fault is something that goes wrong, and is over when it returns or a little
// later.
type fault struct {
	name string
	do   func(w *world, random *rand.Rand) error
}

// faultsAtPoint is how many faults meet the writers between two quiet points.
const faultsAtPoint = 4

// faults lets things go wrong, each of them once before any comes again.
func (w *world) faults(random *rand.Rand) {
	for n := range faultsAtPoint {
		if len(w.deck) == 0 {
			w.deck = append(w.deck, allFaults...)
			random.Shuffle(len(w.deck), func(i, j int) { w.deck[i], w.deck[j] = w.deck[j], w.deck[i] })
		}
		f := w.deck[0]
		w.deck = w.deck[1:]
		rest(random, 100)
		if err := f.do(w, random); err != nil {
			w.t.Errorf("%s: %v", f.name, err)
		}
		w.t.Log(f.name)
		if n == faultsAtPoint/2 {
			w.release()
		}
	}
}

// rest waits for up to so many milliseconds.
func rest(random *rand.Rand, most int) {
	time.Sleep(time.Duration(random.IntN(most)) * time.Millisecond)
}

var allFaults = []fault{
	{"the readers' connections are cut", func(w *world, random *rand.Rand) error {
		for range 5 {
			w.tails.Cut()
			rest(random, 30)
		}
		return nil
	}},
	{"the readers' connections fall silent", func(w *world, random *rand.Rand) error {
		w.tails.Silence()
		rest(random, 500)
		w.tails.Cut() // as the server's kernel finds out sooner or later: until then it keeps their locks
		return nil
	}},
	{"the doorbells fall silent", func(w *world, _ *rand.Rand) error {
		w.bells.Silence() // only the pings tell
		return nil
	}},
	{"the doorbells are cut", func(w *world, random *rand.Rand) error {
		for range 5 {
			w.bells.Cut()
			rest(random, 30)
		}
		return nil
	}},
	{"nobody may connect", func(w *world, random *rand.Rand) error {
		w.tails.Refuse(true)
		w.tails.Cut()
		rest(random, 300)
		w.tails.Refuse(false)
		return nil
	}},
	{"the way is long", func(w *world, random *rand.Rand) error {
		w.tails.Delay(5 * time.Millisecond)
		rest(random, 300)
		w.tails.Delay(0)
		return nil
	}},
	{"sessions are ended", func(w *world, random *rand.Rand) error {
		for range 4 {
			err := w.primary.Admin(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE application_name LIKE 'read-api%' AND random() < 0.5`)
			if err != nil {
				return err
			}
			rest(random, 30)
		}
		return nil
	}},
	{"the primary is restarted", func(w *world, _ *rand.Rand) error { return w.primary.Restart(context.Background()) }},
	{"the primary is killed", func(w *world, _ *rand.Rand) error {
		if err := w.primary.Kill(); err != nil {
			return err
		}
		return w.primary.Restart(context.Background())
	}},
	{"the primary is frozen", func(w *world, random *rand.Rand) error {
		if err := w.primary.Pause(); err != nil {
			return err
		}
		rest(random, 500)
		return w.primary.Resume()
	}},
	{"the standby is killed", func(w *world, _ *rand.Rand) error {
		if err := w.standby.Kill(); err != nil {
			return err
		}
		return w.standby.Restart(context.Background())
	}},
	{"the standby falls behind", func(w *world, random *rand.Rand) error {
		if err := w.standby.Admin(context.Background(), `SELECT pg_wal_replay_pause()`); err != nil {
			return err
		}
		rest(random, 500)
		return w.standby.Admin(context.Background(), `SELECT pg_wal_replay_resume()`)
	}},
	{"notifications flood the doorbells", func(w *world, _ *rand.Rand) error {
		conn, err := pgx.Connect(context.Background(), w.url)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.Background()) }()
		for n := range 2000 {
			if _, err := conn.PgConn().Exec(context.Background(), fmt.Sprintf(`NOTIFY orders_changed, '%d'`, n)).ReadAll(); err != nil {
				return err
			}
		}
		return nil
	}},
	{"the bell is rung without end", func(w *world, _ *rand.Rand) error {
		for range 1_000_000 {
			for _, r := range w.readers {
				r.cache.Refresh()
			}
		}
		return nil
	}},
	{"the deletions are pruned", func(w *world, _ *rand.Rand) error {
		return w.primary.Admin(context.Background(), pruneAll)
	}},
	{"all orders are to be read anew while connections are cut", func(w *world, random *rand.Rand) error {
		for range 5 {
			if err := w.primary.Admin(context.Background(), renewEpoch); err != nil {
				return err
			}
			rest(random, 30)
			w.tails.Cut()
		}
		return nil
	}},
}
