package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// commandsIn are the commands of docs/backup.md, by the names in their comments.
func commandsIn(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/backup.md")
	require.NoError(t, err)
	blocks := map[string]string{}
	for _, m := range regexp.MustCompile("<!-- executed: ([a-z ]+) -->\n\n```sh\n((?s:.*?))```").FindAllStringSubmatch(string(text), -1) {
		blocks[m[1]] = m[2]
	}
	require.Equal(t, len(blocks), strings.Count(string(text), "```sh"), "all commands are executed")
	return blocks
}

// The commands of docs/backup.md save a database under load, and restore it to a moment, and
// a dump into another database. Each time what came since is read again.
func TestBackupAndRestore(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	for _, program := range []string{"psql", "pg_basebackup", "pg_verifybackup", "pg_dump", "pg_restore", "createdb"} {
		server.NeedForTest(t, program)
	}
	blocks := commandsIn(t)
	variables := "export BACKUP=$PWD/backup ARCHIVE=$PWD/archive DUMP=$PWD/dump DATABASE_URL='" + server.AdminURL() + "'\n"
	run := func(block string) {
		t.Helper()
		require.NoError(t, server.Shell(t.Context(), variables+blocks[block]))
	}

	run("archive")
	require.NoError(t, server.Restart(t.Context()))
	p := newPipelineOn(t, server.URL())
	worker, reader := p.worker(), p.reader()
	client, err := ledger.Client([]string{p.brokers})
	require.NoError(t, err)
	defer client.Close()
	progress, err := ledger.NewProgress([]string{p.brokers}, "orders", "orderhub")
	require.NoError(t, err)
	defer progress.Close()
	load := ledger.NewLoad(client, rand.New(rand.NewPCG(1, 2)), "orders", 4, "saved-")
	send := func() {
		t.Helper()
		require.NoError(t, load.Send(p.ctx, 400))
		require.NoError(t, progress.DrainInto(p.ctx, p.database))
	}
	exact := func() {
		t.Helper()
		require.NoError(t, progress.DrainInto(p.ctx, p.database))
		expected, err := ledger.Expect(p.ctx, []string{p.brokers}, "orders")
		require.NoError(t, err)
		p.eventually("all is accounted for", func() (bool, string) {
			found, err := ledger.Account(p.ctx, ledger.World{Brokers: []string{p.brokers}, Topic: "orders", DLQ: "orders.dlq", Group: "orderhub",
				Database: p.database, Readers: []string{reader.addr}}, expected)
			require.NoError(t, err)
			return found.Exact(), found.String()
		})
	}

	// To a moment after the base backup.
	send()
	loading := make(chan error, 1)
	go func() { loading <- load.Send(context.WithoutCancel(p.ctx), 400) }()
	run("base backup")
	require.NoError(t, <-loading)
	require.NoError(t, progress.DrainInto(p.ctx, p.database))
	var target string
	require.NoError(t, p.db.QueryRowContext(p.ctx, `SELECT clock_timestamp()::text`).Scan(&target))
	atTarget := p.orders()
	send()
	before := p.orders()
	require.Greater(t, before, atTarget)
	require.NoError(t, server.Admin(p.ctx, `SELECT pg_switch_wal()`))
	p.eventually("the log is archived", func() (done bool, last string) {
		require.NoError(t, p.db.QueryRowContext(p.ctx, `SELECT count(*) > 0, coalesce(max(last_archived_wal), '') FROM pg_stat_archiver
			WHERE last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 1)`).Scan(&done, &last))
		return done, last
	})
	variables += "export TARGET='" + target + "'\n"
	require.NoError(t, server.Offline(p.ctx, syscall.SIGINT, func() error { run("restore"); return nil }))
	p.eventually("the server takes writes", func() (recovered bool, _ string) {
		err := p.db.QueryRowContext(p.ctx, `SELECT NOT pg_is_in_recovery()`).Scan(&recovered)
		return err == nil && recovered, fmt.Sprint(err)
	})
	var log string // its name begins with the timeline, which is new after a recovery to a moment
	require.NoError(t, p.db.QueryRowContext(p.ctx, `SELECT pg_walfile_name(pg_current_wal_lsn())`).Scan(&log))
	require.Regexp(t, "^00000002", log)
	send()
	exact()
	require.GreaterOrEqual(t, p.orders(), before)
	require.Contains(t, reader.log.String(), "reading all orders anew")

	// A dump, in another database.
	run("dump")
	send()
	before = p.orders()
	run("restore dump")
	worker.stop(syscall.SIGTERM)
	reader.stop(syscall.SIGTERM)
	p.database = strings.Replace(server.URL(), "/orders?", "/restored?", 1)
	p.db, err = sql.Open("pgx", p.database)
	require.NoError(t, err)
	defer func() { _ = p.db.Close() }()
	require.Less(t, p.orders(), before)
	p.env = append(p.env, "DATABASE_URL="+p.database)
	p.worker()
	reader = p.reader()
	exact()
	require.Equal(t, before, p.orders())

	for _, block := range []string{"afterwards", "letters"} {
		cmd := exec.CommandContext(p.ctx, "/bin/sh", "-ec", blocks[block])
		cmd.Dir = t.TempDir()
		cmd.Env = append(slices.Clone(p.env), "PATH="+programs+":"+os.Getenv("PATH"), "API=http://"+reader.addr, "LETTERS=letters.jsonl", "ORDERHUB_AUDIT_FILE=audit.jsonl")
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", output)
		t.Logf("%s", output)
	}
	letters := p.orderctl("", "dlq", "list", "--output", "json")
	require.Equal(t, strings.Count(letters, "\n"), strings.Count(p.orderctl("", "dlq", "list", "--output", "json", "--dlq-topic", "orders.dlq.copy"), "\n"))
}
