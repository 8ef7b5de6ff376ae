// Package broker runs a Kafka-protocol broker inside this process, on loopback,
// for `make run` and for tests: franz-go's kfake.
//
// It speaks to any Kafka client: produce, fetch, consumer groups, topic
// administration, transactions, compaction and retention. It has one node and
// no replicas, and is no broker to run in production.
//
// With a data folder, each record and each committed offset is handed to the
// operating system before it is acknowledged: what was acknowledged survives
// the death of this process, even by SIGKILL, but not a crash of the machine.
package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/devstack/datadir"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
)

const defaultPartitions = 4

// Topic says how a topic is made.
type Topic struct {
	Partitions int32             // 0 means the broker's default
	Configs    map[string]string // such as {"max.message.bytes": "2097152"}
}

// Options say how a broker runs. The zero value is a broker on a free port that
// keeps its data in memory and has no topics.
type Options struct {
	// DataDir is the folder where topics and groups are kept; "" means memory.
	DataDir string
	// Port on 127.0.0.1; 0 means a free one.
	Port int
	// Host makes the broker listen on all addresses, and is what it tells clients to
	// connect to. Default: 127.0.0.1, for both.
	Host string
	// Topics are made at the start where they are missing.
	Topics map[string]Topic
	// DefaultPartitions is for topics made without a number; 0 means 4.
	DefaultPartitions int
	// Configs are settings of the broker, such as {"message.max.bytes": "2097152"}.
	Configs map[string]string
	// LogWriter takes the broker's warnings; nil drops them.
	LogWriter io.Writer
	// Extra are further options of kfake's, such as TLS or SASL.
	Extra []kfake.Opt
}

// Broker is a running broker. Its methods may be called concurrently.
type Broker struct {
	cluster *kfake.Cluster
	addr    string
	lock    *datadir.Lock // nil in memory
	stop    func() error
}

// Start brings up a broker with what its data folder holds. A Port that is
// taken is a [*ports.TakenError], a DataDir in use a [*datadir.InUseError].
func Start(ctx context.Context, options Options) (*Broker, error) {
	if options.Port != 0 {
		if err := ports.Check(ports.Listen(options.Host, options.Port)); err != nil {
			return nil, err
		}
	}
	b := &Broker{}
	var err error
	if options.DataDir != "" {
		if b.lock, err = datadir.Acquire(options.DataDir); err != nil {
			return nil, err
		}
	}
	if b.cluster, err = kfake.NewCluster(options.kfake()...); err != nil {
		return nil, errors.Join(fmt.Errorf("start the broker: %w", err), b.unlock())
	}
	b.addr = b.cluster.ListenAddrs()[0]
	b.stop = sync.OnceValue(func() error {
		b.cluster.Close()
		return b.unlock()
	})
	if err := b.CreateTopics(ctx, options.Topics); err != nil {
		return nil, errors.Join(err, b.Stop())
	}
	return b, nil
}

func (o Options) kfake() []kfake.Opt {
	options := []kfake.Opt{
		kfake.Ports(o.Port), // one node; 0 is a free port
		kfake.DefaultNumPartitions(cmp.Or(o.DefaultPartitions, defaultPartitions)),
	}
	if len(o.Configs) > 0 {
		options = append(options, kfake.BrokerConfigs(o.Configs))
	}
	if o.DataDir != "" {
		options = append(options, kfake.DataDir(o.DataDir))
	}
	if o.LogWriter != nil {
		options = append(options, kfake.WithLogger(kfake.BasicLogger(o.LogWriter, kfake.LogLevelWarn)))
	}
	if o.Host != "" {
		options = append(options, kfake.ListenFn(o.listen))
	}
	return append(options, o.Extra...)
}

// listen is for kfake, which advertises its listener's address.
func (o Options) listen(network, address string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), network, net.JoinHostPort("", port))
	if err != nil {
		return nil, err
	}
	return advertised{listener, o.Host}, nil
}

// advertised is a listener with the address that clients are told.
type advertised struct {
	net.Listener
	host string
}

func (a advertised) Addr() net.Addr { return hostPort{a.Listener.Addr().(*net.TCPAddr), a.host} }

type hostPort struct {
	*net.TCPAddr
	host string
}

func (h hostPort) String() string { return net.JoinHostPort(h.host, strconv.Itoa(h.Port)) }

// Addr is the broker's address, host:port.
func (b *Broker) Addr() string { return b.addr }

// Cluster gives access to kfake's own controls, for faults: ControlKey answers,
// delays or drops requests of a kind; Fault is the simpler form of that.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// CreateTopics makes those of topics that are missing and leaves the others as they are.
func (b *Broker) CreateTopics(ctx context.Context, topics map[string]Topic) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr))
	if err != nil {
		return fmt.Errorf("connect to the broker: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		topic := topics[name]
		configs := map[string]*string{}
		for key, value := range topic.Configs {
			configs[key] = &value
		}
		_, err := admin.CreateTopic(ctx, cmp.Or(topic.Partitions, -1), -1, configs, name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", name, err)
		}
	}
	return nil
}

// Stop closes the broker's port and connections and saves its state.
func (b *Broker) Stop() error { return b.stop() }

func (b *Broker) unlock() error {
	if b.lock == nil {
		return nil
	}
	return b.lock.Release()
}

// ForTest runs a broker in memory until the end of the test, with the named
// topics, each of the default number of partitions.
func ForTest(tb testing.TB, topics ...string) *Broker {
	tb.Helper()
	options := Options{Topics: map[string]Topic{}}
	for _, name := range topics {
		options.Topics[name] = Topic{}
	}
	return StartForTest(tb, options)
}

// StartForTest runs a broker with the given options until the end of the test.
func StartForTest(tb testing.TB, options Options) *Broker {
	tb.Helper()
	b, err := Start(context.Background(), options)
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, b.Stop()) })
	return b
}
