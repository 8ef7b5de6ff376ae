package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
)

// conn is an authenticated connection to one broker, with negotiated request versions.
type conn struct {
	*protocol.Conn
	address      string
	clientID     string
	fetchVersion int16
	// metadataVersion is the newest version of Metadata that the broker supports.
	metadataVersion int16
	correlation     int32     // of the last Fetch; kafka-go numbers its own requests
	expires         time.Time // the broker requires a new login then; zero: never
	timeout         time.Duration
}

// leader returns the connection to the partition's leader, and opens it if there is none.
func (r *Reader) leader(ctx context.Context) (*conn, error) {
	if r.conn != nil && !r.conn.expires.IsZero() && time.Now().After(r.conn.expires) {
		_ = r.Close() // the broker would close it during the next request
	}
	if r.conn != nil {
		return r.conn, nil
	}
	c, err := r.findLeader(ctx)
	if err != nil {
		return nil, err
	}
	r.conn = c
	return c, nil
}

// findLeader asks one broker after another for the leader, and connects to it.
func (r *Reader) findLeader(ctx context.Context) (*conn, error) {
	var errs []error
	candidates := slices.Clone(r.cfg.Brokers)
	for _, address := range r.known {
		if !slices.Contains(candidates, address) {
			candidates = append(candidates, address)
		}
	}
	for _, address := range candidates {
		c, err := r.leaderBy(ctx, address)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("find the leader: %w", errors.Join(errs...))
}

func (r *Reader) leaderBy(ctx context.Context, address string) (*conn, error) {
	c, err := dial(ctx, r.cfg, address)
	if err != nil {
		return nil, err
	}
	leader, err := r.askLeader(ctx, c)
	if err == nil && leader == c.address {
		return c, nil
	}
	_ = c.Close() // it is not needed any more
	if err != nil {
		return nil, err
	}
	return dial(ctx, r.cfg, leader)
}

// askLeader returns the address of the partition's leader from the broker's metadata.
func (r *Reader) askLeader(ctx context.Context, c *conn) (string, error) {
	response, err := ask[*metadata.Response](ctx, c, &metadata.Request{TopicNames: []string{r.cfg.Topic}})
	if err != nil {
		return "", err
	}
	addresses := map[int32]string{}
	r.known = r.known[:0]
	for _, b := range response.Brokers {
		addresses[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		r.known = append(r.known, addresses[b.NodeID])
	}
	for _, topic := range response.Topics {
		if topic.Name != r.cfg.Topic {
			continue
		}
		if topic.ErrorCode != 0 {
			return "", kafka.Error(topic.ErrorCode)
		}
		for _, p := range topic.Partitions {
			if int(p.PartitionIndex) != r.cfg.Partition {
				continue
			}
			if address, ok := addresses[p.LeaderID]; ok {
				return address, nil
			}
			if p.ErrorCode != 0 {
				return "", kafka.Error(p.ErrorCode)
			}
			return "", kafka.LeaderNotAvailable
		}
	}
	return "", kafka.UnknownTopicOrPartition
}

func (c *conn) listOffset(ctx context.Context, cfg Config, at int64) (int64, error) {
	response, err := ask[*listoffsets.Response](ctx, c, &listoffsets.Request{
		ReplicaID: -1,
		Topics: []listoffsets.RequestTopic{{
			Topic:      cfg.Topic,
			Partitions: []listoffsets.RequestPartition{{Partition: int32(cfg.Partition), CurrentLeaderEpoch: -1, Timestamp: at}},
		}},
	})
	if err != nil {
		return 0, err
	}
	for _, topic := range response.Topics {
		for _, p := range topic.Partitions {
			if topic.Topic != cfg.Topic || int(p.Partition) != cfg.Partition {
				continue
			}
			if p.ErrorCode != 0 {
				return 0, kafka.Error(p.ErrorCode)
			}
			return p.Offset, nil
		}
	}
	return 0, fmt.Errorf("%w: it lacks the partition", errMalformed)
}

// ask sends one of kafka-go's requests and waits for the answer.
func ask[Response protocol.Message](ctx context.Context, c *conn, request protocol.Message) (response Response, err error) {
	defer c.closeOn(ctx)()
	if err := c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return response, err
	}
	answer, err := c.RoundTrip(request)
	if err != nil {
		return response, fmt.Errorf("ask %s: %w", c.address, noEOF(err))
	}
	response, ok := answer.(Response)
	if !ok {
		return response, fmt.Errorf("ask %s: %w: it is a %T", c.address, errMalformed, answer)
	}
	return response, nil
}

// closeOn closes the connection when ctx ends, which interrupts its readers and writers,
// until the returned function is called.
func (c *conn) closeOn(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		_ = c.Close() // the interrupted call returns an error
	})
}

func dial(ctx context.Context, cfg Config, address string) (*conn, error) {
	timeout := cmp.Or(cfg.Dialer.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	open := cfg.Dialer.DialFunc
	if open == nil {
		open = (&net.Dialer{KeepAlive: cfg.Dialer.KeepAlive}).DialContext
	}
	network, err := open(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	c := &conn{
		Conn:     protocol.NewConn(network, cfg.Dialer.ClientID),
		address:  address,
		clientID: cfg.Dialer.ClientID,
		timeout:  cfg.Timeout,
	}
	err = c.agree(ctx)
	if err == nil && cfg.Dialer.SASLMechanism != nil {
		err = c.logIn(ctx, cfg.Dialer.SASLMechanism)
	}
	if err != nil {
		_ = c.Close() // err says why
		if ctx.Err() != nil {
			err = fmt.Errorf("not done within %v: %w", timeout, err)
		}
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return c, nil
}

func (c *conn) agree(ctx context.Context) error {
	response, err := ask[*apiversions.Response](ctx, c, &apiversions.Request{})
	if err != nil {
		return err
	}
	if response.ErrorCode != 0 {
		return kafka.Error(response.ErrorCode)
	}
	versions := map[protocol.ApiKey]int16{}
	for _, api := range response.ApiKeys {
		key := protocol.ApiKey(api.ApiKey)
		versions[key] = key.SelectVersion(api.MinVersion, api.MaxVersion)
		if key == protocol.Metadata {
			c.metadataVersion = api.MaxVersion
		}
		if key != protocol.Fetch {
			continue
		}
		c.fetchVersion = min(newestFetch, api.MaxVersion)
		if c.fetchVersion < max(oldestFetch, api.MinVersion) {
			return fmt.Errorf("the broker supports versions %d to %d of Fetch, the worker %d to %d: %w",
				api.MinVersion, api.MaxVersion, oldestFetch, newestFetch, kafka.UnsupportedVersion)
		}
	}
	c.SetVersions(versions)
	return nil
}

func (c *conn) logIn(ctx context.Context, mechanism sasl.Mechanism) error {
	hello, err := ask[*saslhandshake.Response](ctx, c, &saslhandshake.Request{Mechanism: mechanism.Name()})
	if err != nil {
		return err
	}
	if hello.ErrorCode != 0 {
		return fmt.Errorf("log in by %s: %w", mechanism.Name(), kafka.Error(hello.ErrorCode))
	}
	host, port, err := net.SplitHostPort(c.address)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	session, message, err := mechanism.Start(sasl.WithMetadata(ctx, &sasl.Metadata{Host: host, Port: number}))
	if err != nil {
		return fmt.Errorf("log in by %s: %w", mechanism.Name(), err)
	}
	for done := false; !done; {
		response, err := ask[*saslauthenticate.Response](ctx, c, &saslauthenticate.Request{AuthBytes: message})
		if errors.Is(err, io.ErrUnexpectedEOF) { // some brokers just close the connection
			err = kafka.SASLAuthenticationFailed
		}
		if err != nil {
			return fmt.Errorf("log in by %s: %w", mechanism.Name(), err)
		}
		if response.ErrorCode != 0 {
			return fmt.Errorf("log in by %s: %w", mechanism.Name(), kafka.Error(response.ErrorCode))
		}
		if response.SessionLifetimeMs > 0 {
			c.expires = time.Now().Add(time.Duration(response.SessionLifetimeMs) * time.Millisecond * 4 / 5)
		}
		if done, message, err = session.Next(ctx, response.AuthBytes); err != nil {
			return fmt.Errorf("log in by %s: %w", mechanism.Name(), err)
		}
	}
	return nil
}
