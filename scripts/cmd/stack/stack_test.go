package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// calls counts what the played orderctl was asked to do.
func calls(t *testing.T, url, name string) (n int) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	require.NoError(t, conn.QueryRow(ctx, "SELECT count(*) FROM calls WHERE name = $1", name).Scan(&n))
	return n
}

func TestSecondStartFindsItsData(t *testing.T) {
	s := newSite(t, account{}, playedBinaries(t))
	p := s.start(t)
	require.Contains(t, p.out.String(), "worker   | ingest-worker says hello\n")
	require.Contains(t, p.out.String(), "first run")
	p.stop(t, syscall.SIGINT)
	require.Less(t, strings.Index(p.out.String(), "read-api says goodbye"), strings.Index(p.out.String(), "ingest-worker says goodbye"))

	p = s.start(t)
	require.NotContains(t, p.out.String(), "first run")
	require.Equal(t, 2, calls(t, s.databaseURL(), "migrate"))
	require.Equal(t, 2, calls(t, s.databaseURL(), "publish"))
	p.stop(t, syscall.SIGTERM)
}

func TestKilledStackLeavesNothingRunning(t *testing.T) {
	s := newSite(t, account{}, playedBinaries(t))
	p := s.start(t)
	descendants := p.descendants(t)
	require.Greater(t, len(descendants), 5, "worker, API, PostgreSQL and its own")
	require.NoError(t, p.cmd.Process.Kill())
	p.requireEnd(t)

	// At once: what the killed one has left to shut down is waited for.
	again := s.start(t)
	requireGone(t, descendants)
	require.Equal(t, 2, calls(t, s.databaseURL(), "migrate"))
	again.stop(t, syscall.SIGINT)
}

func TestKilledMakeStopsTheStack(t *testing.T) {
	makeProgram, err := exec.LookPath("make")
	require.NoError(t, err)
	s := newSite(t, account{}, playedBinaries(t))
	makefile := "run:\n" + runRecipe(t) + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "Makefile"), []byte(makefile), 0o644))
	require.NoError(t, os.Symlink(s.binaries, filepath.Join(s.dir, "bin")))
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		p := s.launchCommand(t, makeProgram, "run")
		p.waitReady(t)
		descendants := p.descendants(t)
		require.NoError(t, p.cmd.Process.Signal(sig))
		p.requireEnd(t)
		requireGone(t, descendants)
		require.Contains(t, p.out.String(), "read-api says goodbye", "it was stopped in order")
	}
}

// runRecipe is the line of the repository's Makefile that `make run` ends with.
func runRecipe(t *testing.T) string {
	t.Helper()
	makefile, err := os.ReadFile(filepath.Join(repository, "Makefile"))
	require.NoError(t, err)
	for line := range strings.Lines(string(makefile)) {
		if strings.HasPrefix(line, "\t") && strings.Contains(line, "bin/stack --stop-with") {
			return strings.TrimRight(line, "\n")
		}
	}
	t.Fatal("the Makefile has no line that runs bin/stack --stop-with")
	return ""
}

func TestSignalThatComesTwiceIsNoImpatience(t *testing.T) {
	s := newSite(t, account{}, playedBinaries(t))
	s.extra = []string{faultVariable + "=read-api deaf"} // so that the stop takes a while
	p := s.start(t)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGINT))
	p.stop(t, syscall.SIGTERM)
	require.Contains(t, p.out.String(), "all is stopped")
}

func TestServiceThatEndsStopsEverything(t *testing.T) {
	s := newSite(t, account{}, playedBinaries(t))
	p := s.start(t)
	descendants := p.descendants(t)
	conn, err := net.Dial("tcp", s.admin)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte("GET /die HTTP/1.0\r\n\r\n"))
	require.NoError(t, err)
	p.requireEnd(t)
	require.Equal(t, exitFailed, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.out.String(), "worker (ingest-worker) ended by itself: exit status 7")
	requireGone(t, descendants)
}

func TestKilledDatabaseStopsEverything(t *testing.T) {
	s := newSite(t, account{}, playedBinaries(t))
	p := s.start(t)
	descendants := p.descendants(t)
	for _, pid := range descendants {
		if processTable(t)[pid].name == "postgres" {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			break // the first is the parent of the others
		}
	}
	p.requireEnd(t)
	require.Equal(t, exitFailed, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.out.String(), "PostgreSQL ended by itself")
	requireGone(t, descendants)
}

func TestServiceThatDoesNotStopIsKilled(t *testing.T) {
	s := newSite(t, account{}, playedBinaries(t))
	s.extra = []string{faultVariable + "=read-api deaf"}
	p := s.start(t)
	p.stop(t, syscall.SIGTERM)
	require.Contains(t, p.out.String(), "did not stop in time")
	require.Contains(t, p.out.String(), "ingest-worker says goodbye")
}

func TestStopWhileStarting(t *testing.T) {
	s := newSite(t, account{}, playedBinaries(t))
	p := s.launch(t)
	p.waitOutput(t, "migrate")
	p.stop(t, syscall.SIGINT)
}

func TestSecondStackOnTheSameDataIsRefused(t *testing.T) {
	s := newSite(t, account{}, playedBinaries(t))
	first := s.start(t)
	second := s.launch(t)
	second.requireEnd(t)
	require.Equal(t, exitFailed, second.cmd.ProcessState.ExitCode())
	require.Contains(t, second.out.String(), fmt.Sprintf("in use by process %d", first.cmd.Process.Pid))
	require.Contains(t, second.out.String(), "ORDERHUB_DATA=")
	first.stop(t, syscall.SIGINT)
}

func TestTakenPortsAreNamed(t *testing.T) {
	s := newSite(t, account{}, playedBinaries(t))
	listen(t, ports.Loopback(s.kafka))
	listen(t, ports.Loopback(s.postgres))
	listen(t, s.http)
	listen(t, portAfter(s.admin, 1))
	p := s.launch(t)
	p.requireEnd(t)
	require.Equal(t, exitFailed, p.cmd.ProcessState.ExitCode())
	for _, expected := range []string{
		fmt.Sprintf("port %d, for the embedded broker, is taken: free it, or move it, as in KAFKA_PORT=", s.kafka),
		fmt.Sprintf("port %d, for the embedded PostgreSQL, is taken: free it, or move it, as in POSTGRES_PORT=", s.postgres),
		"for the API, is taken: free it, or move it, as in HTTP_ADDR=127.0.0.1:",
		"for the API's admin port, is taken: free it, or move it, as in ADMIN_ADDR=127.0.0.1:",
	} {
		require.Contains(t, p.out.String(), expected)
	}
	require.NoDirExists(t, filepath.Join(s.dir, "data", "postgres"), "something was started")
}

func TestGivenStoresAreUsed(t *testing.T) {
	database := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	kafka := broker.ForTest(t)
	s := newSite(t, account{}, playedBinaries(t))
	listen(t, ports.Loopback(s.kafka)) // nobody's concern now
	listen(t, ports.Loopback(s.postgres))
	dotenv := fmt.Sprintf("KAFKA_BROKERS=%s\nDATABASE_URL=%s\n", kafka.Addr(), database.URL())
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, ".env"), []byte(dotenv), 0o600))
	p := s.start(t)
	require.Equal(t, 1, calls(t, database.URL(), "migrate"))
	require.Zero(t, calls(t, database.URL(), "publish"), "foreign stores get no sample orders")
	require.Contains(t, p.out.String(), kafka.Addr())
	require.NotContains(t, p.out.String(), "orders:orders@", "a given URL's password is shown")
	p.stop(t, syscall.SIGINT)
}

func TestWrongSettingsAreNamed(t *testing.T) {
	s := newSite(t, account{}, playedBinaries(t))
	s.extra = []string{"KAFKA_PORT=70000", "HTTP_ADDR=nonsense"}
	p := s.launch(t)
	p.requireEnd(t)
	require.Equal(t, exitUsage, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.out.String(), "KAFKA_PORT: 70000")
	require.Contains(t, p.out.String(), "HTTP_ADDR")

	s.extra = []string{"HTTP_ADDR=" + s.admin}
	p = s.launch(t)
	p.requireEnd(t)
	require.Equal(t, exitUsage, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.out.String(), "would both use port")
}

func TestMissingBinaryIsNamed(t *testing.T) {
	s := newSite(t, account{}, playedBinaries(t))
	require.NoError(t, os.Remove(filepath.Join(s.binaries, "read-api")))
	p := s.launch(t)
	p.requireEnd(t)
	require.Contains(t, p.out.String(), "read-api is missing, `make build` makes it")
}
