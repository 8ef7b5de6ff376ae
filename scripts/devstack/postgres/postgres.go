// Package postgres runs a private PostgreSQL server on loopback, from binaries
// that the machine has or that are fetched once, for `make run` and for tests.
//
// The server stops with [Server.Stop], and shuts down by itself when this process
// dies, even by SIGKILL. The next Start on the same data folder finds its data.
//
// PostgreSQL refuses to run as root. Where this process is root, the server
// runs as the user that owns the data, or else as "postgres", or else as
// "nobody"; see [Options.DataDir] for where its data lies then.
//
// There are two roles. "orders" owns the database of that name and may make
// further ones, but is no superuser: its password is known to everybody, and a
// superuser can run programs. The superuser's password is made at random and
// kept in the data folder; [Server.AdminURL] has it.
package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

const (
	startTimeout = 4 * time.Minute  // on a busy machine, initdb or crash recovery included
	stopTimeout  = 20 * time.Second // for callers whose context has no deadline
)

// Options say where and how a server runs. The zero value is a server on a free
// port whose data is removed when it stops.
type Options struct {
	// DataDir is the folder for everything that the server keeps. "" means a
	// temporary folder, removed by Stop. Where this process is root and the
	// server's user can't reach DataDir, the data lies in a folder below
	// /var/tmp instead, whose name the file DataDir/location holds.
	DataDir string
	// Port on 127.0.0.1; 0 means a free one.
	Port int
	// Open lets other machines in, as the owner of the database "orders" only.
	Open bool
	// Settings are further postgresql.conf parameters, such as
	// {"max_connections": "20"}; they win over the package's own.
	Settings map[string]string
	// LogWriter takes the server's log, and what this package says about
	// binaries and places; nil drops it.
	LogWriter io.Writer
	// Unsafe turns off what protects data when the machine crashes (fsync,
	// full_page_writes). A killed server still loses nothing. It's for tests.
	Unsafe bool
}

// Server is a PostgreSQL server. Its methods may be called concurrently.
type Server struct {
	options  Options
	place    *place
	binaries binaries
	port     int

	mu     sync.Mutex // held by what starts or stops it
	daemon *process.Daemon
}

// Start starts a server with its database "orders". It initializes the data folder
// the first time, and recovers it after a crash. A Port that is taken
// is a [*ports.TakenError], a DataDir in use a *datadir.InUseError. ctx bounds
// the start only.
func Start(ctx context.Context, options Options) (*Server, error) {
	return start(ctx, options, func(ctx context.Context, s *Server) {
		s.binaries = must.Get(findBinaries(ctx, s.place.majorVersion(), s.options.LogWriter))
		s.place.initialize(ctx, s.binaries, s.options.Unsafe)
	})
}

// start starts a server whose data folder prepare fills.
func start(ctx context.Context, options Options, prepare func(context.Context, *Server)) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if options.LogWriter == nil {
		options.LogWriter = io.Discard
	}
	place, err := openPlace(options.DataDir, options.LogWriter)
	if err != nil {
		return nil, fmt.Errorf("prepare PostgreSQL's data folder: %w", err)
	}
	server := &Server{options: options, place: place}
	server.daemon = process.NewDaemon("PostgreSQL", "", func() *exec.Cmd {
		return place.command(context.Background(), filepath.Join(server.binaries.dir, "postgres"), server.arguments()...)
	})
	server.daemon.Log, server.daemon.OnDeath = options.LogWriter, syscall.SIGINT
	if err := must.Cause(func() { prepare(ctx, server); must.Succeed(server.Restart(ctx)) }); err != nil {
		return nil, errors.Join(err, server.Stop(context.WithoutCancel(ctx)))
	}
	return server, nil
}

// Restart starts the server again on the same port and data, stopping it first
// where it runs; after Kill it recovers as after a crash. It returns once the
// server answers.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.halt(ctx, syscall.SIGINT); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := must.Cause(func() { s.launch(ctx) })
	if err != nil {
		_ = s.halt(context.WithoutCancel(ctx), syscall.SIGQUIT)
	}
	return err
}

// launch runs the server's process and waits until it answers and has its
// role and database.
func (s *Server) launch(ctx context.Context) {
	must.Succeed(s.place.waitUntilUnused(ctx))
	must.Succeed(s.choosePort())
	if s.options.Open {
		s.place.writeAccess()
	}
	must.Succeed(s.daemon.Start())
	s.provision(ctx)
}

func (s *Server) choosePort() (err error) {
	if s.port == 0 { // else others may read it meanwhile
		s.port = s.options.Port
	}
	if s.port == 0 {
		s.port, err = ports.Free()
		return err
	}
	host := ""
	if s.options.Open {
		host = "*"
	}
	return ports.Check(ports.Listen(host, s.port))
}

func (s *Server) arguments() []string {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    fmt.Sprint(s.port),
		"unix_socket_directories": "", // socket paths are short and would need a folder of their own
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"logging_collector":       "off",
		"log_destination":         "stderr",
		"track_commit_timestamp":  "on", // readers measure how long a commit takes to reach them
	}
	if s.options.Open {
		settings["listen_addresses"] = "*"
		settings["hba_file"] = s.place.accessFile()
	}
	if s.options.Unsafe {
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	maps.Copy(settings, s.options.Settings)
	arguments := []string{"-D", s.place.cluster}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		arguments = append(arguments, "-c", name+"="+settings[name])
	}
	return arguments
}

// URL is the address of the database "orders" for the role of that name.
func (s *Server) URL() string { return s.url(ownerRole, ownerRole, ownerRole) }

// AdminURL is the address of the database "orders" for the superuser.
func (s *Server) AdminURL() string { return s.url(adminRole, s.place.adminPassword, ownerRole) }

func (s *Server) url(user, password, database string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", user, password, ports.Loopback(s.port), database)
}

// Port is the port on 127.0.0.1. It stays the same over Restart.
func (s *Server) Port() int { return s.port }

// Pid is the process id of the running server (its postmaster), or 0.
func (s *Server) Pid() int {
	if !s.daemon.Running() {
		return 0
	}
	return s.daemon.Pid()
}

// Done is closed when the process that was started last ends, wanted or not.
func (s *Server) Done() <-chan struct{} { return s.daemon.Process().Done() }

// Stop shuts the server down (clients are disconnected, data is flushed) and
// gives the data folder back; a temporary one is removed. When ctx ends before
// the shutdown does, the server is killed, which loses nothing but costs a
// recovery at the next start. Stop is the end of a Server: start a new one, or
// see Restart.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.halt(ctx, syscall.SIGINT), s.place.close(ctx))
}

// Kill ends the server's processes with SIGKILL, as a crash would. Restart brings it back.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.halt(context.Background(), syscall.SIGKILL)
}

// halt ends the server's process, if there is one, with sig.
func (s *Server) halt(ctx context.Context, sig syscall.Signal) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, stopTimeout)
		defer cancel()
	}
	return s.daemon.Stop(ctx, sig)
}

// Pause freezes all of the server's processes (SIGSTOP): connections stay open
// and nothing answers. Resume ends that.
func (s *Server) Pause() error { return s.signalAll(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Server) Resume() error { return s.signalAll(syscall.SIGCONT) }

func (s *Server) signalAll(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.daemon.Running() {
		return errors.New("PostgreSQL is not running")
	}
	pids, err := s.place.processes()
	if err != nil {
		return err
	}
	for _, pid := range append(pids, s.daemon.Pid()) {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal %v to PostgreSQL's process %d: %w", sig, pid, err)
		}
	}
	return nil
}

// command prepares a program of PostgreSQL's to run as the data's owner and
// without settings from this process's environment.
func (p *place) command(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, arguments...)
	cmd.Dir = p.base
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.account.Credential}
	return cmd
}

const (
	adminRole = "postgres"
	ownerRole = "orders" // also its password and the name of its database
)

// provision waits until the server answers and makes the role and the database
// "orders" where they are missing.
func (s *Server) provision(ctx context.Context) {
	var conn *pgx.Conn
	must.Succeed(s.daemon.WaitReady(ctx, func(ctx context.Context) (err error) {
		conn, err = pgx.Connect(ctx, s.url(adminRole, s.place.adminPassword, "postgres"))
		return err
	}))
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var haveRole, haveDatabase bool
	must.Succeed(conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1),
		EXISTS (SELECT FROM pg_database WHERE datname = $1)`, ownerRole).Scan(&haveRole, &haveDatabase))
	if !haveRole {
		must.Get(conn.Exec(ctx, `CREATE ROLE `+ownerRole+` LOGIN CREATEDB PASSWORD '`+ownerRole+`' IN ROLE pg_monitor`))
	}
	if !haveDatabase {
		must.Get(conn.Exec(ctx, `CREATE DATABASE `+ownerRole+` OWNER `+ownerRole))
	}
}

// MakeRoles makes Orderhub's roles in a database, as its superuser, or corrects them, and
// returns the database's URL for each of them. Their passwords are new.
func MakeRoles(ctx context.Context, adminURL, prefix string) (map[migrations.Role]string, error) {
	passwords, urls := map[migrations.Role]string{}, map[migrations.Role]string{}
	for _, role := range []migrations.Role{migrations.Migrate, migrations.Writer, migrations.Reader, migrations.Operator} {
		passwords[role] = rand.Text()
		urls[role] = WithUser(adminURL, prefix+"_"+string(role), passwords[role])
	}
	return urls, must.Cause(func() {
		db := must.Get(sql.Open("pgx", adminURL))
		defer func() { _ = db.Close() }()
		must.Succeed(must.Get(migrations.PlanRoles(ctx, db, prefix, passwords)).Apply(ctx, db))
	})
}

// SetPassword gives a role a password, as the server's superuser, and reports whether there
// is that role. It asks first: the server logs a statement that fails, password included.
func SetPassword(ctx context.Context, adminURL, role, password string) (known bool, err error) {
	db, err := sql.Open("pgx", adminURL)
	if err != nil {
		return false, err
	}
	defer func() { _ = db.Close() }()
	err = db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&known)
	if err == nil && known {
		_, err = db.ExecContext(ctx, "ALTER ROLE "+role+" PASSWORD '"+password+"'")
	}
	return known, err
}

// WithUser is a database's URL for another user.
func WithUser(databaseURL, user, password string) string {
	u := parse(databaseURL)
	u.User = url.UserPassword(user, password)
	return u.String()
}

// AtDatabase is the URL of another database of the same server.
func AtDatabase(databaseURL, name string) string {
	u := parse(databaseURL)
	u.Path = "/" + name
	return u.String()
}

func parse(databaseURL string) *url.URL {
	u, err := url.Parse(databaseURL)
	if err != nil {
		panic(err) // it is that of one of our servers
	}
	return u
}
