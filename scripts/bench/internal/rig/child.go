package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/orderhub/orderhub/scripts/devstack/process"
)

// Child is this program's executable in another process, so that its CPU time
// can be told from ours. It finds its task in an environment variable, says on
// its standard output where it listens, answers each line on its standard input
// with one, and ends when that input does.
type Child struct {
	Addr    string
	process *process.Process
	in      io.WriteCloser
	answers *bufio.Scanner
}

// StartChild starts a child with an environment variable that names its task,
// and waits until it listens.
func StartChild(variable, value string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), variable+"="+value)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	read, write, err := os.Pipe() // not StdoutPipe, which the end of the process closes
	if err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	cmd.Stdout = write
	c := &Child{in: in, answers: bufio.NewScanner(read)}
	c.process, err = process.Start(cmd, syscall.SIGKILL)
	_ = write.Close() // the child has its own
	if err != nil {
		return nil, err
	}
	if !c.answers.Scan() {
		return nil, fmt.Errorf("a child process (%s) did not start: %w", variable, c.process.Err())
	}
	c.Addr = c.answers.Text()
	return c, nil
}

// Pid is the process id.
func (c *Child) Pid() int { return c.process.Pid() }

func (c *Child) tell(what string) error {
	if _, err := fmt.Fprintln(c.in, what); err != nil {
		return fmt.Errorf("tell a child process: %w", err)
	}
	if !c.answers.Scan() {
		return errors.New("tell a child process: it does not answer")
	}
	return nil
}

// Stop ends the child.
func (c *Child) Stop() error {
	_ = c.in.Close() // it ends when its input does
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	select {
	case <-c.process.Done():
		return c.process.Err()
	case <-ctx.Done():
		return c.process.Stop(ctx, syscall.SIGKILL)
	}
}
