package consumer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// detourTime is for how long a broker is not asked that let a request time out.
const detourTime = 10 * time.Second

// detour keeps the group's connections away from silent brokers.
//
// kafka-go asks the first broker that accepts a connection for the coordinator, and
// the next one only if none is accepted. A broker that hangs accepts connections and
// answers nothing, which would keep the worker out of its group.
type detour struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	silent map[string]time.Time // by address, since when
}

// withDetour returns a dialer like the given one that avoids silent brokers. A single
// broker cannot be avoided.
func withDetour(dialer *kafka.Dialer, brokers []string) *kafka.Dialer {
	if len(brokers) < 2 {
		return dialer
	}
	dial := dialer.DialFunc
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: dialer.KeepAlive}).DialContext
	}
	d := &detour{dial: dial, silent: map[string]time.Time{}}
	copied := *dialer
	copied.DialFunc = d.dialRound
	return &copied
}

func (d *detour) dialRound(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	since, silent := d.silent[address]
	d.mu.Unlock()
	if age := time.Since(since); silent && age < detourTime {
		return nil, fmt.Errorf("broker %s did not answer %s ago: asking another", address, age.Round(time.Millisecond))
	}
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: conn, timedOut: func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.silent[address] = time.Now()
	}}, nil
}

// watchedConn calls timedOut when an answer does not come in time.
type watchedConn struct {
	net.Conn
	timedOut func()
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		c.timedOut()
	}
	return n, err
}
