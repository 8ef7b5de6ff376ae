package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// BinariesVariable is the environment variable that names the folder with
// PostgreSQL's programs (postgres, initdb); it goes before everything else.
const BinariesVariable = "ORDERHUB_POSTGRES_BIN"

// VersionVariable is the environment variable that names the major version for new data,
// such as 17. It is fetched where the machine does not have it.
const VersionVariable = "ORDERHUB_POSTGRES_VERSION"

const oldestMajor = 15

type binaries struct {
	dir   string
	major int
}

// findBinaries looks for server programs of the wanted major version (0 means
// the newest there is), first on the machine, then at the place they are
// fetched from.
func findBinaries(ctx context.Context, wanted int, log io.Writer) (binaries, error) {
	if text := os.Getenv(VersionVariable); text != "" && wanted == 0 {
		major, err := strconv.Atoi(text)
		if err != nil {
			return binaries{}, fmt.Errorf("%s=%s is no number", VersionVariable, text)
		}
		wanted = major
	}
	if dir := os.Getenv(BinariesVariable); dir != "" {
		found, err := inspect(ctx, dir)
		if err != nil {
			return binaries{}, fmt.Errorf("%s=%s: %w", BinariesVariable, dir, err)
		}
		if wanted != 0 && found.major != wanted {
			return binaries{}, fmt.Errorf("%s=%s is PostgreSQL %d, but the data was made by PostgreSQL %d",
				BinariesVariable, dir, found.major, wanted)
		}
		return found, nil
	}
	best := binaries{}
	for _, dir := range candidates(ctx) {
		found, err := inspect(ctx, dir)
		if err == nil && found.major >= max(oldestMajor, best.major+1) && (wanted == 0 || found.major == wanted) {
			best = found
		}
	}
	if best.dir != "" {
		return best, nil
	}
	return fetch(ctx, wanted, log)
}

// candidates are the folders where packages of PostgreSQL put server programs.
func candidates(ctx context.Context) []string {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
		"/usr/pgsql-*/bin",                   // Red Hat, from postgresql.org
		"/usr/libexec/postgresql*",           // Alpine
		"/opt/homebrew/opt/postgresql@*/bin", // Homebrew on ARM
		"/usr/local/opt/postgresql@*/bin",    // Homebrew on Intel
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		dirs = append(dirs, found...)
	}
	if output, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(output)))
	}
	// What is on PATH may be a link or a wrapper; the link's target counts.
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	return dirs
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect asks the programs in dir for their version.
func inspect(ctx context.Context, dir string) (binaries, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return binaries{}, err
	}
	output, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return binaries{}, fmt.Errorf("postgres --version: %w", err)
	}
	match := versionPattern.FindSubmatch(output)
	if match == nil {
		return binaries{}, errors.New("postgres --version doesn't tell its version")
	}
	major, err := strconv.Atoi(string(match[1]))
	return binaries{dir: dir, major: major}, err
}

// CacheVariable is the environment variable that names the folder where fetched
// programs are kept. By default that is the user's cache folder, and for root
// /var/cache, since the server's user must be able to reach it.
const CacheVariable = "ORDERHUB_POSTGRES_CACHE"

// fetchable are the versions that can be fetched: 0 is the one for new data.
var fetchable = map[int]embeddedpostgres.PostgresVersion{
	0: embeddedpostgres.V18, 18: embeddedpostgres.V18, 17: embeddedpostgres.V17, 16: embeddedpostgres.V16, 15: embeddedpostgres.V15,
}

func fetch(ctx context.Context, wanted int, log io.Writer) (binaries, error) {
	version, ok := fetchable[wanted]
	if !ok {
		return binaries{}, fmt.Errorf("the data was made by PostgreSQL %d, and this machine doesn't have that version: install it, or remove the data", wanted)
	}
	cache, err := cacheDir()
	if err != nil {
		return binaries{}, err
	}
	dir := filepath.Join(cache, fmt.Sprintf("postgresql-%s-%s-%s", version, runtime.GOOS, runtime.GOARCH))
	if found, err := inspect(ctx, filepath.Join(dir, "bin")); err == nil {
		return found, nil
	}
	_, _ = fmt.Fprintf(log, "no PostgreSQL server programs found on this machine: fetching version %s into %s\n", version, dir)
	if err := must.Cause(func() { download(dir, version) }); err != nil {
		return binaries{}, fmt.Errorf("fetch PostgreSQL (install a PostgreSQL server, or name its programs' folder in %s, to do without): %w",
			BinariesVariable, err)
	}
	return inspect(ctx, filepath.Join(dir, "bin"))
}

func cacheDir() (string, error) {
	if dir := os.Getenv(CacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	if os.Geteuid() == 0 && runtime.GOOS == "linux" {
		return "/var/cache/orderhub", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for PostgreSQL's programs (%s names one): %w", CacheVariable, err)
	}
	return filepath.Join(dir, "orderhub"), nil
}

// download puts a version's programs into dir, whole or not at all.
//
// The embedding library only fetches on the way to starting a server, which
// root can't do; so the server that it starts is a throw-away one, and all that
// counts is whether the programs are there afterwards.
func download(dir string, version embeddedpostgres.PostgresVersion) {
	must.Succeed(os.MkdirAll(filepath.Dir(dir), 0o755))
	work := must.Get(os.MkdirTemp(filepath.Dir(dir), "fetching-"))
	defer func() { _ = os.RemoveAll(work) }() // what stays harms nothing
	programs := filepath.Join(work, "programs")
	throwaway := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(version).
		Port(uint32(must.Get(ports.Free()))).
		CachePath(filepath.Join(work, "archive")).
		BinariesPath(programs).
		RuntimePath(filepath.Join(work, "runtime")).
		Logger(io.Discard))
	defer http.DefaultClient.CloseIdleConnections() // the library's
	startErr := throwaway.Start()
	if startErr == nil {
		must.Succeed(throwaway.Stop())
	}
	if _, err := inspect(context.Background(), filepath.Join(programs, "bin")); err != nil {
		must.Succeed(errors.Join(startErr, err))
	}
	if err := os.Rename(programs, dir); !errors.Is(err, os.ErrExist) {
		must.Succeed(err) // another process may have been quicker, which is as good
	}
}
