package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// BinariesVariable is the environment variable that names the folder with
// PostgreSQL's programs (postgres, initdb); it goes before everything else.
const BinariesVariable = "ORDERHUB_POSTGRES_BIN"

const oldestMajor = 15

// binaries is a folder with PostgreSQL's server programs.
type binaries struct {
	dir   string
	major int
}

// findBinaries looks for server programs of the wanted major version (0 means
// the newest there is), first on the machine, then at the place they are
// fetched from.
func findBinaries(ctx context.Context, wanted int, log io.Writer) (binaries, error) {
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
		if err != nil || found.major < oldestMajor || (wanted != 0 && found.major != wanted) {
			continue
		}
		if found.major > best.major {
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
