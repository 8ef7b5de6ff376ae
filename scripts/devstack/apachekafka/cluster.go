// Package apachekafka runs Apache Kafka on this machine, in KRaft mode, one
// process for each broker. It is for tests of what the embedded broker lacks:
// replicas, elections, compaction, transactions, other clients.
//
// It needs Java, and at first Maven, which fetches Kafka's archives into a cache
// folder. The data is in a temporary folder. The processes end with this one,
// however it ends.
package apachekafka

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/certificates"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// startTimeout is for a broker, on a machine with other work.
const startTimeout = 4 * time.Minute

// clusterID is a UUID as Kafka writes them. It may be the same for all clusters, since no
// broker meets those of another.
const clusterID = "b3JkZXJodWIncyB0ZXN0cw"

// Listener is one of the ways into a broker. Each broker has all of them.
type Listener string

// The listeners.
const (
	Plain   Listener = "PLAINTEXT"
	SASL    Listener = "SASL"    // login with PLAIN or SCRAM
	TLS     Listener = "TLS"     // demands a client's certificate
	SASLTLS Listener = "SASLTLS" // login over TLS
	Proxied Listener = "PROXIED" // plain, through Broker.Proxy

	controller Listener = "CONTROLLER"
)

// listeners are all, with what they speak.
var listeners = []struct {
	name     Listener
	protocol string
}{
	{Plain, "PLAINTEXT"}, {SASL, "SASL_PLAINTEXT"}, {TLS, "SSL"}, {SASLTLS, "SASL_SSL"}, {Proxied, "PLAINTEXT"}, {controller, "PLAINTEXT"},
}

// Options say what runs. The zero value is a single broker.
type Options struct {
	// Brokers is how many; 0 means one. Each is a controller as well. With three
	// or more, topics have three replicas by default.
	Brokers int
	// Users may log in at the listeners SASL and SASLTLS: passwords by name.
	Users map[string]string
	// Settings of the brokers; they win over the package's own.
	Settings map[string]string
}

// Cluster is a running cluster. Its methods may be called concurrently.
type Cluster struct {
	// Brokers by their number, less one.
	Brokers []*Broker
	// Certificates are for clients of the listeners with TLS.
	Certificates certificates.Files
	// Distribution has Kafka's tools and the Java client.
	Distribution *Distribution

	options Options
	dir     string
}

// Start brings up a cluster and returns once all of its brokers serve. ctx
// bounds the start only.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	options.Brokers = max(1, options.Brokers)
	distribution, err := Fetch(ctx)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Distribution: distribution, options: options}
	if err := must.Try(func() { c.prepare(); c.launch(ctx) }); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) prepare() {
	c.dir = must.Get(os.MkdirTemp("", "orderhub-kafka-"))
	c.Certificates = must.Get(certificates.Make(c.dir))
	for n := range c.options.Brokers {
		b := newBroker(c, n+1)
		c.Brokers = append(c.Brokers, b)
		must.Succeed(os.Mkdir(b.dir, 0o700))
		for _, listener := range listeners {
			b.ports[listener.name] = must.Get(ports.Free())
		}
		b.Proxy = must.Get(proxy.Start(ports.Loopback(b.ports[Proxied]), proxy.Kafka))
	}
	for _, b := range c.Brokers { // each names the ports of all
		must.Succeed(WriteProperties(b.settingsFile(), b.settings()))
	}
}

// launch starts all brokers at once, since none serves without the others.
func (c *Cluster) launch(ctx context.Context) {
	var parts []func(context.Context)
	for _, b := range c.Brokers {
		parts = append(parts, func(ctx context.Context) {
			b.format(ctx)
			must.Succeed(b.Daemon.Start())
		})
	}
	must.Together(ctx, parts...)
	must.Succeed(c.WaitReady(ctx))
}

// Addrs are the brokers' addresses, host:port, for clients of a listener.
func (c *Cluster) Addrs(listener Listener) []string {
	addrs := make([]string, len(c.Brokers))
	for i, b := range c.Brokers {
		addrs[i] = b.Addr(listener)
	}
	return addrs
}

// WaitReady returns once each broker that runs serves as a member of the
// cluster.
func (c *Cluster) WaitReady(ctx context.Context) error {
	for _, b := range c.Brokers {
		if b.Running() {
			if err := b.WaitReady(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Stop kills the brokers and removes their data.
func (c *Cluster) Stop() error {
	var errs []error
	for _, b := range c.Brokers {
		errs = append(errs, b.Kill())
		if b.Proxy != nil {
			b.Proxy.Close()
		}
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// TestVariable is the environment variable that turns on the tests that need a
// cluster; `make test-kafka` sets it. They take minutes and fetch Kafka.
const TestVariable = "ORDERHUB_TEST_KAFKA"

// ForTest runs a cluster until the end of the test. The test is skipped where
// it is not asked for, or where Java or Maven is missing.
func ForTest(tb testing.TB, options Options) *Cluster {
	tb.Helper()
	if os.Getenv(TestVariable) == "" {
		tb.Skip("runs Apache Kafka: `make test-kafka` does")
	}
	cluster, err := Start(context.Background(), options)
	var missing *MissingError
	if errors.As(err, &missing) {
		process.SkipForTest(tb, err.Error())
	}
	require.NoError(tb, err)
	tb.Cleanup(func() {
		if tb.Failed() {
			for _, b := range cluster.Brokers {
				tb.Logf("broker %d: %s", b.ID, b.Tail())
			}
		}
		assert.NoError(tb, cluster.Stop())
	})
	return cluster
}
