package reader_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
)

// faultsPage is where the API's answers in trouble are written down.
const faultsPage = "../../../../docs/faults.md"

// questions are the page's columns, and how each is asked.
var questions = []struct{ column, path, header, value string }{
	{"order in memory", "/order/kept", "", ""},
	{"no such order", "/order/unknown", "", ""},
	{"`no-cache`", "/order/kept", "Cache-Control", "no-cache"},
	{"list", "/api/v1/orders?amount_max=", "", ""},
	{"suggestions", "/api/v1/suggest?q=kept", "", ""},
	{"new stream", streamPath, "", ""},
	{"resumed stream", streamPath, "Last-Event-ID", ""},
}

const streamPath = "/api/v1/orders/stream"

// documented is a line of the page's table, by column.
func documented(t *testing.T, fault string) map[string]string {
	t.Helper()
	page, err := os.ReadFile(faultsPage)
	require.NoError(t, err)
	var columns []string
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch cells[0] {
		case "PostgreSQL is":
			columns = cells
		case fault:
			require.Len(t, cells, len(columns), "the table's line %q", fault)
			answers := map[string]string{}
			for i, column := range columns[1:] {
				answers[column] = cells[i+1]
			}
			require.Len(t, answers, len(questions))
			return answers
		}
	}
	require.Fail(t, "the page has no such line", fault)
	return nil
}

// ask asks one of the questions, and says the answer in the page's words.
func (r *reader) askInTrouble(column, path, header, value string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.api.Addr()+path, nil)
	require.NoError(r.t, err)
	if header != "" {
		request.Header.Set(header, value)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(r.t, err, column)
	defer func() { _ = response.Body.Close() }() // of a stream, it is cut off
	switch response.StatusCode {
	case http.StatusOK:
		if response.Header.Get("Age") != "" {
			require.NotEmpty(r.t, response.Header.Get("X-Orderhub-Staleness"), column)
			return "200 stale"
		}
	case http.StatusNotFound, http.StatusServiceUnavailable:
		var problem struct{ Type string }
		require.NoError(r.t, json.NewDecoder(response.Body).Decode(&problem), column)
		if response.StatusCode == http.StatusNotFound {
			require.Equal(r.t, "/problems/order-not-found", problem.Type, column)
			break
		}
		require.Equal(r.t, "/problems/unavailable", problem.Type, column)
		require.NotEmpty(r.t, response.Header.Get("Retry-After"), column)
	}
	return fmt.Sprint(response.StatusCode)
}

// answersAs holds the API against a line of the page, all questions at once, as
// long as it takes for the fault to show.
func (r *reader) answersAs(fault, lastID string) {
	r.t.Helper()
	want := documented(r.t, fault)
	got, asked := map[string]string{}, time.Now().UnixMicro()
	same := poll(func() bool {
		var all sync.WaitGroup
		var mu sync.Mutex
		for _, q := range questions {
			switch {
			case q.header == "Last-Event-ID":
				q.value = lastID
			case strings.HasSuffix(q.path, "="): // one that nobody has asked for
				asked++
				q.path += fmt.Sprint(asked)
			}
			all.Go(func() {
				answer := r.askInTrouble(q.column, q.path, q.header, q.value)
				mu.Lock()
				defer mu.Unlock()
				got[q.column] = answer
			})
		}
		all.Wait()
		for column := range want {
			if got[column] != want[column] {
				return false
			}
		}
		return true
	})
	if !same {
		require.Equal(r.t, want, got, fault)
	}
	require.Equal(r.t, 200, r.get("/api/v1/stats").status)
	require.Equal(r.t, 200, r.readyz().status, "hits are served")
}

// watched is a reader of its own server, with an order, an open stream, and
// somebody who never stops asking: whatever happens, no answer that he gets may
// be wrong.
type watched struct {
	*reader
	server *postgres.Server
	client *session
	open   *listener
	lastID string
}

func watch(t *testing.T, options postgres.Options, through func(address string) string) *watched {
	t.Helper()
	options.Unsafe = true
	server := postgres.ServerForTest(t, options)
	migrate(t, server.URL())
	w := &watched{server: server, client: connect(t, server.URL()).withVersions()}
	w.client.insert("kept")
	w.reader = start(t, through(server.URL()), staleness(500*time.Millisecond)).synced()
	w.open = w.listen("", "")
	w.lastID = w.open.id()
	w.answersAs("well", w.lastID)

	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			for path, right := range map[string][]int{"/order/kept": {200}, "/order/unknown": {404, 503}} {
				response, err := http.Get("http://" + w.api.Addr() + path)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					continue
				}
				_ = response.Body.Close()
				if response.StatusCode != right[0] && response.StatusCode != right[len(right)-1] {
					t.Errorf("%s was answered with %d", path, response.StatusCode)
				}
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
	return w
}

func straight(address string) string { return address }

// goesOn changes something, and expects the open stream and one that resumes
// from before the fault to tell of it.
func (w *watched) goesOn(uid string) {
	w.t.Helper()
	connect(w.t, w.server.URL()).insert(uid)
	for w.open.next().uid(w.t) != uid {
	}
	resumed := w.listen("", w.lastID)
	for resumed.next().uid(w.t) != uid {
	}
	resumed.close()
}

func TestAPIWhilePostgresIsKilled(t *testing.T) {
	w := watch(t, postgres.Options{}, straight)
	require.NoError(t, w.server.Kill())
	w.answersAs("killed", w.lastID)
	require.Equal(t, 304, w.get("/order/kept", "If-None-Match", w.get("/order/kept").header.Get("ETag")).status)
	require.NoError(t, w.server.Restart(context.Background()))
	w.answersAs("restarted", w.lastID)
	w.goesOn("after")
}

func TestAPIWhilePostgresIsFrozen(t *testing.T) {
	w := watch(t, postgres.Options{}, straight)
	require.NoError(t, w.server.Pause())
	w.answersAs("frozen", w.lastID)
	require.NoError(t, w.server.Resume())
	w.answersAs("well", w.lastID)
	w.goesOn("after")
}

func TestAPIWhilePostgresIsRestarted(t *testing.T) {
	w := watch(t, postgres.Options{}, straight)
	require.NoError(t, w.server.Restart(context.Background()))
	w.answersAs("restarted", w.lastID)
	w.goesOn("after")
}

func TestAPIWhilePostgresIsSlow(t *testing.T) {
	var between *proxy.Proxy
	w := watch(t, postgres.Options{}, func(address string) string {
		u, err := url.Parse(address)
		require.NoError(t, err)
		between, err = proxy.Start(u.Host, proxy.Postgres)
		require.NoError(t, err)
		t.Cleanup(between.Close)
		u.Host = between.Addr()
		u.RawQuery = "sslmode=disable"
		return u.String()
	})
	between.Delay(10 * time.Millisecond) // each way
	w.answersAs("slow", w.lastID)
	w.goesOn("slowly")
	between.Delay(1500 * time.Millisecond)
	w.answersAs("too slow", w.lastID)
	between.Delay(0)
	w.answersAs("well", w.lastID)
	w.goesOn("quickly")
}

func TestAPIWhilePostgresIsOutOfConnections(t *testing.T) {
	w := watch(t, postgres.Options{Settings: map[string]string{"max_connections": "40"}}, straight)
	admin, err := pgx.Connect(t.Context(), w.server.AdminURL())
	require.NoError(t, err)
	defer func() { _ = admin.Close(context.Background()) }()
	var taken []*pgx.Conn
	take := func() {
		for {
			conn, err := pgx.Connect(t.Context(), w.server.URL())
			var refused *pgconn.PgError
			if errors.As(err, &refused) && strings.HasPrefix(refused.Code, "53") {
				return
			}
			require.NoError(t, err)
			taken = append(taken, conn)
		}
	}
	take()
	// The reader's connections for questions go, and their places are taken.
	_, err = admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'read-api'`)
	require.NoError(t, err)
	take()
	w.answersAs("out of connections", w.lastID)
	w.client.insert("meanwhile")
	for w.open.next().uid(t) != "meanwhile" {
	}
	for _, conn := range taken {
		require.NoError(t, conn.Close(t.Context()))
	}
	w.answersAs("well", w.lastID)
	w.goesOn("after")
}

func TestAPIWhilePostgresIsReadOnly(t *testing.T) {
	w := watch(t, postgres.Options{}, straight)
	w.client.run(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$;
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'read-api%'`)
	_, err := connect(t, w.server.URL()).conn.Exec(t.Context(), `DELETE FROM orders`)
	require.ErrorContains(t, err, "read-only")
	w.answersAs("read-only", w.lastID)
	w.client.insert("insisted") // the session is from before
	for w.open.next().uid(t) != "insisted" {
	}
}
