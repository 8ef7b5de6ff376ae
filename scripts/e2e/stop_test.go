package e2e

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// waiting finds a partition that has one record which is not stored yet.
var waiting = regexp.MustCompile(`(?m)^orderhub_ingest_lag_records\{.*\} 1$`)

var storedOne = regexp.MustCompile(`(?m)^orderhub_ingest_records_total\{.*outcome="stored".*\} 1$`)

// A worker that is told to stop twice ends at once, even where the database
// holds it up, and loses nothing: what was in hand is not committed.
func TestASecondSignalEndsTheWorkerAtOnce(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	p := newPipelineOn(t, server.URL())
	worker := p.worker()
	record := sample(t, "model.json")
	// Before it has begun to read the partition, it would have nothing to finish.
	p.orderctl(strings.ReplaceAll(record, "b563feb7b2b84b6test", "first"), "publish", "--file", "-")
	p.eventually("the worker reads the partition", func() (bool, string) {
		_, _, body := fetch(t, http.MethodGet, "http://"+worker.admin+"/metrics", nil)
		return storedOne.MatchString(body), body
	})
	require.NoError(t, server.Pause())
	p.orderctl(record, "publish", "--file", "-")
	p.eventually("the record is in hand", func() (bool, string) {
		_, _, body := fetch(t, http.MethodGet, "http://"+worker.admin+"/metrics", nil)
		return waiting.MatchString(body), body
	})
	require.NoError(t, worker.cmd.Process.Signal(syscall.SIGTERM))
	p.eventually("the stop is under way", func() (bool, string) {
		status, _, _ := fetch(t, http.MethodGet, "http://"+worker.admin+"/livez", nil)
		require.NoError(t, worker.cmd.Process.Signal(syscall.Signal(0)), "the worker still finishes what is in hand")
		return status != 0, worker.log.String()
	})
	worker.once.Do(func() {}) // it is waited for here
	ended := make(chan error, 1)
	go func() { ended <- worker.cmd.Wait() }()
	// A signal that comes before the first is dealt with counts for nothing.
	p.eventually("the worker has ended", func() (bool, string) {
		_ = worker.cmd.Process.Signal(syscall.SIGTERM)
		return len(ended) > 0, worker.log.String()
	})
	var exit *exec.ExitError
	require.ErrorAs(t, <-ended, &exit)
	require.Equal(t, 1, exit.ExitCode(), worker.log.String())
	require.NoError(t, server.Resume())
	p.worker()
	reader := p.reader()
	p.seen(reader, "b563feb7b2b84b6test", canonical(t, record))
	require.Empty(t, p.deadLetterReasons())
}

// Settings that cannot be used, help and health are answered without a broker or
// a database.
func TestTheServicesCommandLines(t *testing.T) {
	for _, name := range []string{"ingest-worker", "read-api"} {
		run := func(env []string, args ...string) (int, string) {
			cmd := exec.CommandContext(t.Context(), filepath.Join(programs, name), args...)
			cmd.Dir, cmd.Env = t.TempDir(), env
			out, err := cmd.CombinedOutput()
			if err != nil {
				var exit *exec.ExitError
				require.ErrorAs(t, err, &exit)
			}
			return cmd.ProcessState.ExitCode(), string(out)
		}
		code, out := run(nil, "--help")
		require.Equal(t, 0, code)
		require.Contains(t, out, "DATABASE_URL")
		code, out = run([]string{"LOG_LEVEL=loud"})
		require.Equal(t, 2, code)
		require.Contains(t, out, "LOG_LEVEL")
		code, out = run([]string{"ADMIN_ADDR=" + freeAddr(t)}, "--healthcheck")
		require.Equal(t, 1, code)
		require.Contains(t, out, "does not answer")
	}
}
