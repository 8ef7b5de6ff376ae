// Package positions decides where a partition is read from. Offsets are committed in
// Kafka, and the tables say how far they are themselves, so a database that went back to
// an earlier state gets the records since then again.
package positions

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/metric"
)

// keptAfter is how long positions of a topic that was made anew are kept. They count
// again if another cluster's topic takes its place for a while.
const keptAfter = 30 * 24 * time.Hour

// table has the positions. The last release's schema does not have it.
const table = "ingest_positions"

// Config of a Keeper. All fields are required.
type Config struct {
	Group, Topic string
	// Timeout bounds an attempt, so that a connection that died silently is noticed.
	Timeout time.Duration
}

// Keeper knows the positions of the partitions that this worker has. Safe for
// concurrent use.
type Keeper struct {
	cfg    Config
	db     *bun.DB
	log    *zap.Logger
	reread *prometheus.CounterVec
	paused prometheus.Gauge
	// component is always ready: a paused worker does what it is told.
	component *health.Component

	mu      sync.Mutex
	topicID string        // "": no generation has begun, or the schema has no positions yet
	waiting bool          // the generation began without positions
	reached map[int]int64 // what the tables have recorded of the partitions that this worker has
	resumed chan struct{} // closed at the end of a pause; nil: the group is not paused
}

// New returns a keeper that knows no position yet.
func New(cfg Config, db *bun.DB, registry prometheus.Registerer, component *health.Component, log *zap.Logger) *Keeper {
	component.Ready("")
	return &Keeper{
		cfg: cfg, db: db, log: log, component: component,
		paused: metric.Gauge(registry, "orderhub_ingest_paused", "1 while an operator has paused the group's workers."),
		reread: metric.Counters[string](registry, "orderhub_ingest_positions_behind_records_total",
			"Records that are read again, since the tables were behind the committed offset.", "partition"),
	}
}

// Forget forgets what was reached, at the beginning of a generation: another worker may have
// the partitions, and until Start has read the positions, WentBack has nothing to compare.
func (k *Keeper) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiting, k.reached = false, map[int]int64{}
}

// Start returns from where to read the assigned partitions, given their committed offsets
// (kafka.FirstOffset: none), and which of them the tables are behind; readers are told to
// relist then. If the tables have no positions of the topic yet, the committed offsets of
// all partitions (-1: none) become the positions. With the last release's schema, which has
// no positions at all, the committed offsets count; see Recorded.
func (k *Keeper) Start(ctx context.Context, topicID string, ofAll, assigned map[int]int64) (from map[int]int64, behind []int, err error) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	k.mu.Lock()
	begun := k.topicID == topicID
	k.mu.Unlock()
	if err := k.lookForPause(ctx); err != nil {
		return nil, nil, err
	}
	has, err := orderdb.Has(ctx, k.db, table)
	if err != nil {
		return nil, nil, err
	}
	if !has {
		k.mu.Lock()
		k.topicID, k.waiting = "", true
		k.mu.Unlock()
		return assigned, nil, nil
	}
	stored, err := k.read(ctx, topicID)
	if err != nil {
		return nil, nil, err
	}
	missing := map[int]int64{}
	if len(stored) == 0 && !begun {
		for id, offset := range ofAll {
			missing[id] = max(0, offset)
		}
		k.log.Info("the tables have no positions of the topic yet: the committed offsets count", zap.String("topic_id", topicID), zap.Any("committed_offsets", missing))
		maps.Copy(stored, missing)
	}
	from = maps.Clone(assigned)
	for id, offset := range assigned {
		if _, there := stored[id]; !there {
			missing[id] = 0 // nothing of the partition has been in these tables
		}
		if at := stored[id]; at < offset {
			from[id] = at
			behind = append(behind, id)
		}
	}
	if err := k.write(ctx, topicID, missing, len(behind) > 0); err != nil {
		return nil, nil, fmt.Errorf("write positions: %w", err)
	}
	k.mu.Lock()
	k.topicID = topicID
	k.mu.Unlock()
	for id, offset := range assigned {
		k.tell(id, offset, from[id])
		k.Reached(topicID, id, max(0, from[id]))
	}
	return from, behind, nil
}

// Recorded tells whether the schema has positions, as of the last Start.
func (k *Keeper) Recorded() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.topicID != ""
}

func (k *Keeper) read(ctx context.Context, topicID string) (map[int]int64, error) {
	var rows []orderdb.IngestPosition
	err := k.db.NewSelect().Model(&rows).Where("consumer_group = ?", k.cfg.Group).Where("topic_id = ?::uuid", topicID).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read positions: %w", err)
	}
	stored := make(map[int]int64, len(rows))
	for _, row := range rows {
		stored[row.Partition] = row.NextOffset
	}
	return stored, nil
}

// write adds missing positions. Each statement is a transaction of its own: one that a
// lost connection left open would keep others waiting.
func (k *Keeper) write(ctx context.Context, topicID string, missing map[int]int64, wentBack bool) error {
	if wentBack { // readers first: if this is repeated, they relist once more
		if err := orderdb.RenewEpoch(ctx, k.db); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var rows []orderdb.IngestPosition
	for id, offset := range missing {
		rows = append(rows, orderdb.IngestPosition{Group: k.cfg.Group, TopicID: topicID, Partition: id, Topic: k.cfg.Topic, NextOffset: offset})
	}
	// Several workers may start at once.
	if _, err := k.db.NewInsert().Model(&rows).On("CONFLICT DO NOTHING").Exec(ctx); err != nil {
		return err
	}
	_, err := k.db.NewDelete().Model((*orderdb.IngestPosition)(nil)).Where("consumer_group = ?", k.cfg.Group).Where("topic = ?", k.cfg.Topic).
		Where("topic_id <> ?::uuid", topicID).Where("updated_at < now() - make_interval(secs => ?)", keptAfter.Seconds()).Exec(ctx)
	return err
}

// tell logs and counts what is read again of a partition.
func (k *Keeper) tell(id int, committed, from int64) {
	counter := k.reread.WithLabelValues(strconv.Itoa(id)) // increase() would not see an event that creates its series
	if from == committed {
		return
	}
	again := committed - from
	counter.Add(float64(again))
	k.log.Error("the tables are behind the committed offset: the database went back to an earlier state, or an older worker wrote meanwhile; reading again",
		zap.Int("partition", id), zap.Int64("committed_offset", committed), zap.Int64("position", from), zap.Int64("records", again))
}

// Reached says that the tables have recorded a position.
func (k *Keeper) Reached(topicID string, id int, next int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.topicID == topicID {
		k.reached[id] = next
	}
}

// Reset moves a position back to where a partition begins that has lost its end.
func (k *Keeper) Reset(ctx context.Context, topicID string, id int, first int64) error {
	if !k.Recorded() {
		return nil
	}
	k.Reached(topicID, id, first)
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	_, err := k.db.NewUpdate().Model((*orderdb.IngestPosition)(nil)).Set("next_offset = ?", first).
		Where("consumer_group = ?", k.cfg.Group).Where("topic_id = ?::uuid", topicID).Where("partition = ?", id).Exec(ctx)
	return err
}

// WentBack tells whether the positions have to be read anew: the tables have less than they
// had recorded, or have positions since a migration. It also looks whether the group is paused.
func (k *Keeper) WentBack(ctx context.Context) (bool, error) {
	if err := k.lookForPause(ctx); err != nil {
		return false, err
	}
	k.mu.Lock()
	topicID, waiting, reached := k.topicID, k.waiting, maps.Clone(k.reached)
	k.mu.Unlock()
	if waiting {
		has, err := orderdb.Has(ctx, k.db, table)
		if has {
			k.log.Info("the schema has positions now; joining the group again")
		}
		return has, err
	}
	if len(reached) == 0 {
		return false, nil
	}
	stored, err := k.read(ctx, topicID)
	if err != nil {
		return false, err
	}
	for id, next := range reached {
		if at, there := stored[id]; !there || at < next {
			k.log.Error("the database went back to an earlier state; joining the group again")
			return true, nil
		}
	}
	return false, nil
}

// WhilePaused returns when the group is not paused, or ctx ends.
func (k *Keeper) WhilePaused(ctx context.Context) {
	k.mu.Lock()
	resumed := k.resumed
	k.mu.Unlock()
	if resumed == nil {
		return
	}
	select {
	case <-resumed:
	case <-ctx.Done():
	}
}

// lookForPause looks whether an operator has paused the group. After an error it stays as
// it was.
func (k *Keeper) lookForPause(ctx context.Context) error {
	if has, err := orderdb.Has(ctx, k.db, "ingest_pauses"); err != nil || !has {
		return err
	}
	var pause orderdb.IngestPause
	err := k.db.NewSelect().Model(&pause).Where("consumer_group = ?", k.cfg.Group).Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("look whether the workers are paused: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch paused := err == nil; {
	case paused && k.resumed == nil:
		k.resumed = make(chan struct{})
		k.paused.Set(1)
		k.component.Ready("paused since " + pause.Since.UTC().Format(time.RFC3339))
		k.log.Warn("paused by an operator: records wait in Kafka; orderctl worker status says who paused the workers and why",
			zap.String("group", k.cfg.Group), zap.Time("since", pause.Since))
	case !paused && k.resumed != nil:
		close(k.resumed)
		k.resumed = nil
		k.paused.Set(0)
		k.component.Ready("")
		k.log.Info("no longer paused", zap.String("group", k.cfg.Group))
	}
	return nil
}
