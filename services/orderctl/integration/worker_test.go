package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// A jump moves the committed offsets and the positions in the tables, of the partitions
// that are named, as the operator's role, and is in the audit log. It is refused while
// the group has members.
func TestTheWorkersContinueElsewhere(t *testing.T) {
	w := newWorld(t)
	dsn := postgres.ForTest(t)
	_, err := migrations.Up(t.Context(), openURL(t, dsn))
	require.NoError(t, err)
	t.Setenv("DATABASE_URL", postgres.RolesForTest(t, dsn)[migrations.Operator])
	audit := t.TempDir() + "/audit.jsonl"
	t.Setenv("ORDERHUB_AUDIT_FILE", audit)
	begin := time.UnixMilli(1_700_000_000_000).UTC()
	for p := range int32(2) {
		for n := range 10 {
			w.produce(&kgo.Record{Topic: orders, Partition: p, Value: []byte("x"), Timestamp: begin.Add(time.Duration(n) * time.Second)})
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr()))
	require.NoError(t, err)
	defer client.Close()
	committed := kadm.Offsets{}
	committed.AddOffset(orders, 0, 8, -1)
	_, err = kadm.NewClient(client).CommitOffsets(t.Context(), "orderhub", committed)
	require.NoError(t, err)

	status := func(want ...string) {
		t.Helper()
		got := w.orderctl("worker", "status", "--output", "json")
		require.Zero(t, got.code, got.stderr)
		var all []string
		for line := range strings.Lines(got.stdout) {
			var p struct {
				Committed, Position *int64
				End, Lag            int64
			}
			require.NoError(t, json.Unmarshal([]byte(line), &p))
			text := func(n *int64) string {
				if n == nil {
					return "-"
				}
				return fmt.Sprint(*n)
			}
			all = append(all, fmt.Sprintf("%s %s of %d, %d", text(p.Committed), text(p.Position), p.End, p.Lag))
		}
		require.Equal(t, want, all)
	}
	seek := func(args ...string) {
		t.Helper()
		got := w.orderctl(append([]string{"worker", "seek", "--why", "a test"}, args...)...)
		require.Zero(t, got.code, got.stderr)
	}
	status("8 - of 10, 2", "- - of 10, 10", "- - of 0, 0")
	seek("--to", "earliest", "--dry-run")
	status("8 - of 10, 2", "- - of 10, 10", "- - of 0, 0")
	seek("--to", begin.Add(3*time.Second).Format(time.RFC3339), "--partition", "1")
	status("8 8 of 10, 2", "3 3 of 10, 7", "- - of 0, 0")
	seek("--to", "2", "--partition", "0,1")
	status("2 2 of 10, 8", "2 2 of 10, 8", "- - of 0, 0")
	_, err = openURL(t, dsn).ExecContext(t.Context(), `UPDATE ingest_positions SET next_offset = 1`)
	require.NoError(t, err)
	status("2 1 of 10, 9", "2 1 of 10, 9", "- - of 0, 0")
	seek("--to", "committed")
	status("2 2 of 10, 8", "2 2 of 10, 8", "- - of 0, 0")
	seek("--to", "latest")
	status("10 10 of 10, 0", "10 10 of 10, 0", "0 0 of 0, 0")

	lines, err := os.ReadFile(audit)
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(string(lines), `"worker seek to `), "%s", lines)
	for _, wrong := range [][]string{{}, {"--to", "soon"}, {"--to", "11"}, {"--to", "0:1,9:5"}} {
		require.Equal(t, 2, w.orderctl(append([]string{"worker", "seek", "--why", "a test"}, wrong...)...).code, wrong)
	}
	require.Equal(t, 2, w.orderctl("worker", "seek", "--to", "2").code)
	require.Equal(t, 3, w.orderctl("worker", "seek", "--to", "earliest", "--why", "a test", "--partition", "9").code)

	member, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr()), kgo.ConsumerGroup("orderhub"), kgo.ConsumeTopics(orders))
	require.NoError(t, err)
	defer member.Close()
	var got result
	require.Eventually(t, func() bool {
		got = w.orderctl("worker", "seek", "--to", "0", "--partition", "0", "--why", "a test")
		return strings.Contains(got.stderr, "stop them first") // until then the member is joining
	}, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, 1, got.code)
}

// A pause is in the database, which the workers read, and in the audit log. It needs no
// brokers.
func TestTheWorkersArePaused(t *testing.T) {
	w, db := replayWorld(t)
	audit := t.TempDir() + "/audit.jsonl"
	t.Setenv("ORDERHUB_AUDIT_FILE", audit)
	t.Setenv("KAFKA_BROKERS", "127.0.0.1:1")
	run := func(args ...string) result { return orderctlRun(t.Context(), append([]string{"worker"}, args...)...) }
	require.Equal(t, 3, run("resume", "--why", "a test").code)
	require.Equal(t, 2, run("pause").code)
	require.NotContains(t, w.orderctl("worker", "status").stdout, "paused")
	t.Setenv("KAFKA_BROKERS", "127.0.0.1:1")
	got := run("pause", "--why", "reindexing", "--actor", "ann")
	require.Zero(t, got.code, got.stderr)
	require.Empty(t, got.stdout)
	got = run("pause", "--why", "still reindexing", "--actor", "bob", "--output", "json")
	require.Regexp(t, `^{"group":"orderhub","paused":{"by":"bob","since":"20[^"]*","why":"still reindexing"}}\n$`, got.stdout)
	require.Equal(t, `(orderhub,bob,"still reindexing")`, rows(t, db, `SELECT consumer_group, paused_by, why FROM ingest_pauses`))
	require.Regexp(t, `^paused since 20\S+Z by bob: still reindexing\nPARTITION`, w.orderctl("worker", "status").stdout)
	require.Regexp(t, `"paused":{"by":"bob","since":"20[^"]*","why":"still reindexing"}}\n`, w.orderctl("worker", "status", "--output", "json").stdout)
	t.Setenv("KAFKA_BROKERS", "127.0.0.1:1")
	require.Equal(t, `{"group":"orderhub","paused":null}`+"\n", run("resume", "--why", "reindexed", "--output", "json").stdout)
	require.Empty(t, rows(t, db, `SELECT 1 FROM ingest_pauses`))
	lines, err := os.ReadFile(audit)
	require.NoError(t, err)
	require.Contains(t, string(lines), `"action":"worker pause","targets":["orderhub"],"why":"reindexing","allowed":true,"actor":"ann"`)
	require.Contains(t, string(lines), `"action":"worker resume","targets":["orderhub"],"why":"reindexed"`)

	// On the last release's schema, what only reads works; the rest says what to do.
	_, err = migrations.DownTo(t.Context(), db, 3)
	require.NoError(t, err)
	t.Setenv("ERASURE_KEY", erasureKey)
	w.produce(w.order(0, "replayed"))
	for code, commands := range [][]string{{"worker status", "replay --from earliest --to latest --dry-run"}, {"worker pause --why x", "worker seek --to earliest --why x", "erase --uid u --why x --yes"}} {
		for _, command := range commands {
			got := w.orderctl(strings.Fields(command)...)
			require.Equal(t, code, min(got.code, 1), "%s: %s", command, got.stderr)
			require.Contains(t, got.stderr, "run `orderctl migrate`", command)
		}
	}
	require.Equal(t, "(0)", rows(t, db, `SELECT count(*) FROM orders`))

	t.Setenv("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
	got = run("pause", "--why", "a test")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "cannot reach PostgreSQL")
}
