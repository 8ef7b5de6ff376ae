package httpserver

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func get(t *testing.T, s *Server) string {
	t.Helper()
	response, err := http.Get("http://" + s.Addr() + "/")
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

func hello() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
}

func TestStartAndStopInAnyOrder(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	s := New(Options{Name: "API", Addr: "127.0.0.1:0", Handler: hello()})
	require.Empty(t, s.Addr())
	require.NoError(t, s.Start(t.Context()))
	require.Equal(t, "hello", get(t, s))
	require.ErrorIs(t, s.Start(t.Context()), ErrState)
	s.Stop()
	s.Stop()
	_, err := net.Dial("tcp", s.Addr())
	require.Error(t, err)

	never := New(Options{Name: "API", Addr: "127.0.0.1:0", Handler: hello()})
	never.Stop()
	require.ErrorIs(t, never.Start(t.Context()), ErrState)
}

func TestATakenPortIsAnErrorOfStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	s := New(Options{Name: "API", Setting: "HTTP_ADDR", Addr: taken.Addr().String(), Handler: hello()})
	require.ErrorContains(t, s.Start(t.Context()), "HTTP_ADDR: cannot listen on "+taken.Addr().String())
}

func TestAListenerThatBreaksIsReported(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	died := make(chan error, 1)
	s := New(Options{Name: "API", Listener: listener, Handler: hello(), Died: func(err error) { died <- err }})
	require.NoError(t, s.Start(t.Context()))
	require.NoError(t, listener.Close())
	require.ErrorContains(t, <-died, "API stopped serving")
	s.Stop()
}

func TestStopEndsRequestsThatWouldNotEnd(t *testing.T) {
	for name, cooperative := range map[string]bool{"told by OnStop": true, "cut off after StopTimeout": false} {
		t.Run(name, func(t *testing.T) {
			entered, told := make(chan struct{}), make(chan struct{})
			s := New(Options{
				Name: "API", Addr: "127.0.0.1:0", StopTimeout: map[bool]time.Duration{true: time.Minute, false: time.Millisecond}[cooperative],
				OnStop: func() { close(told) },
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					close(entered)
					if cooperative {
						<-told
						_, _ = io.WriteString(w, "finished")
						return
					}
					<-r.Context().Done()
				}),
			})
			require.NoError(t, s.Start(t.Context()))
			conn, err := net.Dial("tcp", s.Addr())
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			require.NoError(t, err)
			<-entered
			s.Stop()
			answer, _ := io.ReadAll(conn)
			require.Equal(t, cooperative, strings.HasSuffix(string(answer), "finished"), string(answer))
		})
	}
}
