package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/orderhub/orderhub/scripts/internal/must"
)

// StartStandby starts a server that follows s by streaming replication and can be
// read from. pg_basebackup copies s's data, roles and passwords. It returns once
// the standby answers; ctx bounds the start only.
func (s *Server) StartStandby(ctx context.Context, options Options) (*Server, error) {
	return start(ctx, options, func(ctx context.Context, standby *Server) {
		standby.binaries = s.binaries
		standby.place.setPassword(s.place.adminPassword)
		// The option makes it a standby, and says of whom.
		s.copyTo(ctx, standby.place, standby.place.cluster, "--write-recovery-conf")
	})
}

func (s *Server) copyTo(ctx context.Context, place *place, folder string, options ...string) {
	program := must.Get(s.Program("pg_basebackup"))
	place.fill(ctx, folder, func(making string) *exec.Cmd {
		arguments := append([]string{"--pgdata=" + making, "--checkpoint=fast", "--wal-method=stream",
			fmt.Sprintf("--dbname=host=127.0.0.1 port=%d user=%s", s.port, adminRole)}, options...)
		if s.options.Unsafe {
			arguments = append(arguments, "--no-sync")
		}
		cmd := place.command(ctx, program, arguments...)
		cmd.Env = append(cmd.Env, "PGPASSWORD="+s.place.adminPassword)
		return cmd
	})
}

// BackUp makes a base backup for [Server.Restore], which replaces an earlier one.
func (s *Server) BackUp(ctx context.Context) error {
	return must.Cause(func() {
		must.Succeed(os.RemoveAll(s.backup()))
		s.copyTo(ctx, s.place, s.backup())
	})
}

func (s *Server) backup() string { return s.place.cluster + ".backup" }

// Restore stops the server, puts its data back to what [Server.BackUp] copied, and starts
// it again: what was committed since is gone. It uses the backup up.
func (s *Server) Restore(ctx context.Context) error {
	if _, err := os.Stat(s.backup()); err != nil {
		return err
	}
	return s.Offline(ctx, syscall.SIGKILL, func() error {
		return errors.Join(os.RemoveAll(s.place.cluster), os.Rename(s.backup(), s.place.cluster))
	})
}

// Offline stops the server with a signal, has its data changed, and starts it again.
func (s *Server) Offline(ctx context.Context, sig syscall.Signal, change func() error) error {
	s.mu.Lock()
	err := s.halt(ctx, sig)
	if err == nil {
		err = s.place.waitUntilUnused(ctx)
	}
	s.mu.Unlock()
	if err == nil {
		err = change()
	}
	if err != nil {
		return err
	}
	return s.Restart(ctx)
}

// Shell runs commands as the owner of the data, with PostgreSQL's programs on PATH, the data
// folder in PGDATA, and the superuser's login, in the folder around the data, which becomes the
// owner's.
func (s *Server) Shell(ctx context.Context, commands string) error {
	if err := s.place.account.own(s.place.base); err != nil {
		return err
	}
	cmd := s.place.command(ctx, "/bin/sh", "-ec", commands)
	cmd.Env = append(cmd.Env, "PATH="+s.binaries.dir+":"+os.Getenv("PATH"), "PGDATA="+s.place.cluster, "PGHOST=127.0.0.1",
		fmt.Sprint("PGPORT=", s.port), "PGUSER="+adminRole, "PGPASSWORD="+s.place.adminPassword, "PGDATABASE="+ownerRole)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", commands, err, output)
	}
	return nil
}

// Promote makes a standby a primary of its own, on a new timeline. It returns
// once that is so.
func (s *Server) Promote(ctx context.Context) error {
	return s.Admin(ctx, `SELECT pg_promote(wait => true)`)
}

// Admin executes a statement as the superuser.
func (s *Server) Admin(ctx context.Context, statement string) error {
	return Execute(ctx, s.AdminURL(), statement)
}

// Program is where one of PostgreSQL's programs is that belongs to this server's
// version, such as pg_dump. Servers that were fetched come without them.
func (s *Server) Program(name string) (string, error) {
	path := filepath.Join(s.binaries.dir, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("PostgreSQL's %s is missing: install its client programs: %w", name, err)
	}
	return path, nil
}
