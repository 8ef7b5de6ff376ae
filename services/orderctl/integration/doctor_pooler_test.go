package integration

import (
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

// pooler stands for a pooler, such as PgBouncer, in front of a database. In transaction
// mode a client has a session of the server only during a transaction, otherwise until it
// leaves. Notifications get lost in both. It returns the URL for clients.
func pooler(t *testing.T, database string, transactionMode bool) string {
	t.Helper()
	p := &standInPooler{transactionMode: transactionMode}
	for range 8 {
		conn, err := pgconn.Connect(t.Context(), database)
		require.NoError(t, err)
		session, err := conn.Hijack()
		require.NoError(t, err)
		t.Cleanup(func() { _ = session.Conn.Close() })
		p.free = append(p.free, session)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	u, err := url.Parse(database)
	require.NoError(t, err)
	u.Host = listener.Addr().String()
	return u.String()
}

type standInPooler struct {
	transactionMode bool

	mu   sync.Mutex
	free []*pgconn.HijackedConn
}

// take takes the session that was given back last, as PgBouncer does.
func (p *standInPooler) take() *pgconn.HijackedConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	session := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return session
}

func (p *standInPooler) give(session *pgconn.HijackedConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, session)
}

func (p *standInPooler) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	client := pgproto3.NewBackend(conn, conn)
	if _, err := client.ReceiveStartupMessage(); err != nil {
		return
	}
	client.Send(&pgproto3.AuthenticationOk{})
	client.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	client.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
	client.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	client.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	var session *pgconn.HijackedConn
	for client.Flush() == nil {
		message, err := client.Receive()
		if err != nil {
			break
		}
		if _, ends := message.(*pgproto3.Terminate); ends {
			break
		}
		if session == nil {
			session = p.take()
		}
		session.Frontend.Send(message)
		if session.Frontend.Flush() != nil {
			return
		}
		switch message.(type) {
		case *pgproto3.Query, *pgproto3.Sync:
			for ready := false; !ready; {
				answer, err := session.Frontend.Receive()
				if err != nil {
					return
				}
				client.Send(answer)
				status, isReady := answer.(*pgproto3.ReadyForQuery)
				if ready = isReady; ready && p.transactionMode && status.TxStatus == 'I' {
					p.give(session)
					session = nil
				}
			}
		}
	}
	if session != nil {
		p.give(session)
	}
}
