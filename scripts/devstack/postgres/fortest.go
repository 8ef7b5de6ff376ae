package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestURLVariable is the environment variable that names a server for [ForTest]
// to use instead of starting one. Its role must be allowed to create databases.
const TestURLVariable = "TEST_DATABASE_URL"

// shared is the server of this test binary.
var shared struct {
	sync.Mutex
	server *Server
}

// ForTest returns the URL of a fresh, empty database, dropped at the end of
// the test. All tests of a binary share one server, started by the first of
// them; see [Shared] for its end. It is an [Options.Unsafe] one.
func ForTest(tb testing.TB) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	serverURL, err := sharedURL(ctx)
	if err != nil {
		tb.Fatalf("PostgreSQL for tests: %v", err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	if err := execute(ctx, serverURL, `CREATE DATABASE `+name); err != nil {
		tb.Fatalf("create a database for the test: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := execute(ctx, serverURL, `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			tb.Logf("drop the test's database: %v", err)
		}
	})
	databaseURL, err := url.Parse(serverURL)
	if err != nil {
		tb.Fatalf("%s: %v", TestURLVariable, err)
	}
	databaseURL.Path = "/" + name
	return databaseURL.String()
}

// ServerForTest starts a server that the test has to itself, to be stopped,
// killed, paused and restarted at will. It ends with the test.
func ServerForTest(tb testing.TB, options Options) *Server {
	tb.Helper()
	server, err := Start(context.Background(), options)
	if err != nil {
		tb.Fatalf("PostgreSQL for the test: %v", err)
	}
	stopAfter(tb, server)
	return server
}

// StandbyForTest is ServerForTest for a standby of another server; see
// [Server.StartStandby]. The test is skipped where that can't be, or fails where
// StrictVariable is 1.
func StandbyForTest(tb testing.TB, primary *Server, options Options) *Server {
	tb.Helper()
	primary.NeedForTest(tb, "pg_basebackup")
	standby, err := primary.StartStandby(context.Background(), options)
	if err != nil {
		tb.Fatalf("PostgreSQL for the test: %v", err)
	}
	stopAfter(tb, standby)
	return standby
}

// StrictVariable is the environment variable that, when 1, has tests fail for
// what the machine lacks, instead of being skipped.
const StrictVariable = "ORDERHUB_TEST_STRICT"

// NeedForTest returns the path of one of PostgreSQL's programs. The test is
// skipped where it is missing, or fails where StrictVariable is 1.
func (s *Server) NeedForTest(tb testing.TB, program string) string {
	tb.Helper()
	path, err := s.Program(program)
	switch {
	case err == nil:
		return path
	case os.Getenv(StrictVariable) == "1":
		tb.Fatal(err)
	default:
		_, _ = fmt.Fprintf(os.Stderr, "%s IS SKIPPED: %v\n", tb.Name(), err)
		tb.Skip(err)
	}
	return ""
}

func stopAfter(tb testing.TB, server *Server) {
	tb.Helper()
	tb.Cleanup(func() {
		_ = server.Resume() // a paused server wouldn't stop; one that has ended is none to resume
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			tb.Errorf("stop PostgreSQL: %v", err)
		}
	})
}

// Runner is what runs a package's tests: [*testing.M].
type Runner interface{ Run() int }

// Shared wraps m so that the server that ForTest started is stopped after the
// tests. It fits goleak as well as a plain TestMain:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Shared(m)) }
//	func TestMain(m *testing.M) { os.Exit(postgres.Shared(m).Run()) }
//
// Without it the server ends with the process all the same, but leaves a
// folder that the next start removes.
func Shared(m Runner) Runner { return sharedRunner{m} }

type sharedRunner struct{ tests Runner }

func (r sharedRunner) Run() int {
	code := r.tests.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return code
	}
	if err := shared.server.Stop(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "stop the tests' PostgreSQL:", err)
		code = max(code, 1)
	}
	shared.server = nil
	return code
}

func sharedURL(ctx context.Context) (string, error) {
	if given := os.Getenv(TestURLVariable); given != "" {
		return given, nil
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		server, err := Start(ctx, Options{Unsafe: true, Settings: map[string]string{"max_connections": "300"}})
		if err != nil {
			return "", err
		}
		shared.server = server
	}
	return shared.server.URL(), nil
}

func execute(ctx context.Context, databaseURL, statement string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, statement)
	return err
}
