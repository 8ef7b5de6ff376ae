package rig

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// roleVariable tells a child process its role and the role's argument.
const roleVariable = "ORDERHUB_BENCH_ROLE"

// Role is what this program's executable does in a process of its own, so that its
// CPU time and memory can be told from ours.
type Role string

var roles = map[Role]func(argument string){}

// NewRole is for variables of packages: [Play] must know all roles. run fails as
// [must.Succeed] does.
func NewRole(name Role, run func(argument string)) Role {
	roles[name] = run
	return name
}

// Play plays the role that this process was started for, and then exits. It
// returns in a process without a role.
func Play() {
	name, argument, _ := strings.Cut(os.Getenv(roleVariable), "=")
	run, ok := roles[Role(name)]
	if !ok {
		return
	}
	if err := must.Try(func() { run(argument) }); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Command prepares a process that plays the role.
func (r Role) Command(ctx context.Context, argument string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, must.Get(os.Executable()))
	cmd.Env = append(os.Environ(), roleVariable+"="+string(r)+"="+argument)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the parent
	return cmd
}

// Child is a process that plays the role of a server.
type Child struct {
	*process.Daemon
	Addr string
}

// Serve starts a server whose argument is its address, and waits until it listens.
// It runs until it is killed, or this process ends.
func (r Role) Serve(ctx context.Context, further string) *Child {
	addr := ports.Loopback(must.Get(ports.Free()))
	c := &Child{Addr: addr, Daemon: process.NewDaemon(string(r), "", func() *exec.Cmd {
		return r.Command(context.WithoutCancel(ctx), strings.TrimSpace(addr+" "+further))
	})}
	c.Log = os.Stderr
	must.Succeed(c.Start())
	must.Succeed(c.WaitReady(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}))
	return c
}
