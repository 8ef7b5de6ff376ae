// Package reader_test runs the whole reader, without a process of its own, on a
// real PostgreSQL.
package reader_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/httpserver"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/read-api/internal/app"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/httpapi"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(postgres.Shared(m))
}

// patience bounds every wait. It is long for a loaded machine's sake; nothing
// waits it out but what fails.
const patience = 60 * time.Second

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, patience, 5*time.Millisecond, what)
}

// newDatabase returns the address of a database with our schema, for the tables' owner.
// Readers that start on it connect as their own role.
func newDatabase(t *testing.T) string {
	t.Helper()
	url := postgres.ForTest(t)
	migrate(t, url)
	roles.Store(url, postgres.RolesForTest(t, url)[migrations.Reader])
	return url
}

var roles sync.Map // of readers, by the address of a database

// readerOf is the address of a database for a reader.
func readerOf(url string) string {
	if role, known := roles.Load(url); known {
		return role.(string)
	}
	return url
}

func migrate(t *testing.T, url string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = migrations.Up(t.Context(), db)
	require.NoError(t, err)
}

// session is a client like psql.
type session struct {
	t    *testing.T
	conn *pgx.Conn
}

func connect(t *testing.T, url string) *session {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &session{t, conn}
}

// run executes statements, several separated by semicolons if need be.
func (s *session) run(statements string) {
	s.t.Helper()
	_, err := s.conn.PgConn().Exec(s.t.Context(), statements).ReadAll()
	require.NoError(s.t, err, statements)
}

func (s *session) insert(uids ...string) {
	s.t.Helper()
	for _, uid := range uids {
		s.run(insertOrder(uid, 2))
	}
}

// insertOrder is the SQL of a whole order. A nextval makes each insert of a uid
// differ from those before.
func insertOrder(uid string, items int) string {
	return fmt.Sprintf(`
		INSERT INTO orders VALUES ('%[1]s', 'TRACK', 'WBIL', 'en', '', 'customer "%[1]s"', 'meest', '9', nextval('version'),
			'2021-11-26 06:22:19.5+03', '1', NULL);
		INSERT INTO deliveries VALUES ('%[1]s', 'Test Testov', '+9720000000', '2639809', E'Città\n\\ "x"', 'Ploshad Mira 15', 'Kraiot', 'a@b.cc');
		INSERT INTO payments VALUES ('%[1]s', '%[1]s', '', 'USD', 'wbpay', 1817, 1637907727, 'alpha', 1500, 317, 0);
		INSERT INTO items SELECT '%[1]s', i, 9934930 + i, 'TRACK', 453, 'rid', 'Mascaras', 30, '0', 317, 2389212, 'Vivienne Sabo', 202
			FROM generate_series(0, %[2]d) i ORDER BY i DESC`, uid, items-1)
}

// withVersions adds the sequence that insertOrder uses.
func (s *session) withVersions() *session {
	s.run(`CREATE SEQUENCE IF NOT EXISTS version`)
	return s
}

// tables are the canonical JSON of all orders, as libs/orderdb reads them.
func tables(t *testing.T, db *sql.DB) map[string]string {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	rows, err := tx.QueryContext(t.Context(), `SELECT order_uid FROM orders`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	var uids []string
	for rows.Next() {
		var uid string
		require.NoError(t, rows.Scan(&uid))
		uids = append(uids, uid)
	}
	require.NoError(t, rows.Err())
	stored, err := orderdb.Read(t.Context(), tx, uids)
	require.NoError(t, err)
	all := map[string]string{}
	for uid, s := range stored {
		all[uid] = string(model.AppendCanonical(nil, s.Order))
	}
	require.Len(t, all, len(uids))
	return all
}

func openDB(t *testing.T, url string) *sql.DB {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	db := stdlib.OpenDB(*config)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// reader is a running read-api.
type reader struct {
	t       *testing.T
	app     *fxtest.App
	api     *httpserver.Server
	engine  *gin.Engine
	records *audit.Log // nil: none
	admin   *admin.Server
	cache   *cache.Cache
	loop    *cache.Reflector
	log     *observer.ObservedLogs // from info on
	stop    func()
}

// start runs a reader. Its poll hardly ever comes and its answers are never
// stale, unless change says so: what it knows, it knows from the doorbell.
func start(t *testing.T, url string, change ...func(*app.Settings)) *reader {
	t.Helper()
	settings := &app.Settings{
		Service: config.Service{
			Log: config.Log{Level: "error", Format: "console"}, AdminAddr: "127.0.0.1:0", StopTimeout: 20 * time.Second,
		},
		Database: config.Database{URL: config.Secret(readerOf(url))},
		HTTPAddr: "127.0.0.1:0", CacheCompression: "off", CacheMaxStaleness: time.Hour, SnapshotInterval: time.Hour, StreamClients: 100,
		BatchBusy: 8, BatchPeriod: 20 * time.Millisecond,
	}
	if testing.Verbose() {
		settings.Log.Level = "info"
	}
	for _, c := range change {
		c(settings)
	}
	require.NoError(t, settings.Validate())
	r := &reader{t: t}
	var observed zapcore.Core
	observed, r.log = observer.New(zap.InfoLevel)
	r.app = fxtest.New(t, app.Options(settings), fx.Populate(&r.api, &r.engine, &r.records, &r.admin, &r.cache, &r.loop),
		fx.Decorate(func(log *zap.Logger) *zap.Logger { return zap.New(zapcore.NewTee(log.Core(), observed)) }))
	r.app.RequireStart()
	stopped := false
	r.stop = func() {
		if !stopped {
			stopped = true
			http.DefaultClient.CloseIdleConnections()
			r.app.RequireStop()
		}
	}
	t.Cleanup(r.stop)
	return r
}

func staleness(d time.Duration) func(*app.Settings) {
	return func(s *app.Settings) { s.CacheMaxStaleness = d }
}

// synced waits for the first snapshot, of which streams are told a moment after readers have it.
func (r *reader) synced() *reader {
	r.t.Helper()
	eventually(r.t, "the cache is filled", func() bool { return r.log.FilterMessage("cache restored").Len() > 0 })
	return r
}

// said tells whether a line of the log, with its fields, has these words.
func (r *reader) said(words string) bool {
	for _, line := range r.log.All() {
		if strings.Contains(fmt.Sprint(line.Message, line.ContextMap()), words) {
			return true
		}
	}
	return false
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (r *reader) get(path string, header ...string) answer {
	r.t.Helper()
	return r.ask(http.MethodGet, "http://"+r.api.Addr()+path, header...)
}

func (r *reader) ask(method, url string, header ...string) answer {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, url, nil)
	require.NoError(r.t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(r.t, err)
	defer func() { require.NoError(r.t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	require.NoError(r.t, err)
	if request.URL.Host != r.admin.Addr() {
		r.described(request, response, body)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func (r *reader) stats() httpapi.Stats {
	r.t.Helper()
	var stats httpapi.Stats
	require.NoError(r.t, json.Unmarshal([]byte(r.get("/api/v1/stats").body), &stats))
	return stats
}

func (r *reader) readyz() answer {
	r.t.Helper()
	return r.ask(http.MethodGet, "http://"+r.admin.Addr()+"/readyz")
}

// differs tells how the cache differs from orders, "" if it doesn't.
func (r *reader) differs(want map[string]string) string {
	now := time.Now()
	for uid, canonical := range want {
		switch known := r.cache.Get(uid, now); {
		case !known.Found:
			return uid + " is missing"
		case !bytes.Equal(known.Bytes(), []byte(canonical)):
			return fmt.Sprintf("%s is\n%s\nand should be\n%s", uid, known.Bytes(), canonical)
		}
	}
	if held := r.cache.Stats().Orders; held != int64(len(want)) {
		return fmt.Sprintf("it holds %d orders, and there are %d", held, len(want))
	}
	return ""
}

// equals waits until the cache is what the tables are now.
func (r *reader) equals(db *sql.DB) {
	r.t.Helper()
	want := tables(r.t, db)
	if !poll(func() bool { return r.differs(want) == "" }) {
		require.Fail(r.t, "the cache is not what the tables are", r.differs(want))
	}
}

func poll(is func() bool) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if is() {
			return true
		}
	}
	return false
}
