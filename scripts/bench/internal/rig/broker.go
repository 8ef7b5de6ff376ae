package rig

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/poll"
)

// brokerRole is the embedded broker with its records in memory.
var brokerRole = NewRole("broker", serveBroker)

// Signals to the broker's process close and open a gate before the answers to Fetch
// requests.
const closeGate, openGate = syscall.SIGUSR1, syscall.SIGUSR2

func serveBroker(addr string) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, closeGate, openGate)
	port := int(must.Get(netip.ParseAddrPort(addr)).Port())
	b := must.Get(broker.Start(context.Background(), broker.Options{Port: port, LogWriter: os.Stderr}))
	var gate sync.RWMutex // locked while closed
	b.Cluster().ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		if gate.TryRLock() {
			gate.RUnlock()
		} else {
			b.Cluster().SleepControl(func() { gate.RLock(); gate.RUnlock() }) //nolint:staticcheck // it waits for the gate
		}
		return nil, nil, false
	})
	for received := range signals {
		if received == closeGate {
			gate.Lock()
		} else {
			gate.Unlock()
		}
	}
}

// Broker is an embedded broker in a process of its own.
type Broker struct {
	*Child
	admin *kadm.Client
}

func startBroker(ctx context.Context) *Broker {
	child := brokerRole.Serve(ctx, "")
	return &Broker{child, kadm.NewClient(must.Get(kgo.NewClient(kgo.SeedBrokers(child.Addr))))}
}

// stop ends the broker, and with it its records.
func (b *Broker) stop() error {
	b.admin.Close()
	return b.Kill()
}

// hold keeps the answers to all Fetch requests back until release. Clients tolerate
// that for some seconds, in which they can get ready to start at once.
func (b *Broker) hold() { must.Succeed(b.Signal(closeGate)) }

func (b *Broker) release() { must.Succeed(b.Signal(openGate)) }

func (b *Broker) waitMembers(ctx context.Context, group string, members int) {
	must.Succeed(poll.Until(ctx, 20*time.Millisecond, func() error {
		g := must.Get(b.admin.DescribeGroups(ctx, group))[group]
		if g.State == "Stable" && len(g.Members) == members {
			return nil
		}
		return fmt.Errorf("group %s has %d members of %d, state %s", group, len(g.Members), members, g.State)
	}))
}

// segmentBytes is the size of a segment in the broker's memory. A full segment is
// copied into one of twice the size, and meanwhile nothing is answered: with the
// usual 100 MiB that takes up to a third of a second, unlike any broker on disks.
const segmentBytes = 4 << 20

// CreateTopic makes a topic. cleanup is its policy: delete or compact.
func (b *Broker) CreateTopic(ctx context.Context, topic string, partitions int, cleanup string) {
	segment := strconv.Itoa(segmentBytes)
	configs := map[string]*string{"segment.bytes": &segment, "cleanup.policy": &cleanup}
	must.Get(b.admin.CreateTopic(ctx, int32(partitions), 1, configs, topic))
}

// Trim deletes the records that the group has committed: the broker keeps them in
// memory.
func (b *Broker) Trim(ctx context.Context, group string) {
	committed := must.Get(b.admin.FetchOffsets(ctx, group))
	must.Succeed(must.Get(b.admin.DeleteRecords(ctx, committed.Offsets())).Error())
}

// NewProducer is a client that sends to a topic and waits for all replicas. linger
// is how long it collects records.
func (b *Broker) NewProducer(topic string, linger time.Duration) *kgo.Client {
	return must.Get(kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(linger),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression())))
}
