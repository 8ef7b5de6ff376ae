package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/orderhub/orderhub/scripts/devstack/datadir"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/poll"
)

const (
	clusterName   = "data"           // the server's own folder (PGDATA), below the base
	locationName  = "location"       // names the base where it isn't the data folder itself
	passwordName  = "admin-password" // the superuser's
	tempPattern   = "orderhub-postgres-"
	unusedPolling = 20 * time.Millisecond
	abandonedAge  = time.Minute // a younger folder may be about to be locked
	passThrough   = os.FileMode(0o711)
)

// place is where a server's data lies, locked for this process.
type place struct {
	dir           string // what the caller named
	base          string // dir, or the folder below /var/tmp where dir can't be reached
	cluster       string // base/data
	temporary     bool
	account       account
	adminPassword string
	lock          *datadir.Lock
}

// openPlace finds or makes the folders for dir ("" means temporary ones).
func openPlace(dir string, log io.Writer) (*place, error) {
	p := &place{dir: dir, temporary: dir == ""}
	return p, must.Cause(func() {
		if p.temporary {
			removeAbandoned()
			p.dir = must.Get(os.MkdirTemp("", tempPattern))
			must.Succeed(os.Chmod(p.dir, passThrough))
		}
		p.dir = must.Get(filepath.Abs(p.dir))
		p.lock = must.Get(datadir.Acquire(p.dir))
		if err := must.Cause(func() { p.settle(log) }); err != nil {
			must.Succeed(errors.Join(err, p.lock.Release()))
		}
	})
}

func (p *place) settle(log io.Writer) {
	p.base = p.readLocation(log)
	p.account = must.Get(accountFor(filepath.Join(p.base, clusterName)))
	if p.base == p.dir && !p.account.canReach(p.dir) {
		p.base = p.relocate()
		_, _ = fmt.Fprintf(log, "PostgreSQL can't run as root, and its own user can't reach %s: data is in %s\n", p.dir, p.base)
	}
	// Resolved, because running servers are found by their working folder.
	p.base = must.Get(filepath.EvalSymlinks(p.base))
	p.cluster = filepath.Join(p.base, clusterName)
}

// readLocation returns where earlier data was put, and dir where it wasn't
// put anywhere else.
func (p *place) readLocation(log io.Writer) string {
	content, err := os.ReadFile(filepath.Join(p.dir, locationName))
	if errors.Is(err, os.ErrNotExist) {
		return p.dir
	}
	must.Succeed(err)
	base := strings.TrimSpace(string(content))
	info, err := os.Lstat(base)
	if errors.Is(err, os.ErrNotExist) {
		_, _ = fmt.Fprintf(log, "%s is gone: PostgreSQL starts with an empty database\n", base)
		must.Succeed(os.Remove(filepath.Join(p.dir, locationName)))
		return p.dir
	}
	must.Succeed(err)
	// Below /var/tmp anybody may make a folder of this name once it is gone.
	if !ownFolder(info) {
		must.Succeed(fmt.Errorf("%s, named in %s, is not a folder of this user's", base, filepath.Join(p.dir, locationName)))
	}
	return base
}

func ownFolder(info os.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && owner.Uid == uint32(os.Geteuid())
}

// relocate makes a base that every user can reach and writes it down.
func (p *place) relocate() string {
	parent := "/var/tmp" // unlike /tmp it is kept over a reboot
	if _, err := os.Stat(parent); err != nil {
		parent = os.TempDir()
	}
	base := must.Get(os.MkdirTemp(parent, tempPattern))
	must.Succeed(os.Chmod(base, passThrough))
	if !p.account.canReach(base) {
		must.Succeed(errors.Join(
			fmt.Errorf("PostgreSQL refuses to run as root, and user %d can't be used on this machine", p.account.Uid),
			os.Remove(base)))
	}
	must.Succeed(os.WriteFile(filepath.Join(p.dir, locationName), []byte(base+"\n"), 0o600))
	return base
}

// majorVersion is that of existing data, or 0.
func (p *place) majorVersion() int {
	content, err := os.ReadFile(filepath.Join(p.cluster, "PG_VERSION"))
	if err != nil {
		return 0
	}
	major, _ := strconv.Atoi(strings.TrimSpace(string(content)))
	return major
}

// initialize makes the server's folder unless it is there.
func (p *place) initialize(ctx context.Context, bin binaries, unsafe bool) {
	if p.majorVersion() != 0 {
		password, err := os.ReadFile(filepath.Join(p.dir, passwordName))
		if err != nil {
			must.Succeed(fmt.Errorf("data without its superuser's password: %w", err))
		}
		p.adminPassword = strings.TrimSpace(string(password))
		return
	}
	p.setPassword(rand.Text())
	readable := filepath.Join(p.base, "initdb-password") // a copy that the server's user may read
	p.write(readable, p.adminPassword)
	defer func() { must.Succeed(os.Remove(readable)) }()
	p.fill(ctx, p.cluster, func(making string) *exec.Cmd {
		arguments := []string{
			"--pgdata=" + making, "--username=" + adminRole, "--pwfile=" + readable,
			"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
		}
		if unsafe {
			arguments = append(arguments, "--no-sync")
		}
		return p.command(ctx, filepath.Join(bin.dir, "initdb"), arguments...)
	})
}

// accessFile is the pg_hba.conf of a server that other machines reach.
func (p *place) accessFile() string { return filepath.Join(p.base, "pg_hba.conf") }

func (p *place) writeAccess() {
	const rules = "host all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\nhost " + ownerRole + " " + ownerRole + " all scram-sha-256\n" //nolint:dupword // the form of pg_hba.conf
	p.write(p.accessFile(), rules)
}

// write writes a file for the server's user.
func (p *place) write(file, content string) {
	must.Succeed(os.WriteFile(file, []byte(content), 0o600))
	must.Succeed(p.account.own(file))
}

// setPassword keeps the superuser's password.
func (p *place) setPassword(password string) {
	p.adminPassword = password
	must.Succeed(os.WriteFile(filepath.Join(p.dir, passwordName), []byte(password), 0o600))
}

// fill makes a server's folder by a program that is told where. It is made under another
// name first, so that an interrupted attempt is never taken for data.
func (p *place) fill(ctx context.Context, folder string, program func(making string) *exec.Cmd) {
	making := folder + ".making"
	must.Succeed(os.RemoveAll(making))
	must.Succeed(os.Mkdir(making, 0o700))
	must.Succeed(p.account.own(making))
	cmd := program(making)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := process.Run(ctx, cmd); err != nil {
		must.Succeed(fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, bytes.TrimSpace(output.Bytes())))
	}
	must.Succeed(os.Rename(making, folder))
}

// waitUntilUnused waits for an earlier server on the same data to be gone: after
// a kill, its processes need a moment to notice. Then a pid file can only be
// stale, and is removed, since its process id may by now be somebody else's.
func (p *place) waitUntilUnused(ctx context.Context) error {
	if _, err := p.processes(); errors.Is(err, os.ErrNotExist) {
		return nil // there is no /proc; the server looks at its pid file itself
	}
	err := poll.Until(ctx, unusedPolling, func() error {
		pids, err := p.processes()
		if len(pids) > 0 {
			err = fmt.Errorf("an earlier PostgreSQL server still uses %s (process %v)", p.cluster, pids)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(p.cluster, "postmaster.pid")); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// processes returns the servers' processes on this data, which needs /proc: every
// process of PostgreSQL's has its data folder as its working folder.
func (p *place) processes() (pids []int, err error) {
	all, err := procfs.AllProcs()
	for _, process := range all {
		// Other users' processes and those that have just ended can't be read.
		if dir, err := process.Cwd(); err == nil && dir == p.cluster {
			pids = append(pids, process.PID)
		}
	}
	return pids, err
}

// close gives the folder back, and removes a temporary one.
func (p *place) close(ctx context.Context) error {
	if p.lock == nil {
		return nil
	}
	lock := p.lock
	p.lock = nil
	var err error
	if p.temporary {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(p.waitUntilUnused(ctx), os.RemoveAll(p.dir))
		if p.base != p.dir {
			err = errors.Join(err, os.RemoveAll(p.base))
		}
	}
	return errors.Join(err, lock.Release())
}

// removeAbandoned removes this user's temporary folders whose process died
// before it could.
func removeAbandoned() {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), tempPattern+"*"))
	for _, dir := range found {
		if info, err := os.Lstat(dir); err != nil || !ownFolder(info) {
			continue // anybody can put a link of that name there
		}
		info, err := os.Stat(filepath.Join(dir, "lock"))
		if err != nil || time.Since(info.ModTime()) < abandonedAge {
			continue // being made, or a base of other data
		}
		lock, err := datadir.Acquire(dir)
		if err != nil {
			continue // in use, or another user's
		}
		abandoned := &place{dir: dir, base: dir, cluster: filepath.Join(dir, clusterName)}
		if pids, err := abandoned.processes(); err == nil && len(pids) == 0 {
			_ = os.RemoveAll(dir) // another process's left-over: no reason to fail
		}
		_ = lock.Release()
	}
}

// account is the user whom the server runs as; nil is this process's own.
type account struct{ *syscall.Credential }

// accountFor chooses the user for a server whose data lies in cluster, which
// may not exist yet. Only root has a choice, and must use it.
func accountFor(cluster string) (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	info, err := os.Stat(cluster)
	if err == nil {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
			return account{&syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return account{}, err
	}
	for _, name := range []string{"postgres", "nobody"} {
		if found, err := user.Lookup(name); err == nil {
			a := account{&syscall.Credential{}}
			_, err = fmt.Sscan(found.Uid+" "+found.Gid, &a.Uid, &a.Gid)
			return a, err
		}
	}
	return account{}, errors.New(`PostgreSQL refuses to run as root, and there is no user "postgres" or "nobody" to run it as`)
}

// canReach tells whether the account can enter dir, by entering it: that
// respects every parent folder and every kind of access control.
func (a account) canReach(dir string) bool {
	if a.Credential == nil {
		return true
	}
	cmd := exec.CommandContext(context.Background(), "/bin/sh", "-c", ":")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.Credential}
	return cmd.Run() == nil
}

func (a account) own(path string) error {
	if a.Credential == nil {
		return nil
	}
	return os.Chown(path, int(a.Uid), int(a.Gid))
}
