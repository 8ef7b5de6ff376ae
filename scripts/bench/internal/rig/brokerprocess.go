package rig

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
)

// brokerVariable marks the process that is the broker: this program once more.
const brokerVariable = "ORDERHUB_BENCH_BROKER"

// RunBroker is the whole of the process that StartBroker starts, and returns
// false in any other: a program with a Broker calls it first in main.
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
	var gate sync.RWMutex           // locked: no answer to Fetch requests
	b.Cluster().ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		if gate.TryRLock() {
			gate.RUnlock()
		} else {
			b.Cluster().SleepControl(func() { gate.RLock(); gate.RUnlock() }) //nolint:staticcheck // it waits for the gate
		}
		return nil, nil, false
	})
	if _, err := fmt.Fprintln(out, b.Addr()); err != nil {
		return err
	}
	closed := false
	set := func(want bool) {
		switch {
		case want && !closed:
			gate.Lock()
		case closed && !want:
			gate.Unlock()
		}
		closed = want
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		set(lines.Text() == "close")
		if _, err := fmt.Fprintln(out, "done"); err != nil {
			return err
		}
	}
	set(false) // lets requests through, so that the broker can stop
	return lines.Err()
}

// Broker is an embedded broker in a process of its own. It keeps its records in
// memory.
type Broker struct{ *Child }

// StartBroker starts a broker without topics.
func StartBroker() (*Broker, error) {
	child, err := StartChild(brokerVariable, "1")
	return &Broker{child}, err
}

// Hold keeps the answers to all Fetch requests back until Release. Clients stand
// that for some seconds, in which they can get ready to start at once.
func (b *Broker) Hold() error { return b.tell("close") }

// Release lets Fetch requests through.
func (b *Broker) Release() error { return b.tell("open") }

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
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("group %s has %d members of %d, state %s: %w",
				group, len(described[group].Members), members, described[group].State, ctx.Err())
		}
	}
}
