package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"syscall"
)

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
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		a := account{&syscall.Credential{}}
		if _, err := fmt.Sscan(found.Uid+" "+found.Gid, &a.Uid, &a.Gid); err != nil {
			return account{}, fmt.Errorf("ids of the user %s: %w", name, err)
		}
		return a, nil
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

// own gives path to the account.
func (a account) own(path string) error {
	if a.Credential == nil {
		return nil
	}
	return os.Chown(path, int(a.Uid), int(a.Gid))
}
