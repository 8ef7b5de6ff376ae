package postgres_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/datadir"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/devstack/process"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func run(t *testing.T, url, statement string) {
	t.Helper()
	_, err := connect(t, url).Exec(context.Background(), statement)
	require.NoError(t, err)
}

func count(t *testing.T, url string) (n int) {
	t.Helper()
	require.NoError(t, connect(t, url).QueryRow(context.Background(), "SELECT count(*) FROM kept").Scan(&n))
	return n
}

func TestForTestGivesDatabasesOfTheirOwn(t *testing.T) {
	first, second := postgres.ForTest(t), postgres.ForTest(t)
	require.NotEqual(t, first, second)
	run(t, first, "CREATE TABLE kept (n int)")
	run(t, second, "CREATE TABLE kept (n int)")
}

func TestOwnerIsNoSuperuser(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	_, err := connect(t, server.URL()).Exec(context.Background(), "COPY (SELECT 1) TO PROGRAM 'cat'")
	require.ErrorContains(t, err, "pg_execute_server_program")
	run(t, server.AdminURL(), "ALTER SYSTEM SET log_min_messages = 'error'")
}

func TestAnOpenServerLetsOtherMachinesInAsTheOwner(t *testing.T) {
	host := ports.Outward()
	if host == "" {
		t.Skip("this machine has no address but the loopback")
	}
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true, Open: true})
	from := func(url string) string { return strings.Replace(url, "127.0.0.1:", net.JoinHostPort(host, ""), 1) }
	run(t, from(server.URL()), "CREATE TABLE kept (n int)")
	run(t, server.AdminURL(), "SELECT 1")
	_, err := pgx.Connect(context.Background(), from(server.AdminURL()))
	require.ErrorContains(t, err, "no pg_hba.conf entry")
	closed := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	_, err = pgx.Connect(context.Background(), from(closed.URL()))
	require.ErrorContains(t, err, "connection refused")
}

func TestDataIsKept(t *testing.T) {
	dir := dataDir(t)
	options := postgres.Options{DataDir: dir}
	ctx := context.Background()

	server, err := postgres.Start(ctx, options)
	require.NoError(t, err)
	run(t, server.URL(), "CREATE TABLE kept AS SELECT 1 AS n")
	require.NoError(t, server.Stop(ctx))

	server = postgres.ServerForTest(t, options)
	require.Equal(t, 1, count(t, server.URL()))
}

// dataDir is a data folder for the test. Where the tests run as root the data
// lies elsewhere, since the server's user can't enter a test's folder; that is
// removed as well.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { // after the cleanups of servers, which are registered later
		base, err := os.ReadFile(filepath.Join(dir, "location"))
		if err == nil {
			require.NoError(t, os.RemoveAll(strings.TrimSpace(string(base))))
		}
	})
	return dir
}

func TestKilledServerComesBack(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url, pid := server.URL(), server.Pid()
	run(t, url, "CREATE TABLE kept AS SELECT 1 AS n")
	ended := server.Done()
	require.NoError(t, server.Kill())
	<-ended
	require.Zero(t, server.Pid())
	_, err := pgx.Connect(context.Background(), url)
	require.Error(t, err)

	require.NoError(t, server.Restart(context.Background()))
	require.NotEqual(t, pid, server.Pid())
	require.Equal(t, url, server.URL())
	require.Equal(t, 1, count(t, url))
}

func TestRestartWhileRunning(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	run(t, server.URL(), "CREATE TABLE kept AS SELECT 1 AS n")
	require.NoError(t, server.Restart(context.Background()))
	require.Equal(t, 1, count(t, server.URL()))
}

func TestStalePidFileOfAnotherProcess(t *testing.T) {
	dir := dataDir(t)
	server, err := postgres.Start(context.Background(), postgres.Options{DataDir: dir, Unsafe: true})
	require.NoError(t, err)
	cluster := postgresFolder(t, server.Pid())
	pidFile := cluster + "/postmaster.pid"
	content, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	require.NoError(t, server.Kill())
	require.NoError(t, server.Stop(context.Background()))

	// By now the id belongs to a process that has nothing to do with PostgreSQL.
	stale := strings.Replace(string(content), strconv.Itoa(server.Pid()), strconv.Itoa(os.Getpid()), 1)
	require.NoError(t, os.WriteFile(pidFile, []byte(stale), 0o600))
	postgres.ServerForTest(t, postgres.Options{DataDir: dir, Unsafe: true})
}

func postgresFolder(t *testing.T, pid int) string {
	t.Helper()
	folder, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
	if err != nil && os.Getenv(process.StrictVariable) == "1" {
		t.Fatalf("no /proc here: %v", err)
	}
	if err != nil {
		t.Skipf("SKIPPED: no /proc here: %v", err)
	}
	return folder
}

func TestPausedServerAnswersAfterResume(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	conn := connect(t, server.URL())
	require.NoError(t, server.Pause())
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "SELECT 1")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("a paused server answered: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	require.NoError(t, server.Resume())
	require.NoError(t, <-answered)
}

func TestSecondServerOnTheSameDataIsRefused(t *testing.T) {
	dir := dataDir(t)
	postgres.ServerForTest(t, postgres.Options{DataDir: dir, Unsafe: true})
	_, err := postgres.Start(context.Background(), postgres.Options{DataDir: dir, Unsafe: true})
	var inUse *datadir.InUseError
	require.ErrorAs(t, err, &inUse)
	require.Equal(t, strconv.Itoa(os.Getpid()), inUse.Pid)
}

func TestTakenPortIsRefused(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	_, err := postgres.Start(context.Background(), postgres.Options{Port: server.Port()})
	var taken *ports.TakenError
	require.ErrorAs(t, err, &taken)
}

func TestWrongSettingIsReportedWithTheLog(t *testing.T) {
	_, err := postgres.Start(context.Background(), postgres.Options{Settings: map[string]string{"no_such_setting": "1"}})
	require.ErrorContains(t, err, "no_such_setting")
}

func TestTemporaryFolderIsRemoved(t *testing.T) {
	server, err := postgres.Start(context.Background(), postgres.Options{Unsafe: true})
	require.NoError(t, err)
	cluster := postgresFolder(t, server.Pid())
	require.NoError(t, server.Stop(context.Background()))
	require.NoDirExists(t, cluster)
}

func TestServerRunsAsAnotherUserThanRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root's server runs as another user")
	}
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	info, err := os.Stat("/proc/" + strconv.Itoa(server.Pid()))
	require.NoError(t, err)
	require.NotZero(t, info.Sys().(*syscall.Stat_t).Uid)
}
