package proxy

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Shared(m)) }

// echo answers each request with its own bytes, and tells which it got.
func echo(t *testing.T) (addr string, got <-chan []byte) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	requests := make(chan []byte, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				for {
					b, err := receive(conn)
					if err != nil {
						return
					}
					requests <- b
					if _, err := conn.Write(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String(), requests
}

func receive(conn net.Conn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, 4+binary.BigEndian.Uint32(size[:]))
	copy(b, size[:])
	_, err := io.ReadFull(conn, b[4:])
	return b, err
}

func request(key int16, size int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(2+size))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	return append(b, make([]byte, size)...)
}

func start(t *testing.T) (p *Proxy, dial func() net.Conn, got <-chan []byte) {
	t.Helper()
	upstream, got := echo(t)
	p, err := Start(upstream, Kafka)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p, func() net.Conn {
		conn, err := net.Dial("tcp", p.Addr())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}, got
}

func requirePasses(t *testing.T, conn net.Conn, request []byte) {
	t.Helper()
	_, err := conn.Write(request)
	require.NoError(t, err)
	answer, err := receive(conn)
	require.NoError(t, err)
	require.Equal(t, request, answer)
}

func requireCut(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := receive(conn)
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestRequestsPassWholeAndInParts(t *testing.T) {
	p, dial, _ := start(t)
	p.Delay(time.Millisecond)
	conn := dial()
	requirePasses(t, conn, request(1, 0))
	requirePasses(t, conn, request(2, 200_000))
	two := append(request(3, 5), request(4, 7)...)
	for _, b := range two {
		_, err := conn.Write([]byte{b})
		require.NoError(t, err)
	}
	first, err := receive(conn)
	require.NoError(t, err)
	second, err := receive(conn)
	require.NoError(t, err)
	require.Equal(t, two, append(first, second...))
}

func TestCutResetsWhatIsThereAndRefuseWhatComes(t *testing.T) {
	p, dial, _ := start(t)
	conn := dial()
	requirePasses(t, conn, request(1, 1))
	p.Cut()
	requireCut(t, conn)
	requirePasses(t, dial(), request(1, 1))
	p.Refuse(true)
	requireCut(t, dial())
	p.Refuse(false)
	requirePasses(t, dial(), request(1, 1))
}

func TestASilencedConnectionStaysOpen(t *testing.T) {
	p, dial, got := start(t)
	conn := dial()
	requirePasses(t, conn, request(1, 1))
	<-got
	p.Silence()
	_, err := conn.Write(request(2, 1))
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err = receive(conn)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	requirePasses(t, dial(), request(3, 1))
	require.Equal(t, request(3, 1), <-got, "the silenced request never arrived")
	require.NoError(t, conn.Close())
	require.Len(t, p.all(), 2, "the server is not told that the client has gone")
}

func TestATrapCutsBeforeOrAfterTheServerHasTheRequest(t *testing.T) {
	p, dial, got := start(t)
	p.Set(Trap{Match: KafkaKey(8)})
	conn := dial()
	requirePasses(t, conn, request(1, 1))
	<-got
	_, err := conn.Write(request(8, 1))
	require.NoError(t, err)
	requireCut(t, conn)
	require.Empty(t, got)
	require.Equal(t, 1, p.Sprung())

	p.Set(Trap{Match: KafkaKey(8), Effect: LoseAnswer})
	conn = dial()
	_, err = conn.Write(request(8, 2))
	require.NoError(t, err)
	requireCut(t, conn)
	require.Equal(t, request(8, 2), <-got)
	require.Equal(t, 2, p.Sprung())
	requirePasses(t, dial(), request(8, 1))
}

func TestACommitIsDoneThoughItsAnswerIsLost(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	url := postgres.ForTest(t)
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	direct, err := pgx.ConnectConfig(ctx, config)
	require.NoError(t, err)
	defer func() { _ = direct.Close(ctx) }()
	_, err = direct.Exec(ctx, `CREATE TABLE t (n int)`)
	require.NoError(t, err)

	p, err := Start(net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), Postgres)
	require.NoError(t, err)
	defer p.Close()
	insert := func(n int) error {
		proxied := config.Copy()
		proxied.Port = uint16(p.listener.Addr().(*net.TCPAddr).Port)
		conn, err := pgx.ConnectConfig(ctx, proxied)
		require.NoError(t, err)
		defer func() { _ = conn.Close(ctx) }()
		tx, err := conn.Begin(ctx)
		require.NoError(t, err)
		_, err = tx.Exec(ctx, `INSERT INTO t VALUES ($1)`, n)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return tx.Commit(ctx)
	}
	require.NoError(t, insert(1))
	p.Set(Trap{Match: PostgresCommit})
	require.Error(t, insert(2))
	p.Set(Trap{Match: PostgresCommit, Effect: LoseAnswer})
	require.Error(t, insert(3))
	require.NoError(t, insert(4))
	p.Set(Trap{Match: PostgresCommit, Effect: FallSilent})
	require.Error(t, insert(5))
	rows, err := direct.Query(ctx, `SELECT n FROM t ORDER BY n`)
	require.NoError(t, err)
	there, err := pgx.CollectRows(rows, pgx.RowTo[int])
	require.NoError(t, err)
	require.Equal(t, []int{1, 3, 4}, there)
}
