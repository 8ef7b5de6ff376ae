package reader_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/read-api/internal/app"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// metric is a sample's value, which there must be.
func (r *reader) metric(sample string) (value float64) {
	r.t.Helper()
	for line := range strings.SplitSeq(r.ask("GET", "http://"+r.admin.Addr()+"/metrics").body, "\n") {
		if rest, found := strings.CutPrefix(line, sample+" "); found {
			_, err := fmt.Sscan(rest, &value)
			require.NoError(r.t, err)
			return value
		}
	}
	require.Fail(r.t, "there is no "+sample)
	return 0
}

// reaches waits until a sample has a value.
func (r *reader) reaches(sample string, value float64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%s is %v", sample, value), func() bool { return r.metric(sample) == value })
}

const (
	visible      = "orderhub_cache_visible_seconds_count"
	fromCommits  = visible + `{from="commit"}`
	fromRounds   = visible + `{from="round"}`
	notification = "orderhub_listener_notifications_total"

	listsFromMemory   = "orderhub_list_memory_total"
	listsFromDatabase = `orderhub_list_database_seconds_count{list="orders"}`
)

// TestWhatAChangeAndAReadLeaveInTheMetrics follows notifications, the time until they
// are visible, lists, and what memory could not answer.
func TestWhatAChangeAndAReadLeaveInTheMetrics(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.insert("before")
	r := start(t, url).synced()
	r.reaches("orderhub_listener_connected", 1)
	require.Zero(t, r.metric(fromCommits), "the snapshot is no change")
	heard := r.metric(notification)
	client.insert("a")
	r.equals(db)
	client.run(`DELETE FROM orders WHERE order_uid = 'a'`)
	r.equals(db)
	r.reaches(notification, heard+2)
	r.reaches(fromCommits, 2)
	require.Zero(t, r.metric(fromRounds))

	r.lists()
	require.Positive(t, r.metric("orderhub_cache_index_bytes"))
	fromDatabase := r.metric(listsFromDatabase)
	require.Equal(t, 200, r.get("/api/v1/orders", "Cache-Control", "no-cache").status)
	require.Equal(t, 200, r.get("/api/v1/suggest?q=bef", "Cache-Control", "no-cache").status)
	require.Equal(t, r.get("/api/v1/suggest?q=bef", "Cache-Control", "no-cache").body, r.get("/api/v1/suggest?q=bef").body)
	require.Equal(t, fromDatabase+1, r.metric(listsFromDatabase))
	require.Equal(t, 2.0, r.metric(`orderhub_list_database_seconds_count{list="suggest"}`))
	require.Zero(t, r.metric("orderhub_read_through_seconds_count"))
	require.Equal(t, 200, r.get("/order/before", "Cache-Control", "no-cache").status)
	require.Equal(t, 1.0, r.metric("orderhub_read_through_seconds_count"))
	require.Positive(t, r.metric(`go_sql_open_connections{db_name="orders"}`))
}

// TestWithoutCommitTimesAChangeIsDatedByTheRoundBefore has the server keep none. The
// listener loses its connection, and the metric says so.
func TestWithoutCommitTimesAChangeIsDatedByTheRoundBefore(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true, Settings: map[string]string{"track_commit_timestamp": "off"}})
	migrate(t, server.URL())
	db, client := openDB(t, server.URL()), connect(t, server.URL()).withVersions()
	r := start(t, server.URL()).synced()
	client.insert("a")
	r.equals(db)
	r.reaches(fromRounds, 1)
	require.Zero(t, r.metric(fromCommits))
	r.reaches("orderhub_listener_connected", 1)
	require.NoError(t, server.Kill())
	r.reaches("orderhub_listener_connected", 0)
	require.NoError(t, server.Restart(t.Context()))
	r.reaches("orderhub_listener_connected", 1)
}

// TestAnAgeIsTheWholeTimeSinceTheCommit has a change wait for its reader.
func TestAnAgeIsTheWholeTimeSinceTheCommit(t *testing.T) {
	const wait = 200 * time.Millisecond
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	source := changes.NewSource(func() (*pgx.ConnConfig, error) { return pgx.ParseConfig(url) },
		changes.Options{CheckSchema: func(context.Context) error { return nil }, Ages: true})
	defer source.Close()
	at, err := source.Snapshot(t.Context(), held{}, func(int64, int64) {})
	require.NoError(t, err)
	began := time.Now()
	client.run(`BEGIN;` + insertOrder("one", 1) + `;` + insertOrder("two", 1) + `; COMMIT`)
	client.run(`SELECT pg_sleep(` + fmt.Sprint(wait.Seconds()) + `)`)
	client.insert("young")
	round, err := source.Tail(t.Context(), at, held{})
	most := time.Since(began)
	require.NoError(t, err)
	require.Equal(t, 3, round.Put)
	require.Len(t, round.Ages, 2, "one for each transaction")
	require.GreaterOrEqual(t, max(round.Ages[0], round.Ages[1]), wait)
	require.LessOrEqual(t, max(round.Ages[0], round.Ages[1]), most)
	require.Less(t, min(round.Ages[0], round.Ages[1]), max(round.Ages[0], round.Ages[1]))

	round, err = source.Tail(t.Context(), round.Position, held{})
	require.NoError(t, err)
	require.Empty(t, round.Ages)
	client.run(`BEGIN; INSERT INTO orders SELECT 'many-'||i, '', '', '', '', '', '', '', 0, now(), '' FROM generate_series(1, 1200) i; COMMIT`)
	for i := range 150 {
		client.insert(fmt.Sprint("each-", i))
	}
	round, err = source.Tail(t.Context(), round.Position, held{})
	require.NoError(t, err)
	require.Equal(t, 1350, round.Put)
	require.Len(t, round.Ages, 100, "no round asks for more")
}

// TestHowStreamsEnd has streams end for each reason but slowness, which
// TestASlowClientIsDroppedNotBuffered has.
func TestHowStreamsEnd(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	tokens, on := withTokens(t)
	r := start(t, url, on, func(s *app.Settings) { s.Auth.Streams = 10 }).synced()
	ended := func(reason string) string { return fmt.Sprintf("orderhub_stream_ended_total{reason=%q}", reason) }
	lines, end := r.openStream(tokens.read)
	require.True(t, lines.Scan())
	client.insert("a", "b")
	r.equals(db)
	r.reaches("orderhub_stream_events_total", 2)
	end()
	r.reaches(ended("client"), 1)

	revoked, endRevoked := r.openStreamAnew(tokens)
	defer endRevoked()
	require.NoError(t, os.WriteFile(tokens.file, nil, 0o600))
	for revoked.Scan() {
	}
	r.reaches(ended("credential"), 1)
	require.Zero(t, r.metric(ended("stop")))
	require.Zero(t, r.metric(ended("slow")))
}
