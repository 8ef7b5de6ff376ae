package pipeline

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// Committer commits offsets for one generation of the group. The broker refuses
// a commit of a generation that is over.
type Committer interface {
	CommitOffsets(offsets map[string]map[int]int64) error
}

// commits are those of one generation. Batches that shared a transaction end together, so
// partitions that commit while a request is under way share the next one. Safe for
// concurrent use.
type commits struct {
	topic     string
	committer Committer

	mu      sync.Mutex
	next    *request // that partitions may join; nil: there is none
	sending sync.Mutex
}

// request is a commit for several partitions.
type request struct {
	offsets map[int]int64
	sent    bool
	err     error
}

// commit commits offsets, alone or with those of other partitions. An error of the request
// is that of all of them.
func (c *commits) commit(offsets map[int]int64) error {
	c.mu.Lock()
	if c.next == nil {
		c.next = &request{offsets: map[int]int64{}}
	}
	mine := c.next
	maps.Copy(mine.offsets, offsets)
	c.mu.Unlock()

	c.sending.Lock() // the first to get it sends for all
	defer c.sending.Unlock()
	if !mine.sent {
		c.mu.Lock()
		c.next = nil
		c.mu.Unlock()
		mine.err = c.committer.CommitOffsets(map[string]map[int]int64{c.topic: mine.offsets})
		mine.sent = true
	}
	return mine.err
}

// commit is retried like the rest, but not after the generation has ended.
func (c *partition) commit(ctx context.Context, next int64) error {
	began := time.Now()
	defer operation(ctx, tracing.Commit, c.cfg.Topic).End()
	defer func() { c.Metrics.Phase(ctx, phaseOffset, time.Since(began)) }()
	return c.retry(ctx, c.id, func(context.Context) error {
		return kafkago.Refused(c.commits.commit(map[int]int64{c.id: next}), "Read", c.cfg.Topic, c.cfg.Group)
	}, ofCommit)
}

// generationEnded reports whether a commit was refused because the partition may
// belong to another member by now. Its next owner reads again what was not
// committed.
func generationEnded(err error) bool {
	return errors.Is(err, kafka.IllegalGeneration) || errors.Is(err, kafka.UnknownMemberId) ||
		errors.Is(err, kafka.RebalanceInProgress) || errors.Is(err, kafka.ErrGenerationEnded) ||
		errors.Is(err, kafka.NotCoordinatorForGroup)
}
