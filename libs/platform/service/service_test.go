package service

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/config"
)

type settings struct {
	config.Service `ADMIN_ADDR:"127.0.0.1:1"`
	Count          int `env:"TEST_COUNT" envDefault:"1" help:"how many"`
}

// program is a service that does nothing and ends with exitCode.
func program(exitCode int, start, stop error) (Program, *[]string) {
	var did []string
	s := &settings{}
	return Program{
		Name: "nothing", About: "nothing does nothing.", Settings: s,
		New: func() (App, error) {
			return App{
				Start: func(context.Context) error { did = append(did, "start"); return start },
				Wait:  func() int { did = append(did, "wait"); return exitCode },
				Stop:  func(context.Context) error { did = append(did, "stop"); return stop },
			}, nil
		},
	}, &did
}

func call(p Program, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(p, args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestRunsToItsEnd(t *testing.T) {
	t.Chdir(t.TempDir())
	p, did := program(0, nil, nil)
	code, _, stderr := call(p)
	require.Equal(t, 0, code, stderr)
	require.Equal(t, []string{"start", "wait", "stop"}, *did)

	p, _ = program(1, nil, nil)
	code, _, _ = call(p)
	require.Equal(t, 1, code, "a service that ended by itself says so")

	p, did = program(0, errors.New("port taken"), nil)
	code, _, stderr = call(p)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "port taken")
	require.Equal(t, []string{"start"}, *did)

	p, _ = program(0, nil, context.DeadlineExceeded)
	code, _, stderr = call(p)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "stop incomplete")
}

// A signal that comes while the service is being put together or started stops it
// as any other does, with exit code 0.
func TestASignalDuringTheStart(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, during := range []string{"new", "start"} {
		p, did := program(0, nil, nil)
		interrupt := func(at string) {
			if at == during {
				require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
			}
		}
		waiting := make(chan struct{})
		t.Cleanup(func() { close(waiting) })
		p.New = func() (App, error) {
			interrupt("new")
			return App{
				Start: func(context.Context) error { interrupt("start"); *did = append(*did, "start"); return nil },
				Wait:  func() int { <-waiting; return 1 },
				Stop:  func(context.Context) error { *did = append(*did, "stop"); return nil },
			}, nil
		}
		code, _, stderr := call(p)
		require.Equal(t, 0, code, stderr)
		require.Equal(t, []string{"start", "stop"}, *did)
	}
}

func TestArguments(t *testing.T) {
	t.Chdir(t.TempDir())
	p, did := program(0, nil, nil)
	code, stdout, _ := call(p, "--help")
	require.Equal(t, 0, code)
	require.Regexp(t, `ADMIN_ADDR +127\.0\.0\.1:1 `, stdout, "the default of this service")
	code, stdout, _ = call(p, "--version")
	require.Equal(t, 0, code)
	require.Contains(t, stdout, "nothing ")
	code, _, stderr := call(p, "--nonsense")
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "--help")
	code, _, _ = call(p, "--help", "--version")
	require.Equal(t, 2, code)
	t.Setenv("TEST_COUNT", "many")
	code, _, stderr = call(p)
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "TEST_COUNT")
	require.Empty(t, *did)
}

func TestMetricsNameTheBuild(t *testing.T) {
	families, err := NewMetrics("test").Gather()
	require.NoError(t, err)
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	require.Subset(t, names, []string{"orderhub_build_info", "go_goroutines", "process_cpu_seconds_total"})
}

func TestHealthcheckAsksTheRunningService(t *testing.T) {
	t.Chdir(t.TempDir())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ready := false
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !ready {
			http.Error(w, "the database is away", http.StatusServiceUnavailable)
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	defer func() { _ = server.Close(); <-done }()
	t.Setenv("ADMIN_ADDR", listener.Addr().String())
	p, did := program(0, nil, nil)
	code, _, stderr := call(p, "--healthcheck")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "the database is away")
	ready = true
	code, _, _ = call(p, "--healthcheck")
	require.Equal(t, 0, code)
	require.Empty(t, *did)
}
