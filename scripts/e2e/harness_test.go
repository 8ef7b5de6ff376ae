// Package e2e runs the real binaries from Kafka to the browser.
package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/binaries"
)

// programs is the folder of the binaries under test, built once.
var programs string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "orderhub-e2e-")
	if err == nil {
		programs = folder
		err = binaries.Build(folder)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the binaries cannot be built:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(postgres.Shared(m), goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(folder)
		os.Exit(code)
	}))
}

// deadline bounds every wait; nothing is expected to take long.
const deadline = 60 * time.Second

// pipeline is a broker and a database, and the processes started on them.
type pipeline struct {
	t        *testing.T
	ctx      context.Context
	env      []string
	brokers  string
	database string // URL for the tables' owner
	db       *sql.DB
	roles    map[string]string // URL for each program's role, if they have one
}

// newPipeline is one whose programs connect as their own roles.
func newPipeline(t *testing.T) *pipeline {
	t.Helper()
	p := newPipelineOn(t, postgres.ForTest(t))
	own, err := url.Parse(p.database)
	require.NoError(t, err)
	prefix := strings.TrimPrefix(own.Path, "/")
	command := []string{"migrate", "roles", "--prefix", prefix}
	p.roles = map[string]string{}
	for program, role := range map[string]string{"ingest-worker": "writer", "read-api": "reader", "orderctl": "operator"} {
		password, file := rand.Text(), filepath.Join(t.TempDir(), role)
		require.NoError(t, os.WriteFile(file, []byte(password+"\n"), 0o600))
		command = append(command, "--"+role+"-password-file", file)
		own.User = url.UserPassword(prefix+"_"+role, password)
		p.roles[program] = "DATABASE_URL=" + own.String()
	}
	env := p.env
	p.env = append(slices.Clone(env), "DATABASE_URL="+postgres.AdminForTest(t, p.database))
	p.orderctl("", command...)
	p.env = append(slices.Clone(env), p.roles["orderctl"])
	return p
}

// newPipelineOn is on a database of the test's own.
func newPipelineOn(t *testing.T, database string) *pipeline {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*deadline)
	t.Cleanup(cancel)
	db, err := sql.Open("pgx", database)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	brokers := broker.ForTest(t).Addr()
	p := &pipeline{t: t, ctx: ctx, brokers: brokers, database: database, db: db, env: append(os.Environ(),
		"KAFKA_BROKERS="+brokers, "DATABASE_URL="+database, "KAFKA_SESSION_TIMEOUT=6s", "GO_DOTENV_PATH=")}
	p.orderctl("", "migrate")
	return p
}

// orderctl runs a command of the tool and returns what it printed.
func (p *pipeline) orderctl(stdin string, args ...string) string {
	p.t.Helper()
	cmd := exec.CommandContext(p.ctx, filepath.Join(programs, "orderctl"), args...)
	cmd.Env, cmd.Dir, cmd.Stdin = p.env, p.t.TempDir(), strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(p.t, cmd.Run(), "orderctl %s: %s", strings.Join(args, " "), &stderr)
	return stdout.String()
}

// process is a running service.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	addr  string // of its HTTP port, for a reader
	admin string
	log   syncBuffer
	once  sync.Once
}

func (p *pipeline) worker() *process { return p.start("ingest-worker") }

func (p *pipeline) reader() *process { return p.start("read-api") }

// console runs the dead-letter console with further settings.
func (p *pipeline) console(settings ...string) *process {
	p.t.Helper()
	settings = append(settings, "ORDERHUB_AUDIT_FILE="+filepath.Join(p.t.TempDir(), "audit.jsonl"))
	s := p.run("orderctl", settings, "dlq", "ui")
	p.eventually("the console is ready", func() (bool, string) {
		status, _, body := s.get("/healthz")
		return status == http.StatusOK, body + s.log.String()
	})
	return s
}

// start runs a service until the end of the test and waits until it is ready.
func (p *pipeline) start(name string) *process {
	p.t.Helper()
	s := p.run(name, nil)
	p.eventually(name+" is ready", func() (bool, string) {
		status, _, body := fetch(p.t, http.MethodGet, "http://"+s.admin+"/readyz", nil)
		return status == http.StatusOK, body + s.log.String()
	})
	return s
}

func (p *pipeline) run(name string, settings []string, args ...string) *process {
	p.t.Helper()
	s := &process{t: p.t, addr: freeAddr(p.t), admin: freeAddr(p.t)}
	s.cmd = exec.Command(filepath.Join(programs, name), args...)
	s.cmd.Env = append(append(slices.Clone(p.env), "HTTP_ADDR="+s.addr, "ADMIN_ADDR="+s.admin), settings...)
	if role, own := p.roles[name]; own {
		s.cmd.Env = append(s.cmd.Env, role)
	}
	s.cmd.Dir = p.t.TempDir()
	s.cmd.Stderr = &s.log
	require.NoError(p.t, s.cmd.Start())
	p.t.Cleanup(func() { s.stop(syscall.SIGTERM) })
	return s
}

// stop ends the service and, for a signal that asks politely, checks that it
// says it ended well.
func (s *process) stop(signal syscall.Signal) {
	s.t.Helper()
	s.once.Do(func() {
		require.NoError(s.t, s.cmd.Process.Signal(signal))
		err := s.cmd.Wait()
		if signal != syscall.SIGKILL {
			require.NoError(s.t, err, "%s", &s.log)
		}
	})
}

func (s *process) get(path string, headers ...string) (status int, header http.Header, body string) {
	s.t.Helper()
	return fetch(s.t, http.MethodGet, "http://"+s.addr+path, headers)
}

// fetch makes a request; status 0 means that nobody answers.
func fetch(t *testing.T, method, url string, headers []string) (status int, header http.Header, body string) {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Set(name, value)
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, answer.Header, string(data)
}

var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// seen waits until the reader gives an order as wanted; "" means not found.
func (p *pipeline) seen(reader *process, uid, want string) {
	p.t.Helper()
	p.eventually("the reader has "+uid, func() (bool, string) {
		status, _, body := reader.get("/order/" + uid)
		if want == "" {
			return status == http.StatusNotFound, body
		}
		return status == http.StatusOK && body == want, fmt.Sprint(status, " ", body)
	})
}

func (p *pipeline) eventually(what string, holds func() (bool, string)) {
	p.t.Helper()
	until := time.Now().Add(deadline)
	var detail string
	for time.Now().Before(until) {
		var ok bool
		if ok, detail = holds(); ok {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.t.Fatalf("waited %s in vain until %s: %s", deadline, what, detail)
}

func (p *pipeline) exec(query string, args ...any) {
	p.t.Helper()
	_, err := p.db.ExecContext(p.ctx, query, args...)
	require.NoError(p.t, err)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	port, err := ports.Free()
	require.NoError(t, err)
	return ports.Loopback(port)
}

func sample(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(data)
}

func canonical(t *testing.T, record string) string {
	t.Helper()
	decoded, err := model.New(model.Options{}).Decode([]byte(record))
	require.NoError(t, err)
	return string(model.AppendCanonical(nil, decoded.Order))
}

// syncBuffer takes a process's output while a test may look at it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
