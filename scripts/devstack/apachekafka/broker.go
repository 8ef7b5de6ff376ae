package apachekafka

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

const brokerHeap = "384m"

// Broker is a broker of the cluster; it may run or not. Its methods may be called
// concurrently.
type Broker struct {
	ID int // from 1
	// Proxy is in front of the listener Proxied. Clients that come through it meet all
	// brokers through their proxies.
	Proxy *proxy.Proxy
	// Daemon is the broker's program. Its log continues over all its starts.
	*process.Daemon

	cluster *Cluster
	dir     string
	ports   map[Listener]int
}

func newBroker(c *Cluster, id int) *Broker {
	b := &Broker{ID: id, cluster: c, ports: map[Listener]int{}, dir: filepath.Join(c.dir, fmt.Sprint("broker-", id))}
	b.Daemon = process.NewDaemon(fmt.Sprint("broker ", id), filepath.Join(b.dir, "broker.log"), func() *exec.Cmd {
		cmd := c.Distribution.Java(brokerHeap, "kafka.Kafka", []string{b.settingsFile()})
		cmd.Dir = b.dir
		return cmd
	})
	return b
}

// Addr is the address, host:port, for clients of a listener.
func (b *Broker) Addr(listener Listener) string {
	if listener == Proxied {
		return b.Proxy.Addr()
	}
	return ports.Loopback(b.ports[listener])
}

func (b *Broker) settingsFile() string { return filepath.Join(b.dir, "server.properties") }

func (b *Broker) format(ctx context.Context) {
	arguments := []string{"format", "-t", clusterID, "-c", b.settingsFile()}
	for user, password := range b.cluster.options.Users {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			arguments = append(arguments, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, user, password))
		}
	}
	var output bytes.Buffer
	cmd := b.cluster.Distribution.Tool("kafka.tools.StorageTool", arguments...)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := process.Run(ctx, cmd); err != nil {
		must.Succeed(fmt.Errorf("format the data folder of broker %d: %w\n%s", b.ID, err, &output))
	}
}

// Start starts a stopped broker on its data, and returns once it serves.
func (b *Broker) Start(ctx context.Context) error {
	if err := b.Daemon.Start(); err != nil {
		return err
	}
	return b.WaitReady(ctx)
}

// WaitReady returns once the broker reports itself as a member of the cluster that
// isn't fenced.
func (b *Broker) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if !b.Running() {
		return fmt.Errorf("broker %d doesn't run", b.ID)
	}
	return b.Daemon.WaitReady(ctx, b.serves)
}

func (b *Broker) serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// A new client each time: it asks this broker first.
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr(Plain)), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer client.Close()
	metadata, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(metadata.Brokers.NodeIDs(), int32(b.ID)) {
		return fmt.Errorf("not among the brokers %v", metadata.Brokers.NodeIDs())
	}
	return nil
}
