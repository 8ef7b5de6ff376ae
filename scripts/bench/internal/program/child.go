package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// roleVariable tells a child process its role and the role's argument.
const roleVariable = "ORDERHUB_BENCH_ROLE"

// childStopTimeout is how long a child may take to end before it is killed.
const childStopTimeout = 20 * time.Second

// Role is what this program's executable does in a process of its own, so that
// its CPU time and memory can be told from ours. A server writes its address as
// its first line, answers each line of its input with one, and ends with its
// input.
type Role struct {
	Name string
	Run  func(argument string, in io.Reader, out io.Writer) error
}

// Play plays the role that this process was started for, and then exits. It
// returns in a process without a role.
func Play(roles ...Role) {
	name, argument, _ := strings.Cut(os.Getenv(roleVariable), "=")
	for _, role := range roles {
		if role.Name != name {
			continue
		}
		if err := role.Run(argument, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// Command prepares a process that plays the role.
func (r Role) Command(ctx context.Context, argument string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), roleVariable+"="+r.Name+"="+argument)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the parent
	return cmd, nil
}

// Child is a process that plays the role of a server.
type Child struct {
	Addr string

	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *bufio.Scanner
}

// Start starts a server and waits until it listens.
func (r Role) Start(argument string) (*Child, error) {
	cmd, err := r.Command(context.Background(), argument)
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	c := &Child{cmd: cmd, in: in, answers: bufio.NewScanner(out)}
	if !c.answers.Scan() {
		return nil, fmt.Errorf("the child process %q did not start: %w", r.Name, cmd.Wait())
	}
	c.Addr = c.answers.Text()
	return c, nil
}

// Pid is the process id.
func (c *Child) Pid() int { return c.cmd.Process.Pid }

// Tell sends a line and waits for the answer.
func (c *Child) Tell(line string) error {
	_, err := fmt.Fprintln(c.in, line)
	if err == nil && !c.answers.Scan() {
		err = errors.New("no answer")
	}
	if err != nil {
		return fmt.Errorf("tell a child process %q: %w", line, err)
	}
	return nil
}

// Stop ends the child.
func (c *Child) Stop() error {
	_ = c.in.Close() // it ends with its input
	timer := time.AfterFunc(childStopTimeout, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	return c.cmd.Wait()
}
