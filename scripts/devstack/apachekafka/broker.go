package apachekafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
)

const (
	brokerHeap    = "384m"
	readyPolling  = 50 * time.Millisecond
	attemptBounds = 5 * time.Second
	tailBytes     = 4000
)

// Broker is a broker of the cluster, which runs or not. Its methods may be
// called concurrently.
type Broker struct {
	ID int // from 1
	// Proxy is in front of the listener Proxied; nil without it.
	Proxy *proxy.Proxy

	cluster   *Cluster
	clusterID string
	dir       string
	ports     map[Listener]int

	mu   sync.Mutex
	proc *process.Process // nil while stopped
	log  *os.File
}

// Addr is the address, host:port, for clients of a listener.
func (b *Broker) Addr(listener Listener) string {
	if listener == Proxied {
		return b.Proxy.Addr()
	}
	return ports.Loopback(b.ports[listener])
}

// LogFile has what the broker says; it is appended to over restarts.
func (b *Broker) LogFile() string { return filepath.Join(b.dir, "broker.log") }

// DataDir is where the broker keeps its partitions.
func (b *Broker) DataDir() string { return filepath.Join(b.dir, "data") }

func (b *Broker) settingsFile() string { return filepath.Join(b.dir, "server.properties") }

// format prepares the data folder.
func (b *Broker) format(ctx context.Context) error {
	arguments := []string{"format", "-t", b.clusterID, "-c", b.settingsFile()}
	for user, password := range b.cluster.options.Users {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			arguments = append(arguments, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, user, password))
		}
	}
	var output bytes.Buffer
	cmd := b.cluster.Distribution.Tool("kafka.tools.StorageTool", arguments...)
	cmd.Stdout, cmd.Stderr = &output, &output
	p, err := process.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		return errors.Join(ctx.Err(), p.Stop(ctx, syscall.SIGKILL))
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("format broker %d's data folder: %w\n%s", b.ID, err, &output)
	}
	return nil
}

// launch starts the broker's process, and waits for nothing.
func (b *Broker) launch() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc != nil {
		return fmt.Errorf("broker %d runs already", b.ID)
	}
	log, err := os.OpenFile(b.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := b.cluster.Distribution.Java(brokerHeap, "kafka.Kafka", []string{b.settingsFile()})
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, log, log
	proc, err := process.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	b.proc, b.log = proc, log
	return nil
}

// Start runs a broker that was stopped again, on its data, and returns once it
// serves.
func (b *Broker) Start(ctx context.Context) error {
	if err := b.launch(); err != nil {
		return err
	}
	return b.WaitReady(ctx)
}

// WaitReady returns once the broker says of itself that it is a member of the
// cluster and not fenced.
func (b *Broker) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	b.mu.Lock()
	proc := b.proc
	b.mu.Unlock()
	if proc == nil {
		return fmt.Errorf("broker %d does not run", b.ID)
	}
	for {
		err := b.serves(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-proc.Done():
			return fmt.Errorf("broker %d has ended: %w\n%s", b.ID, proc.Err(), b.tail())
		case <-ctx.Done():
			return fmt.Errorf("broker %d does not serve: %w: %w\n%s", b.ID, context.Cause(ctx), err, b.tail())
		case <-time.After(readyPolling):
		}
	}
}

func (b *Broker) serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptBounds)
	defer cancel()
	// A client of its own each time: it asks this broker first.
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr(Plain)), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer client.Close()
	metadata, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	for _, member := range metadata.Brokers {
		if int(member.NodeID) == b.ID {
			return nil
		}
	}
	return fmt.Errorf("not among the brokers %v", metadata.Brokers.NodeIDs())
}

// Running says whether the broker has a process, also one that is paused.
func (b *Broker) Running() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.proc != nil
}

// Kill ends the broker with SIGKILL. One that does not run is no error.
func (b *Broker) Kill() error { return b.halt(context.Background(), syscall.SIGKILL) }

// Terminate ends the broker with SIGTERM: it hands its partitions over first.
// When ctx ends before that, it is killed, and the error says so.
func (b *Broker) Terminate(ctx context.Context) error { return b.halt(ctx, syscall.SIGTERM) }

func (b *Broker) halt(ctx context.Context, sig syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == nil {
		return nil
	}
	err := errors.Join(b.proc.Stop(ctx, sig), b.log.Close())
	b.proc = nil
	return err
}

// Pause freezes the broker (SIGSTOP): connections stay open and nothing answers.
func (b *Broker) Pause() error { return b.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (b *Broker) Resume() error { return b.signal(syscall.SIGCONT) }

func (b *Broker) signal(sig syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == nil {
		return fmt.Errorf("broker %d does not run", b.ID)
	}
	return b.proc.Signal(sig)
}

// tail is the end of the log.
func (b *Broker) tail() string {
	content, err := os.ReadFile(b.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-tailBytes):])
}
