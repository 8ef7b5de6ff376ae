package rig

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
)

// BrokerRole is the process that StartBroker starts: the embedded broker with its
// records in memory.
var BrokerRole = program.Role{Name: "broker", Run: serveBroker}

const closeGate, openGate = "close", "open"

// serveBroker runs a broker until in ends. Lines of in close and open a gate before
// the answers to Fetch requests.
func serveBroker(_ string, in io.Reader, out io.Writer) error {
	b, err := broker.Start(context.Background(), broker.Options{LogWriter: os.Stderr})
	if err != nil {
		return err
	}
	defer func() { _ = b.Stop() }() // its records are thrown away
	var gate sync.RWMutex           // locked while closed
	b.Cluster().ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		if gate.TryRLock() {
			gate.RUnlock()
		} else {
			b.Cluster().SleepControl(func() { gate.RLock(); gate.RUnlock() }) //nolint:staticcheck // it waits for the gate
		}
		return nil, nil, false
	})
	_, err = fmt.Fprintln(out, b.Addr())
	lines := bufio.NewScanner(in)
	for err == nil && lines.Scan() {
		if lines.Text() == closeGate {
			gate.Lock()
		} else {
			gate.Unlock()
		}
		_, err = fmt.Fprintln(out, "done")
	}
	gate.TryLock()
	gate.Unlock() // the broker cannot stop while requests wait
	return err
}

// Broker is an embedded broker in a process of its own.
type Broker struct {
	*program.Child
	admin *kadm.Client
}

// StartBroker starts a broker without topics.
func StartBroker() (*Broker, error) {
	child, err := BrokerRole.Start("")
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(child.Addr))
	return &Broker{child, kadm.NewClient(client)}, err
}

// Stop ends the broker, and with it its records.
func (b *Broker) Stop() error {
	b.admin.Close()
	return b.Child.Stop()
}

// Hold keeps the answers to all Fetch requests back until Release. Clients tolerate
// that for some seconds, in which they can get ready to start at once.
func (b *Broker) Hold() error { return b.Tell(closeGate) }

// Release lets Fetch requests through.
func (b *Broker) Release() error { return b.Tell(openGate) }

// WaitMembers returns once the group is stable with so many members.
func (b *Broker) WaitMembers(ctx context.Context, group string, members int) error {
	for {
		described, err := b.admin.DescribeGroups(ctx, group)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("look at group %s: %w", group, err)
		}
		g := described[group]
		if g.State == "Stable" && len(g.Members) == members {
			return nil
		}
		if err := retry.Sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("group %s has %d members of %d, state %s: %w", group, len(g.Members), members, g.State, err)
		}
	}
}

// segmentBytes is the size of a segment in the broker's memory. A full segment is
// copied into one of twice the size, and meanwhile nothing is answered: with the
// usual 100 MiB that takes up to a third of a second, unlike any broker on disks.
const segmentBytes = 4 << 20

// CreateTopic makes a topic. cleanup is its policy: delete or compact.
func (b *Broker) CreateTopic(ctx context.Context, topic string, partitions int, cleanup string) error {
	segment := strconv.Itoa(segmentBytes)
	_, err := b.admin.CreateTopic(ctx, int32(partitions), 1, map[string]*string{"segment.bytes": &segment, "cleanup.policy": &cleanup}, topic)
	if err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	return nil
}

// Trim deletes the records that the group has committed: the broker keeps them in
// memory.
func (b *Broker) Trim(ctx context.Context, group string) error {
	committed, err := b.admin.FetchOffsets(ctx, group)
	if err != nil {
		return fmt.Errorf("read the offsets of group %s: %w", group, err)
	}
	deleted, err := b.admin.DeleteRecords(ctx, committed.Offsets())
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		return fmt.Errorf("delete records that group %s has committed: %w", group, err)
	}
	return nil
}

// NewProducer is a client that sends to a topic and waits for all replicas. linger
// is how long it collects records.
func (b *Broker) NewProducer(topic string, linger time.Duration) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(linger),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression()))
}
