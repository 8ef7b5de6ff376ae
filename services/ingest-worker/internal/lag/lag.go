// Package lag measures how far the consumer group is behind the topic of the orders.
//
// It asks the broker on a schedule of its own, for all partitions, whichever worker has
// them. So the figures stay true while a worker is blocked and while partitions move.
package lag

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
)

// Config of a Meter. All fields are required.
type Config struct {
	Topic, Group string
	Interval     time.Duration // between two measurements
}

// Deps are the parts of a Meter.
type Deps struct {
	Client *kafka.Client
	// Source returns a reader of a partition that needs little memory.
	Source func(partition int) *fetch.Reader
	Log    *zap.Logger
}

// behind is a partition's lag. The zero value is none.
type behind struct {
	records int64
	offset  int64     // of the oldest uncommitted record
	oldest  time.Time // its timestamp; zero if it is not known
}

// Meter measures from Start until Stop. It is a prometheus.Collector of
// orderhub_ingest_lag_records and orderhub_ingest_lag_seconds, each by topic and
// partition. If the broker cannot be asked, the last known figures stay, and the age of
// the oldest record grows.
type Meter struct {
	*lifecycle.Loop
	cfg     Config
	deps    Deps
	records *prometheus.Desc
	seconds *prometheus.Desc
	// partitions are replaced as a whole, by the loop.
	partitions atomic.Pointer[map[int]behind]
}

// NewMeter returns a meter that measures nothing yet.
func NewMeter(cfg Config, deps Deps) *Meter {
	labels := []string{"partition"}
	topic := prometheus.Labels{"topic": cfg.Topic}
	m := &Meter{
		cfg: cfg, deps: deps,
		records: prometheus.NewDesc("orderhub_ingest_lag_records", "Records of the partition behind the group's committed offset.", labels, topic),
		seconds: prometheus.NewDesc("orderhub_ingest_lag_seconds", "Age of the partition's oldest uncommitted record, by its timestamp; 0 if there is none.", labels, topic),
	}
	m.partitions.Store(&map[int]behind{})
	m.Loop = lifecycle.NewLoop("lag", m.run, nil)
	return m
}

// Describe implements prometheus.Collector.
func (m *Meter) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements prometheus.Collector.
func (m *Meter) Collect(out chan<- prometheus.Metric) {
	for id, b := range *m.partitions.Load() {
		label, age := strconv.Itoa(id), 0.0
		if !b.oldest.IsZero() {
			age = max(0, time.Since(b.oldest).Seconds())
		}
		out <- prometheus.MustNewConstMetric(m.records, prometheus.GaugeValue, float64(b.records), label)
		out <- prometheus.MustNewConstMetric(m.seconds, prometheus.GaugeValue, age, label)
	}
}

func (m *Meter) run(ctx context.Context) error {
	failed := false
	for {
		err := m.measure(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !failed {
			m.deps.Log.Warn("lag not measured, retrying", zap.Error(err))
		}
		failed = err != nil
		if err := retry.Sleep(ctx, m.cfg.Interval); err != nil {
			return err
		}
	}
}

// measure replaces the figures of all partitions that could be asked.
func (m *Meter) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(m.cfg.Interval, 10*time.Second))
	defer cancel()
	count, err := kafkago.PartitionCount(ctx, m.deps.Client, m.cfg.Topic)
	if err != nil {
		return fmt.Errorf("partitions of %s: %w", m.cfg.Topic, err)
	}
	// The committed offsets come first: an end that is older would give a lag below zero.
	committed, err := kafkago.Committed(ctx, m.deps.Client, m.cfg.Group, m.cfg.Topic, count)
	if committed == nil {
		return err
	}
	bounds := make([]kafka.OffsetRequest, 0, 2*count)
	for id := range count {
		bounds = append(bounds, kafka.FirstOffsetOf(id), kafka.LastOffsetOf(id))
	}
	ends, failed := m.deps.Client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{m.cfg.Topic: bounds}, IsolationLevel: kafka.ReadCommitted,
	})
	if failed != nil {
		return fmt.Errorf("offsets of %s: %w", m.cfg.Topic, failed)
	}
	known := maps.Clone(*m.partitions.Load())
	maps.DeleteFunc(known, func(id int, _ behind) bool { return id >= count })
	for _, p := range ends.Topics[m.cfg.Topic] {
		if p.Error != nil {
			err = errors.Join(err, fmt.Errorf("offsets of %s/%d: %w", m.cfg.Topic, p.Partition, p.Error))
			continue
		}
		now := behind{offset: max(committed[p.Partition], p.FirstOffset)}
		if now.records = p.LastOffset - now.offset; now.records > 0 {
			var failure error
			now.oldest, failure = m.oldest(ctx, p.Partition, now.offset, known[p.Partition])
			err = errors.Join(err, failure)
		} else {
			now = behind{}
		}
		known[p.Partition] = now
	}
	m.partitions.Store(&known)
	return err
}

// oldest returns the timestamp of the first record from offset on, and reads it only if
// the group has moved since the last time.
func (m *Meter) oldest(ctx context.Context, partition int, offset int64, last behind) (time.Time, error) {
	if last.offset == offset && !last.oldest.IsZero() {
		return last.oldest, nil
	}
	reader := m.deps.Source(partition)
	defer func() { _ = reader.Close() }() // it was only read from
	answer, err := reader.Fetch(ctx, offset)
	if err != nil {
		return last.oldest, err
	}
	defer answer.Release()
	record, ok, err := answer.Next(ctx)
	if err != nil || !ok {
		return last.oldest, err // what is left there may be no record for consumers
	}
	return record.Timestamp, nil
}
