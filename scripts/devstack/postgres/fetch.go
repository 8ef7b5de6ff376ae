package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
)

// CacheVariable is the environment variable that names the folder where fetched
// programs are kept. By default that is the user's cache folder, and for root
// /var/cache, since the server's user must be able to reach it.
const CacheVariable = "ORDERHUB_POSTGRES_CACHE"

// fetchable are the versions that can be fetched, the first for new data.
var fetchable = []struct {
	major   int
	version embeddedpostgres.PostgresVersion
}{
	{18, embeddedpostgres.V18},
	{17, embeddedpostgres.V17},
	{16, embeddedpostgres.V16},
	{15, embeddedpostgres.V15},
}

// fetch downloads PostgreSQL once and returns its programs.
func fetch(ctx context.Context, wanted int, log io.Writer) (binaries, error) {
	for _, f := range fetchable {
		if wanted != 0 && wanted != f.major {
			continue
		}
		cache, err := cacheDir()
		if err != nil {
			return binaries{}, err
		}
		dir := filepath.Join(cache, fmt.Sprintf("postgresql-%s-%s-%s", f.version, runtime.GOOS, runtime.GOARCH))
		if found, err := inspect(ctx, filepath.Join(dir, "bin")); err == nil {
			return found, nil
		}
		_, _ = fmt.Fprintf(log, "no PostgreSQL server programs found on this machine: fetching version %s into %s\n", f.version, dir)
		if err := download(dir, f.version); err != nil {
			return binaries{}, fmt.Errorf("fetch PostgreSQL (install a PostgreSQL server, or name its programs' folder in %s, to do without): %w",
				BinariesVariable, err)
		}
		return inspect(ctx, filepath.Join(dir, "bin"))
	}
	return binaries{}, fmt.Errorf("the data was made by PostgreSQL %d, and this machine doesn't have that version: install it, or remove the data", wanted)
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
func download(dir string, version embeddedpostgres.PostgresVersion) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "fetching-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	port, err := ports.Free()
	if err != nil {
		return err
	}
	programs := filepath.Join(work, "programs")
	throwaway := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(version).
		Port(uint32(port)).
		CachePath(filepath.Join(work, "archive")).
		BinariesPath(programs).
		RuntimePath(filepath.Join(work, "runtime")).
		Logger(io.Discard))
	defer http.DefaultClient.CloseIdleConnections() // the library's
	startErr := throwaway.Start()
	if startErr == nil {
		if err := throwaway.Stop(); err != nil {
			return err
		}
	}
	if _, err := inspect(context.Background(), filepath.Join(programs, "bin")); err != nil {
		return errors.Join(startErr, err)
	}
	if err := os.Rename(programs, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err // another process may have been quicker, which is as good
	}
	return nil
}
