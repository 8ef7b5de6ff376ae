package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/ingest/errclass"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/erasures"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
)

// partition is one partition during one generation.
type partition struct {
	*Pipeline
	id      int
	topicID string
	commits *commits
	share   *share
	queue   *queue
	log     *zap.Logger
	often   rate.Sometimes // its batches' lines

	end  atomic.Int64 // offset after the last record, as of the last answer
	done atomic.Int64 // the position that the tables have recorded

	transactions int64 // of the partition in the tables, see orderwrite.Position
}

// Assign prepares for a generation's partitions, given their committed offsets
// (kafka.FirstOffset: none). The returned function consumes one of them until ctx ends. It
// returns when the current batch is done, or given up after Config.Grace; the partition's
// next owner reads again what was not committed.
func (p *Pipeline) Assign(committed map[int]int64, committer Committer) (consume func(ctx context.Context, id int)) {
	p.Position.Forget()
	p.Store.Forget()
	commits := &commits{topic: p.cfg.Topic, committer: committer}
	var once sync.Once
	var topicID string
	var from map[int]int64
	return func(ctx context.Context, id int) {
		once.Do(func() { topicID, from = p.start(ctx, committed, commits) })
		if ctx.Err() == nil && from != nil {
			p.consume(ctx, id, topicID, from[id], len(committed), commits)
		}
	}
}

// start returns the topic's id and from where to read, or nothing if ctx ends.
func (p *Pipeline) start(ctx context.Context, committed map[int]int64, commits *commits) (topicID string, from map[int]int64) {
	first := slices.Min(slices.Collect(maps.Keys(committed)))
	defer p.Blockage.clear(waiter{first, writing})
	reader := p.Source(first, 0, nil)
	defer func() { _ = reader.Close() }() // it was only read from
	var ofAll map[int]int64
	err := p.retry(ctx, first, func(ctx context.Context) (err error) {
		if topicID, err = reader.TopicID(ctx); err == nil {
			ofAll, err = p.Committed(ctx)
		}
		return kafkago.Refused(err, "Read", p.cfg.Topic, p.cfg.Group)
	}, ofBroker(errclass.CauseBroker))
	var behind []int
	if err == nil {
		err = p.retry(ctx, first, func(ctx context.Context) (err error) {
			from, behind, err = p.Position.Start(ctx, topicID, ofAll, committed)
			return err
		}, errclass.Of)
	}
	// Before any record that a restored database lacks is read. A database that goes back after
	// its positions were read is noticed by them.
	if err == nil {
		sync := p.Erasures.Sync
		if len(behind) > 0 {
			sync = p.Erasures.SyncRestored
		}
		err = p.retry(ctx, first, sync, func(err error) (errclass.Class, errclass.Cause) {
			if errors.As(err, new(*erasures.TopicError)) {
				return errclass.Environment, errclass.CauseDeadLetters
			}
			return errclass.Of(err)
		})
	}
	if err != nil {
		return "", nil
	}
	back := map[int]int64{}
	for _, id := range behind {
		back[id] = from[id]
	}
	if len(back) > 0 { // so that the lag is right from now on
		if err := commits.commit(back); err != nil {
			p.Log.Warn("the committed offsets do not go back yet", zap.Error(err))
		}
	}
	return topicID, from
}

func (p *Pipeline) consume(ctx context.Context, id int, topicID string, offset int64, assigned int, commits *commits) {
	c := &partition{
		Pipeline: p, id: id, topicID: topicID, commits: commits, share: p.Budget.share(assigned), queue: newQueue(batch.New(p.cfg.Batch, p.clock), p.Position.WhilePaused),
		log: p.Log.With(zap.Int("partition", id)), often: rate.Sometimes{Interval: time.Second},
	}
	c.done.Store(max(0, offset))
	p.Metrics.assigned.Inc()
	defer p.Metrics.assigned.Dec()
	p.summary.join()
	defer p.summary.leave(id)
	defer p.Blockage.clear(waiter{id, reading})
	defer p.Blockage.clear(waiter{id, writing})
	for _, rare := range []*prometheus.CounterVec{p.Metrics.gaps, p.Metrics.recreated} {
		rare.WithLabelValues(strconv.Itoa(id)) // increase() would not see an event that creates its series
	}

	// Reading ends with the generation, or when writing has given up.
	untilGivenUp, stopReading := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer c.queue.close()
		c.read(untilGivenUp, offset)
	}()
	c.write(ctx)
	stopReading()
	<-done
	rest := c.queue.rest()
	endTraces(rest, nil, false)
	for _, r := range rest {
		c.share.give(r.cost)
	}
}

// read fetches and decodes until ctx ends.
func (c *partition) read(ctx context.Context, offset int64) {
	reader := c.Source(c.id, c.share.answerBytes(), c.share.admit)
	defer func() { _ = reader.Close() }()
	decoder := ingest.NewDecoder(c.Codec, c.Metrics.unknownField)
	backoff := retry.NewBackoff(longestBackoff)
	for ctx.Err() == nil {
		next, busy, err := c.fetch(ctx, reader, decoder, offset)
		offset = next
		if err == nil {
			c.Blockage.clear(waiter{c.id, reading})
			backoff.Reset()
			if busy {
				// An answer costs the broker and the worker as much as dozens of records
				// in it. So under a load that the worker keeps up with, the broker is asked
				// once for each batch, early enough for the answer to be decoded.
				rest, lead := c.cfg.Batch.Period/4, c.cfg.Batch.Period*3/8
				_ = retry.Sleep(ctx, max(rest, c.queue.untilDue()-lead)) // the loop checks ctx
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		err = kafkago.Refused(err, "Read", c.cfg.Topic, c.cfg.Group)
		c.Blockage.block(waiter{c.id, reading}, errclass.Environment, errclass.CauseBroker, err)
		if backoff.Wait(ctx) != nil {
			return
		}
	}
}

// fetch puts one answer of the broker into the queue and returns the next offset to
// fetch, also with an error. busy reports that the answer indicates load, and that
// there are no more records yet.
func (c *partition) fetch(ctx context.Context, reader *fetch.Reader, decoder *ingest.Decoder, offset int64) (next int64, busy bool, err error) {
	if offset == kafka.FirstOffset {
		first, _, err := reader.Offsets(ctx)
		if err != nil {
			return offset, false, err
		}
		offset = first
	}
	c.queue.begin(offset)
	asked := time.Now()
	answer, err := reader.Fetch(ctx, offset)
	var outOfRange *fetch.OffsetOutOfRangeError
	if errors.As(err, &outOfRange) {
		if outOfRange.Offset > outOfRange.End {
			if err := c.Position.Reset(ctx, c.topicID, c.id, outOfRange.First); err != nil {
				return offset, false, fmt.Errorf("reset the position: %w", err)
			}
			c.done.Store(outOfRange.First)
		}
		return c.skipGap(outOfRange), false, nil
	}
	if err != nil {
		return offset, false, err
	}
	defer answer.Release()
	c.end.Store(max(answer.LastStableOffset, answer.LogStartOffset))
	fetched, waited := time.Now(), time.Duration(0)
	records := 0
	var traced []*record
	for {
		raw, ok, err := answer.Next(ctx)
		if err != nil {
			return offset, false, err
		}
		if !ok {
			break
		}
		r := &record{offset: raw.Offset, bytes: int64(len(raw.Key) + len(raw.Value)), cost: cost(raw)}
		full, err := c.makeRoom(ctx, r.cost)
		if err != nil {
			return offset, false, err
		}
		waited += full
		decoder.DecodeInto(&r.Record, sourceOf(raw, c.cfg.Topic, c.id))
		if r.trace(&raw, c.cfg.Topic, c.cfg.Group, c.id); r.span != nil {
			traced = append(traced, r)
		}
		c.queue.push(r)
		records++
		offset = raw.Offset + 1
	}
	c.received(asked, traced)
	if records > 0 { // else it was only a wait for records
		c.Metrics.Phase(ctx, phaseFetch, fetched.Sub(asked))
		c.Metrics.Phase(ctx, phaseDecode, time.Since(fetched)-waited)
	}
	c.Metrics.skipped.WithLabelValues(aborted).Add(float64(answer.AbortedRecords))
	c.Metrics.skipped.WithLabelValues(control).Add(float64(answer.ControlRecords))
	c.queue.advance(answer.NextOffset())
	return answer.NextOffset(), records >= c.cfg.Batch.Busy && answer.NextOffset() >= c.end.Load(), nil
}

// makeRoom waits until the budget has room for a record of so many bytes.
func (c *partition) makeRoom(ctx context.Context, bytes int64) (waited time.Duration, err error) {
	if c.share.tryTake(bytes) {
		return 0, nil
	}
	began := time.Now()
	c.queue.starve(true)
	defer c.queue.starve(false)
	err = c.share.take(ctx, bytes)
	return time.Since(began), err
}

// skipGap returns the first offset that the topic still has. If the wanted offset is
// below it, retention has deleted records before the worker read them. If it is above
// the end, the topic was deleted and created, or truncated: it is read from its first
// record, and what was stored before is recognized as a duplicate.
func (c *partition) skipGap(gap *fetch.OffsetOutOfRangeError) int64 {
	if gap.Offset < gap.First {
		lost := gap.First - gap.Offset
		c.Metrics.gaps.WithLabelValues(strconv.Itoa(c.id)).Add(float64(lost))
		c.log.Error("records are lost to the tables: retention deleted them before this group read them, or before it read them again",
			zap.Int64("wanted_offset", gap.Offset), zap.Int64("first_offset", gap.First), zap.Int64("lost", lost))
	} else {
		c.Metrics.recreated.WithLabelValues(strconv.Itoa(c.id)).Inc()
		c.log.Error("the topic ends before the committed offset: it was recreated or truncated; reading it from its first record",
			zap.Int64("committed_offset", gap.Offset), zap.Int64("end_offset", gap.End), zap.Int64("first_offset", gap.First))
	}
	return gap.First
}

// write finishes batch after batch until ctx ends or a batch is given up.
func (c *partition) write(ctx context.Context) {
	hard, cancel := c.graceAfter(ctx)
	defer cancel()
	for ctx.Err() == nil {
		taken, next, trigger, ok := c.queue.take(ctx, c.cfg.MaxBatch)
		if !ok {
			return
		}
		if len(taken) > 0 {
			c.Metrics.flushes.WithLabelValues(string(trigger)).Inc()
		}
		err := c.finish(hard, taken, next)
		cost := int64(0)
		for _, r := range taken {
			cost += r.cost
		}
		c.share.give(cost) // a record that a limit was too small for had all of it, so the sum is as right
		if err != nil {
			c.log.Info("batch given up; the partition's next owner will read it again", zap.Int("records", len(taken)), zap.Error(err))
			return
		}
	}
}

// graceAfter returns a context that ends some time after ctx.
func (c *partition) graceAfter(ctx context.Context) (context.Context, context.CancelFunc) {
	hard, cancel := context.WithCancelCause(context.Background())
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(c.cfg.Grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(errors.New("the partition was revoked"))
		case <-hard.Done():
		}
	})
	return hard, func() {
		stop()
		cancel(context.Canceled)
	}
}

// finish stores a batch and its position, waits for the acknowledgement of its dead
// letters, and commits its offset.
func (c *partition) finish(ctx context.Context, taken []*record, next int64) error {
	began := time.Now()
	records, bytes := make([]*ingest.Record, len(taken)), int64(0)
	for i, r := range taken {
		records[i], bytes = &r.Record, bytes+r.bytes
	}
	var dead []deadletter.Letter
	done := false
	ctx, span := c.traceBatch(ctx, taken)
	defer func() {
		if tracing.On() {
			endTraces(taken, dead, done)
		}
		span.End()
	}()
	err := c.intoTables(ctx, records, next)
	if err != nil {
		return err
	}
	c.Metrics.stored(records)
	if dead, err = ingest.SendLetters(ctx, records, c, c.cfg.Group, c.send); err != nil {
		return err
	}
	if err := c.commit(ctx, next); err != nil {
		return err
	}
	done = true
	c.account(ctx, records, dead, bytes, next, time.Since(began))
	return nil
}

// intoTables stores a batch and its position.
func (c *partition) intoTables(ctx context.Context, records []*ingest.Record, next int64) error {
	var writer ingest.Writer = c.Store
	if c.Position.Recorded() {
		writer = c.Store.Recording(orderwrite.Position{
			Group: c.cfg.Group, TopicID: c.topicID, Partition: c.id, From: c.done.Load(), Next: next, Transactions: &c.transactions,
		})
	}
	err := c.retry(ctx, c.id, func(ctx context.Context) error { return ingest.Store(ctx, writer, records) }, ofTables)
	if err == nil {
		c.done.Store(next)
		c.Position.Reached(c.topicID, c.id, next)
	}
	return err
}

// Known returns the erased orders that the writer knows; with Refresh, a partition is
// ingest.Erasures.
func (c *partition) Known() *erased.Known { return c.Store.Known() }

// Refresh retries the writer's Refresh.
func (c *partition) Refresh(ctx context.Context) error {
	return c.retry(ctx, c.id, c.Store.Refresh, ofTables)
}

func (c *partition) send(ctx context.Context, all []deadletter.Letter) error {
	left, began := make([]*deadletter.Letter, len(all)), time.Now()
	for i := range all {
		left[i] = &all[i]
	}
	defer operation(ctx, tracing.Send, c.Producer.Topic()).End()
	defer func() { c.Metrics.Phase(ctx, phaseLetters, time.Since(began)) }()
	return c.retry(ctx, c.id, func(ctx context.Context) (err error) {
		left, err = c.Producer.Send(ctx, left)
		return err
	}, ofBroker(errclass.CauseDeadLetters))
}

// account counts and logs the outcomes of a batch. Under load there is a line each second
// for a partition, and the summary; at debug level every batch has its line.
func (c *partition) account(ctx context.Context, records []*ingest.Record, dead []deadletter.Letter, bytes, next int64, took time.Duration) {
	outcomes, debug := map[ingest.Outcome]int{}, c.log.Core().Enabled(zap.DebugLevel)
	for _, r := range records {
		outcome := r.Outcome()
		outcomes[outcome]++
		if debug {
			c.logOutcome(r, outcome)
		}
	}
	reasons := map[string]int{}
	for _, letter := range dead {
		reasons[letter.Reason]++
		c.Metrics.deadLetters.WithLabelValues(letter.Reason).Inc()
		c.log.Debug("record is a dead letter", zap.String("letter", letter.ID), zap.String("reason", letter.Reason))
	}
	for outcome, n := range outcomes {
		c.Metrics.records.WithLabelValues(string(outcome)).Add(float64(n))
	}
	if len(records) == 0 {
		return // there were only control records
	}
	c.Metrics.batch.Observe(float64(len(records)))
	c.Metrics.flush.Observe(took.Seconds())
	lag := max(0, c.end.Load()-next)
	c.summary.add(c.id, lag, tally{batches: 1, records: len(records), outcomes: outcomes, bytes: bytes})
	level := zap.DebugLevel
	c.often.Do(func() { level = zap.InfoLevel })
	if line := c.log.Check(level, "batch done"); line != nil {
		fields := append(countsOf(len(records), outcomes),
			zap.Int64("bytes", bytes), zap.Int64("next_offset", next), zap.Int64("lag", lag), zap.Duration("duration_seconds", took), tracing.Field(ctx))
		if len(dead) > 0 {
			fields = append(fields, zap.Any("reasons", reasons))
		}
		line.Write(fields...)
	}
}

// logOutcome writes the line about one record at debug level. Letters have a line of their own.
func (c *partition) logOutcome(r *ingest.Record, outcome ingest.Outcome) {
	log := c.log.With(zap.String("order_uid", r.OrderUID()), zap.Int64("offset", r.Source.Offset))
	switch outcome {
	case ingest.Stored:
		log.Debug("order stored")
	case ingest.Duplicate:
		log.Debug("order is a duplicate")
	case ingest.Replaced:
		log.Debug("order replaced")
	case ingest.Stale:
		log.Debug("record is stale")
	case ingest.Deleted:
		log.Debug("order deleted")
	default: // the others have become letters, or no order
	}
}
