package httpserver

import (
	"io"
	"net"
	"net/http"
	"os"
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

// stalling is a connection whose client takes a part of each write before the deadline.
type stalling struct {
	net.Conn
	takes []int
	got   int
}

func (s *stalling) SetWriteDeadline(time.Time) error { return nil }

func (s *stalling) Write(p []byte) (int, error) {
	if len(s.takes) == 0 {
		s.got += len(p)
		return len(p), nil
	}
	n := s.takes[0]
	s.takes = s.takes[1:]
	s.got += n
	return n, os.ErrDeadlineExceeded
}

func TestAWriteGoesOnWhileTheClientTakesSomething(t *testing.T) {
	s := &stalling{takes: []int{10, 1, 20}}
	n, err := (&progressConn{Conn: s}).Write(make([]byte, 100))
	require.NoError(t, err)
	require.Equal(t, 100, n)
	require.Equal(t, 100, s.got)

	s = &stalling{takes: []int{10, 0}}
	n, err = (&progressConn{Conn: s}).Write(make([]byte, 100))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Equal(t, 10, n)

	s = &stalling{takes: []int{10}}
	c := &progressConn{Conn: s}
	require.NoError(t, c.SetWriteDeadline(time.Now()))
	_, err = c.Write(make([]byte, 100))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "a handler's own deadline holds")
}

// clocked is a connection whose deadline is the last one that was set.
type clocked struct {
	net.Conn
	deadline time.Time
	set      int
	write    func(p []byte) (int, error)
}

func (c *clocked) SetWriteDeadline(t time.Time) error {
	c.deadline = t
	c.set++
	return nil
}

func (c *clocked) Write(p []byte) (int, error) { return c.write(p) }

func TestSmallWritesShareADeadlineAndEachHasTheWholePatience(t *testing.T) {
	takes := func(p []byte) (int, error) { return len(p), nil }
	inner := &clocked{write: takes}
	c := &progressConn{Conn: inner, patience: time.Hour}
	for range 100 {
		_, err := c.Write(make([]byte, 10))
		require.NoError(t, err)
		require.NoError(t, c.SetWriteDeadline(time.Time{}), "as net/http does after each request")
	}
	require.Equal(t, 1, inner.set)

	// The deadline passes early, since another write has set it: the client gets the rest.
	began, times := time.Now(), 0
	inner.write = func([]byte) (int, error) {
		if times++; times == 1 {
			return 0, os.ErrDeadlineExceeded
		}
		require.WithinRange(t, inner.deadline, began.Add(c.patience), time.Now().Add(c.patience))
		return 0, os.ErrDeadlineExceeded
	}
	_, err := c.Write(make([]byte, 10))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Equal(t, 2, times)
	inner.write = takes

	require.NoError(t, c.SetWriteDeadline(time.Now()))
	require.NoError(t, c.SetWriteDeadline(time.Time{}))
	require.Zero(t, inner.deadline, "a handler's deadline is reset")
	_, err = c.Write(make([]byte, 10))
	require.NoError(t, err)
	require.NotZero(t, inner.deadline)
}

func TestTheEndOfAnAnswerArrivesBeforeTheConnectionIsClosed(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = tcp.Close() }()
	client, err := net.Dial("tcp", tcp.Addr().String())
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	server, err := newProgressListener(tcp, time.Minute, 1, nil).Accept()
	require.NoError(t, err)
	defer func() { _ = server.Close() }()
	require.NoError(t, server.(interface{ CloseWrite() error }).CloseWrite())
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	_, err = io.WriteString(client, "x") // what the server has not read yet
	require.NoError(t, err)
	_, err = server.Read(make([]byte, 1))
	require.NoError(t, err)
}

// TestASlowClientGetsTheWholeAnswer takes several times the patience for an answer that
// fits no buffer of the kernel.
func TestASlowClientGetsTheWholeAnswer(t *testing.T) {
	const size, patience, pause = 24 << 20, time.Second, 40 * time.Millisecond
	wrote := make(chan error, 1)
	s := New(Options{Name: "API", Addr: "127.0.0.1:0", ReadTimeout: patience, Patience: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(make([]byte, size))
		wrote <- err
	})})
	require.NoError(t, s.Start(t.Context()))
	defer s.Stop()
	ask := func() net.Conn {
		conn, err := net.Dial("tcp", s.Addr())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		return conn
	}
	conn := ask()
	began, got, buffer := time.Now(), 0, make([]byte, 256<<10)
	for {
		n, err := io.ReadFull(conn, buffer)
		got += n
		if err != nil {
			break
		}
		time.Sleep(pause) // a slow client is what this is about
	}
	require.NoError(t, <-wrote)
	require.Greater(t, got, size)
	require.Greater(t, time.Since(began), 2*patience, "slow enough to be cut by a time-out of the whole answer")

	ask() // and read nothing
	require.ErrorIs(t, <-wrote, os.ErrDeadlineExceeded)
}
