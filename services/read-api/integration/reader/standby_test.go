package reader_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

// replicated is a primary with our schema, and standbys of it.
func replicated(t *testing.T, standbys int) (primary *postgres.Server, client *session, all []*postgres.Server) {
	t.Helper()
	primary = postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	migrate(t, primary.URL())
	client = connect(t, primary.URL()).withVersions()
	client.insert("first", "second")
	for range standbys {
		all = append(all, postgres.StandbyForTest(t, primary, postgres.Options{
			Unsafe: true, Settings: map[string]string{"wal_retrieve_retry_interval": "100ms"},
		}))
	}
	return primary, client, all
}

// TestReadsAStandbyByPolling has transactions commit out of order: what is in
// progress doesn't show in a standby's snapshots.
func TestReadsAStandbyByPolling(t *testing.T) {
	primary, client, standbys := replicated(t, 1)
	db, old := openDB(t, primary.URL()), connect(t, primary.URL())
	old.run(`BEGIN;` + insertOrder("old", 1) + `; DELETE FROM orders WHERE order_uid = 'second'`)
	client.insert("before")
	r := start(t, standbys[0].URL(), staleness(100*time.Millisecond)).synced()
	require.True(t, poll(func() bool { return r.said("notifications don't exist on a standby") }))
	for i := range 5 {
		client.insert(fmt.Sprintf("young-%d", i))
		client.run(`UPDATE items SET price = price + 1 WHERE order_uid = 'first'`)
		r.equals(db)
	}
	old.run(`COMMIT`)
	r.equals(db)
	require.Equal(t, 200, r.get("/order/old").status)
	require.Equal(t, 404, r.get("/order/second").status)
	client.run(`TRUNCATE orders CASCADE`)
	client.insert("after")
	r.equals(db)
	require.EqualValues(t, 1, r.loop.Stats().Relists, "for the TRUNCATE")
}

// TestListensOnThePrimaryOfAStandby has a poll that hardly ever comes, and a
// standby that replays long after the notification.
func TestListensOnThePrimaryOfAStandby(t *testing.T) {
	primary, client, standbys := replicated(t, 1)
	db := openDB(t, primary.URL())
	r := start(t, standbys[0].URL(), listens(primary.URL())).synced()
	for i := range 5 {
		client.insert(fmt.Sprintf("order-%d", i))
		r.equals(db)
	}
	require.NoError(t, standbys[0].Admin(t.Context(), `SELECT pg_wal_replay_pause()`))
	client.insert("late")
	rounds := r.loop.Stats().Rounds
	eventually(t, "the doorbell goes on to ring", func() bool { return r.loop.Stats().Rounds > rounds+5 })
	require.Equal(t, 404, r.get("/order/late").status)
	require.NoError(t, standbys[0].Admin(t.Context(), `SELECT pg_wal_replay_resume()`))
	r.equals(db)
	rounds = r.loop.Stats().Rounds
	require.Equal(t, 200, r.get("/order/late").status)
	client.insert("last")
	r.equals(db)
	require.Zero(t, r.loop.Stats().Relists)
	require.Less(t, r.loop.Stats().Rounds-rounds, int64(1000), "it ends when the standby is there")
}

// TestAPromotedStandbyIsReadOn kills the primary, and lets the standby take over
// under its reader.
func TestAPromotedStandbyIsReadOn(t *testing.T) {
	primary, client, standbys := replicated(t, 1)
	standby := standbys[0]
	r := start(t, standby.URL(), staleness(100*time.Millisecond), listens(standby.URL())).synced()
	lost := connect(t, primary.URL())
	lost.run(`BEGIN;` + insertOrder("never-committed", 1))
	client.insert("third")
	r.equals(openDB(t, primary.URL()))
	l := r.listen("", "")
	last := l.id()
	before := r.get("/order/first")

	require.NoError(t, primary.Kill())
	require.NoError(t, standby.Promote(t.Context()))
	connect(t, standby.URL()).insert("fourth")
	r.equals(openDB(t, standby.URL()))
	require.True(t, r.said("reading all orders anew"), "the log says so")
	require.True(t, r.said("standby no more") || r.said("the timeline was 1 and is 2 now"), "and why")
	require.EqualValues(t, 1, r.loop.Stats().Relists)
	require.Equal(t, before.body, r.get("/order/first").body)
	require.Equal(t, 200, r.get("/order/fourth").status)
	require.Equal(t, 404, r.get("/order/never-committed").status)
	again := r.listen("", last)
	require.Equal(t, "reset", again.next().kind, "a stream from before can't be gone on with")

	// It listens there now: from here on no poll is needed.
	require.True(t, poll(func() bool { return r.said("listening for notifications") }))
	connect(t, standby.URL()).run(`DELETE FROM orders WHERE order_uid = 'fourth'`)
	r.equals(openDB(t, standby.URL()))
}

// TestAStandbyThatIsBehindIsWaitedFor has a reader go over from a standby to one
// that has not replayed as much: no order goes backwards, and none is lost.
func TestAStandbyThatIsBehindIsWaitedFor(t *testing.T) {
	primary, client, standbys := replicated(t, 2)
	ahead, behind := standbys[0], standbys[1]
	ctx := context.Background()
	both := fmt.Sprintf("postgres://orders:orders@127.0.0.1:%d,127.0.0.1:%d/orders?sslmode=disable", ahead.Port(), behind.Port())
	r := start(t, both, staleness(100*time.Millisecond), func(s *app.Settings) { s.AnswerTimeout = 5 * time.Second }).synced()
	require.NoError(t, behind.Admin(ctx, `SELECT pg_wal_replay_pause()`))
	client.run(`UPDATE orders SET sm_id = nextval('version') WHERE order_uid = 'first'; DELETE FROM orders WHERE order_uid = 'second'`)
	client.insert("third")
	r.equals(openDB(t, primary.URL()))
	now := r.get("/order/first").body

	require.NoError(t, ahead.Kill())
	require.True(t, poll(func() bool { return r.said("this standby is behind what was read before") }))
	require.Equal(t, now, r.get("/order/first").body)
	require.Equal(t, 200, r.get("/order/third").status)
	require.Contains(t, r.readyz().body, "waiting until it catches up")
	require.NoError(t, behind.Admin(ctx, `SELECT pg_wal_replay_resume()`))
	client.insert("fourth")
	r.equals(openDB(t, primary.URL()))
	require.Equal(t, now, r.get("/order/first").body)
	require.Zero(t, r.loop.Stats().Relists, "it went on from where it was")
}
