package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/process"
)

// TestURLVariable is the environment variable that names a server for [ForTest]
// to use instead of starting one. Its role must be allowed to create databases and roles.
const TestURLVariable = "TEST_DATABASE_URL"

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
	serverURL, adminURL, err := sharedURLs(ctx)
	require.NoError(tb, err)
	name := "test_" + strings.ToLower(rand.Text())
	require.NoError(tb, Execute(ctx, serverURL, `CREATE DATABASE `+name))
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := Execute(ctx, adminURL, `DROP DATABASE `+name+` WITH (FORCE)`, fmt.Sprintf(dropRoles, name)); err != nil {
			tb.Logf("drop the test's database and its roles: %v", err)
		}
	})
	return AtDatabase(serverURL, name)
}

// dropRoles drops the roles whose names begin with that of a database.
const dropRoles = `DO $$ DECLARE r text; BEGIN
	FOR r IN SELECT rolname FROM pg_roles WHERE rolname ~ '^%s_' LOOP EXECUTE format('DROP OWNED BY %%1$I; DROP ROLE %%1$I', r); END LOOP; END $$`

// AdminForTest returns the URL of a database of [ForTest] for a superuser, or for the
// user in TestURLVariable.
func AdminForTest(tb testing.TB, databaseURL string) string {
	tb.Helper()
	_, adminURL, err := sharedURLs(context.Background())
	require.NoError(tb, err)
	return AtDatabase(adminURL, strings.TrimPrefix(parse(databaseURL).Path, "/"))
}

// RolesForTest makes Orderhub's roles for a database of [ForTest], with the database's name
// as their prefix, and returns the database's URL for each of them. The user in
// databaseURL becomes a member of all of them.
func RolesForTest(tb testing.TB, databaseURL string) map[migrations.Role]string {
	tb.Helper()
	ctx, adminURL, own := context.Background(), AdminForTest(tb, databaseURL), parse(databaseURL)
	owner, prefix := own.User.Username(), strings.TrimPrefix(own.Path, "/")
	urls, err := MakeRoles(ctx, adminURL, prefix)
	require.NoError(tb, err)
	require.NoError(tb, Execute(ctx, adminURL, fmt.Sprintf("GRANT %s_migrate, %[1]s_writer, %[1]s_reader, %[1]s_operator TO %s", prefix, owner)))
	return urls
}

// ServerForTest starts a server that the test has to itself, to be stopped,
// killed, paused and restarted at will. It ends with the test.
func ServerForTest(tb testing.TB, options Options) *Server {
	tb.Helper()
	server, err := Start(context.Background(), options)
	require.NoError(tb, err)
	stopAfter(tb, server)
	return server
}

// StandbyForTest is ServerForTest for a standby of another server; see
// [Server.StartStandby], and [process.SkipForTest] where that can't be.
func StandbyForTest(tb testing.TB, primary *Server, options Options) *Server {
	tb.Helper()
	primary.NeedForTest(tb, "pg_basebackup")
	standby, err := primary.StartStandby(context.Background(), options)
	require.NoError(tb, err)
	stopAfter(tb, standby)
	return standby
}

// NeedForTest returns the path of one of PostgreSQL's programs. Where it is missing,
// see [process.SkipForTest].
func (s *Server) NeedForTest(tb testing.TB, program string) string {
	tb.Helper()
	path, err := s.Program(program)
	if err != nil {
		process.SkipForTest(tb, err.Error())
	}
	return path
}

func stopAfter(tb testing.TB, server *Server) {
	tb.Helper()
	tb.Cleanup(func() {
		_ = server.Resume() // a paused server wouldn't stop; one that has ended is none to resume
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		assert.NoError(tb, server.Stop(ctx))
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

// sharedURLs are those of the tests' server, for the owner of databases and for who may
// make roles.
func sharedURLs(ctx context.Context) (owner, admin string, err error) {
	if given := os.Getenv(TestURLVariable); given != "" {
		return given, given, nil
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		server, err := Start(ctx, Options{Unsafe: true, Settings: map[string]string{"max_connections": "300"}})
		if err != nil {
			return "", "", err
		}
		shared.server = server
	}
	return shared.server.URL(), shared.server.AdminURL(), nil
}

// Execute runs statements one after another on a connection of their own.
func Execute(ctx context.Context, databaseURL string, statements ...string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}
