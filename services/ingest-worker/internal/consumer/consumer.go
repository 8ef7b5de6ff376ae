// Package consumer makes the worker a member of its consumer group, and consumes the
// partitions that the group assigns to it.
package consumer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/pipeline"
)

// Config of a consumer.
type Config struct {
	Brokers []string
	Group   string
	Topic   string
	Topics  []kafkaconn.TopicSpec // created if missing, before the group is joined
	// SessionTimeout is how long the group waits for a silent member.
	SessionTimeout time.Duration
	// TopicWatchInterval is how often the number of partitions is checked.
	TopicWatchInterval time.Duration
	// PositionsInterval is how often it is checked that the tables did not go back, and
	// that the group is not paused.
	PositionsInterval time.Duration
}

// Membership is notified whether the worker is a member of its group.
type Membership interface {
	BlockGroup(why error)
	ClearGroup()
}

// Deps are the parts of a Consumer, all required.
type Deps struct {
	Client *kafka.Client
	Dialer *kafka.Dialer
	// Prepare is called before the group is joined. It returns once partitions can be consumed,
	// or with an error if they never can, or when ctx ends.
	Prepare func(ctx context.Context) error
	// Assign returns what consumes a generation's partitions; see pipeline.Pipeline.Assign.
	Assign   func(committed map[int]int64, committer pipeline.Committer) (consume func(ctx context.Context, partition int))
	WentBack func(ctx context.Context) (bool, error) // whether the positions have to be read anew
	// SyncErasures brings the table of erased orders up to date.
	SyncErasures func(ctx context.Context) error
	Fatal        func(error) // called with Prepare's error: the process is to stop
	Membership   Membership
	Component    *health.Component
	Log          *zap.Logger
}

// Consumer is a member of the group from Start until Stop. It joins in the
// background, once its topics exist. Stop lets each partition finish its batch, and
// leaves the group.
type Consumer struct {
	*lifecycle.Loop
	cfg  Config
	deps Deps
}

// New returns a consumer that has joined nothing yet.
func New(cfg Config, deps Deps) *Consumer {
	c := &Consumer{cfg: cfg, deps: deps}
	c.Loop = lifecycle.NewLoop("consumer", c.run, deps.Fatal)
	return c
}

func (c *Consumer) run(ctx context.Context) error {
	if err := c.deps.Prepare(ctx); err != nil {
		return err
	}
	for {
		partitions, err := c.ensureTopics(ctx)
		if err != nil {
			return err // ctx's
		}
		c.member(ctx, partitions)
	}
}

// ensureTopics waits until the topics exist, and returns the number of partitions of
// the orders' topic.
func (c *Consumer) ensureTopics(ctx context.Context) (partitions int, err error) {
	backoff := retry.NewBackoff(5 * time.Second)
	for {
		attempt, cancel := context.WithTimeout(ctx, 20*time.Second)
		states, err := kafkago.EnsureTopics(attempt, c.deps.Client, c.cfg.Topics)
		cancel()
		if err == nil {
			return c.report(states), nil
		}
		if ctx.Err() != nil { // the worker stops, and waits for nothing
			return 0, ctx.Err()
		}
		c.deps.Component.NotReady("topics: " + err.Error())
		c.deps.Membership.BlockGroup(fmt.Errorf("the topics cannot be created or checked: %w", err))
		if err := backoff.Wait(ctx); err != nil {
			return 0, err
		}
	}
}

func (c *Consumer) report(states []kafkaconn.TopicState) (partitions int) {
	for _, s := range states {
		if s.Name == c.cfg.Topic {
			partitions = s.Partitions
		}
		if s.Created {
			c.deps.Log.Info("topic created", zap.String("topic", s.Name), zap.Int("partitions", s.Partitions))
		}
		for _, problem := range s.Problems {
			c.deps.Log.Warn("unsuitable topic setting", zap.String("topic", s.Name), zap.String("problem", problem))
		}
	}
	return partitions
}

// member is a member of the group until ctx ends, the tables go back to an earlier state,
// or the topic gets more partitions: kafka-go's members do not reliably consume those, a
// new member does.
func (c *Consumer) member(ctx context.Context, partitions int) {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                c.cfg.Group,
		Brokers:           c.cfg.Brokers,
		Dialer:            withDetour(c.deps.Dialer, c.cfg.Brokers),
		Topics:            []string{c.cfg.Topic},
		GroupBalancers:    []kafka.GroupBalancer{kafka.RangeGroupBalancer{}, kafka.RoundRobinGroupBalancer{}},
		HeartbeatInterval: min(3*time.Second, c.cfg.SessionTimeout/4),
		SessionTimeout:    c.cfg.SessionTimeout,
		RebalanceTimeout:  c.cfg.SessionTimeout,
		JoinGroupBackoff:  500 * time.Millisecond,
		StartOffset:       kafka.FirstOffset,
	})
	if err != nil {
		panic("settings of the consumer group: " + err.Error()) // they were checked at start
	}
	member, leave := context.WithCancel(ctx)
	defer leave()
	var watching sync.WaitGroup
	watching.Go(func() {
		c.watchPartitions(member, partitions)
		leave()
	})
	watching.Go(func() {
		c.watchPositions(member)
		leave()
	})
	// Closing ends the generation, whose functions finish their batches, and leaves
	// the group.
	closed := make(chan struct{})
	stopClosing := context.AfterFunc(member, func() {
		defer close(closed)
		_ = group.Close() // always nil
	})
	c.generations(member, group)
	leave()
	if !stopClosing() {
		<-closed
	}
	watching.Wait()
}

// generations has the partitions of one generation after another consumed.
func (c *Consumer) generations(ctx context.Context, group *kafka.ConsumerGroup) {
	for {
		generation, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil, errors.Is(err, kafka.ErrGroupClosed):
			return
		case err != nil:
			// kafka-go waits before it tries again.
			err = kafkago.Refused(err, "Read", c.cfg.Topic, c.cfg.Group)
			c.deps.Component.NotReady("group: " + err.Error())
			c.deps.Membership.BlockGroup(fmt.Errorf("not a member of group %s: %w", c.cfg.Group, err))
			continue
		}
		assigned := generation.Assignments[c.cfg.Topic]
		committed := make(map[int]int64, len(assigned))
		for _, a := range assigned {
			committed[a.ID] = a.Offset
		}
		consume := c.deps.Assign(committed, generation)
		for id := range committed {
			generation.Start(func(ctx context.Context) { consume(ctx, id) })
		}
		c.deps.Membership.ClearGroup()
		c.deps.Component.Ready(fmt.Sprintf("generation %d, partitions %s", generation.ID, list(assigned)))
		c.deps.Log.Info("partitions assigned", zap.String("group", c.cfg.Group), zap.Int32("generation", generation.ID), zap.String("assigned", list(assigned)))
	}
}

// watchPartitions returns when the topic has more partitions than known, or ctx
// ends.
func (c *Consumer) watchPartitions(ctx context.Context, known int) {
	for {
		// Jitter, so that the members do not all leave at once.
		if retry.Sleep(ctx, c.cfg.TopicWatchInterval+rand.N(c.cfg.TopicWatchInterval/2+1)) != nil {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		now, err := kafkago.PartitionCount(attempt, c.deps.Client, c.cfg.Topic)
		cancel()
		if err == nil && now != known {
			c.deps.Log.Info("the number of partitions has changed; joining the group again", zap.Int("known_partitions", known), zap.Int("partitions", now))
			return
		}
	}
}

// watchPositions returns when the tables went back to an earlier state, or ctx ends. A
// busy partition notices by itself; this is for idle ones.
func (c *Consumer) watchPositions(ctx context.Context) {
	for {
		if retry.Sleep(ctx, c.cfg.PositionsInterval) != nil {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		wentBack, err := c.deps.WentBack(attempt) // an error is the database's, which the next batch tells
		cancel()
		if err == nil && wentBack {
			return
		}
		if err := c.deps.SyncErasures(ctx); err != nil && ctx.Err() == nil {
			c.deps.Log.Warn("erased orders not checked, retrying later", zap.Error(err))
		}
	}
}

func list(assigned []kafka.PartitionAssignment) string {
	if len(assigned) == 0 {
		return "none: the group has more members than the topic has partitions"
	}
	sort.Slice(assigned, func(i, j int) bool { return assigned[i].ID < assigned[j].ID })
	ids := make([]string, len(assigned))
	for i, a := range assigned {
		ids[i] = fmt.Sprint(a.ID)
	}
	return strings.Join(ids, ", ")
}

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
