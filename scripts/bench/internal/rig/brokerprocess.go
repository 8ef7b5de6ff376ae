package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/devstack/broker"
	"github.com/orderhub/orderhub/libs/devstack/process"
)

// brokerVariable marks the process that is the broker: this program once more.
const brokerVariable = "ORDERHUB_BENCH_BROKER"

// RunBroker is the whole of the process that StartBroker starts, and returns
// false in any other. A program with a Broker calls it first in main.
func RunBroker() bool {
	if os.Getenv(brokerVariable) == "" {
		return false
	}
	if err := serveBroker(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "broker:", err)
		os.Exit(1)
	}
	return true
}

// serveBroker runs a broker until in ends. It answers each line: close and open
// are for the gate before Fetch requests.
func serveBroker(in io.Reader, out io.Writer) error {
	b, err := broker.Start(context.Background(), broker.Options{LogWriter: os.Stderr})
	if err != nil {
		return err
	}
	defer func() { _ = b.Stop() }() // what it holds is thrown away
	gate := newGate()
	b.Cluster().ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		if gate.closed.Load() {
			b.Cluster().SleepControl(gate.wait)
		}
		return nil, nil, false
	})
	if _, err := fmt.Fprintln(out, b.Addr()); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		gate.set(lines.Text() == "close")
		if _, err := fmt.Fprintln(out, "done"); err != nil {
			return err
		}
	}
	gate.set(false) // lets go of requests, so that the broker can stop
	return lines.Err()
}

// gate holds requests back while it is closed.
type gate struct {
	closed atomic.Bool
	mu     sync.Mutex
	opened chan struct{}
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (g *gate) set(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case closed == g.closed.Load():
	case closed:
		g.opened = make(chan struct{})
	default:
		close(g.opened)
	}
	g.closed.Store(closed)
}

func (g *gate) wait() {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	<-opened
}

// Broker is an embedded broker in a process of its own, so that its CPU time can
// be told from others'. It keeps its records in memory.
type Broker struct {
	Addr    string
	process *process.Process
	in      io.WriteCloser
	answers *bufio.Scanner
}

// StartBroker starts this program's executable as a broker.
func StartBroker() (*Broker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), brokerVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	read, write, err := os.Pipe() // not StdoutPipe, which the end of the process closes
	if err != nil {
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	cmd.Stdout = write
	b := &Broker{in: in, answers: bufio.NewScanner(read)}
	b.process, err = process.Start(cmd, syscall.SIGKILL)
	_ = write.Close() // the child has its own
	if err != nil {
		return nil, err
	}
	if !b.answers.Scan() {
		return nil, fmt.Errorf("the broker did not start: %w", b.process.Err())
	}
	b.Addr = b.answers.Text()
	return b, nil
}

// Pid is the process id of the broker.
func (b *Broker) Pid() int { return b.process.Pid() }

// Hold keeps the answers to all Fetch requests back until Release. Clients stand
// that for some seconds, in which they can get ready to start at once.
func (b *Broker) Hold() error { return b.tell("close") }

// Release lets Fetch requests through.
func (b *Broker) Release() error { return b.tell("open") }

func (b *Broker) tell(what string) error {
	if _, err := fmt.Fprintln(b.in, what); err != nil {
		return fmt.Errorf("tell the broker: %w", err)
	}
	if !b.answers.Scan() {
		return errors.New("tell the broker: it does not answer")
	}
	return nil
}

// WaitMembers returns once the group is stable with so many members.
func (b *Broker) WaitMembers(ctx context.Context, group string, members int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for {
		described, err := admin.DescribeGroups(ctx, group)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("look at group %s: %w", group, err)
		}
		if g := described[group]; g.State == "Stable" && len(g.Members) == members {
			return nil
		}
		select {
		case <-time.After(readyPolling):
		case <-ctx.Done():
			return fmt.Errorf("group %s has %d members of %d, state %s: %w",
				group, len(described[group].Members), members, described[group].State, ctx.Err())
		}
	}
}

// Stop ends the broker and what it holds.
func (b *Broker) Stop() error {
	_ = b.in.Close() // it ends when its input does
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return b.process.Stop(ctx, syscall.SIGKILL)
}
