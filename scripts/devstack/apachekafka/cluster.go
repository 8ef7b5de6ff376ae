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
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/scripts/devstack/certificates"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
)

// startTimeout is for a broker, on a machine with other work.
const startTimeout = 4 * time.Minute

// clusterID is a UUID as Kafka writes them. It may be the same for all clusters, since no
// broker meets those of another.
const clusterID = "b3JkZXJodWIncyB0ZXN0cw"

// Listener is one of the ways into a broker.
type Listener string

// The listeners. Plain is always there.
const (
	Plain   Listener = "PLAINTEXT"
	SASL    Listener = "SASL"    // login with PLAIN or SCRAM
	TLS     Listener = "TLS"     // demands a client's certificate
	SASLTLS Listener = "SASLTLS" // login over TLS
	Proxied Listener = "PROXIED" // plain, through Broker.Proxy

	controller Listener = "CONTROLLER"
)

// Options say what runs. The zero value is a single broker with the listener
// Plain.
type Options struct {
	// Brokers is how many; 0 means one. Each is a controller as well. With three
	// or more, topics have three replicas by default.
	Brokers int
	// Users may log in at the listeners SASL and SASLTLS: passwords by name.
	Users map[string]string
	// TLS adds the listener TLS, and SASLTLS where there are users.
	TLS bool
	// Proxied adds the listener of that name. Clients that come through it meet
	// all brokers through their proxies.
	Proxied bool
	// Settings of the brokers; they win over the package's own.
	Settings map[string]string
	// Log takes what the package says about fetching; nil drops it.
	Log io.Writer
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
	if options.Brokers == 0 {
		options.Brokers = 1
	}
	if options.Log == nil {
		options.Log = io.Discard
	}
	distribution, err := Fetch(ctx, options.Log)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Distribution: distribution, options: options}
	if err := c.prepare(); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	if err := c.launch(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// prepare makes the folder, the brokers' ports, proxies and settings.
func (c *Cluster) prepare() (err error) {
	if c.dir, err = os.MkdirTemp("", "orderhub-kafka-"); err != nil {
		return err
	}
	if c.options.TLS {
		if c.Certificates, err = certificates.Make(c.dir); err != nil {
			return fmt.Errorf("make certificates: %w", err)
		}
	}
	for n := range c.options.Brokers {
		b := newBroker(c, n+1)
		c.Brokers = append(c.Brokers, b)
		if err := os.Mkdir(b.dir, 0o700); err != nil {
			return err
		}
		for _, listener := range c.listeners() {
			if b.ports[listener], err = ports.Free(); err != nil {
				return err
			}
		}
		if c.options.Proxied {
			if b.Proxy, err = proxy.Start(ports.Loopback(b.ports[Proxied]), proxy.Kafka); err != nil {
				return err
			}
		}
	}
	for _, b := range c.Brokers { // each names the ports of all
		if err := b.writeSettings(); err != nil {
			return err
		}
	}
	return nil
}

// launch starts all brokers at once, since none serves without the others.
func (c *Cluster) launch(ctx context.Context) error {
	group, launching := errgroup.WithContext(ctx)
	for _, b := range c.Brokers {
		group.Go(func() error {
			if err := b.format(launching); err != nil {
				return err
			}
			return b.Daemon.Start()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return c.WaitReady(ctx)
}

// listeners are those that each broker has.
func (c *Cluster) listeners() []Listener {
	all := []Listener{Plain, controller}
	if len(c.options.Users) > 0 {
		all = append(all, SASL)
	}
	if c.options.TLS {
		all = append(all, TLS)
	}
	if c.options.TLS && len(c.options.Users) > 0 {
		all = append(all, SASLTLS)
	}
	if c.options.Proxied {
		all = append(all, Proxied)
	}
	return all
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
		if !b.Running() {
			continue
		}
		if err := b.WaitReady(ctx); err != nil {
			return err
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
	if c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}
