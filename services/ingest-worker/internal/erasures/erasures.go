// Package erasures keeps the table of erased orders complete. Who erases an order writes it
// into the table and, as a note, into the topic of dead letters. A database that went back
// to an earlier state lacks what was erased since, and has the orders again: they are
// removed here.
//
// All notes are in partition 0 of the topic. How far it is in the table is a row of
// ingest_positions, so it goes back with the database.
package erasures

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
	"github.com/orderhub/orderhub/libs/platform/metric"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
)

// partition has all notes, see dlq.Queue.WriteNotes.
const partition = 0

// MaxRecordBytes is what has to be kept of a record of the topic, to know a note.
const MaxRecordBytes = 4 << 10

// Config of a Keeper. All fields are required.
type Config struct {
	Group, Topic string
	// Key by which erased orders are known; nil if none is set.
	Key *erasure.Key
	// Timeout bounds each small step, so that a connection that died silently is noticed.
	Timeout time.Duration
	// Reader reads partition 0 of Topic.
	Reader *fetch.Reader
	// RemoveLetters removes the letters of erased orders from Topic, and returns how many
	// there were.
	RemoveLetters func(ctx context.Context, known *erased.Known) (removed int, err error)
}

// TopicError is an error of the topic or its brokers.
type TopicError struct {
	topic string
	err   error
}

func (e *TopicError) Error() string {
	return fmt.Sprintf("read erased orders in the dead-letter topic: %v", kafkago.Refused(e.err, "Read", e.topic, ""))
}

func (e *TopicError) Unwrap() error { return e.err }

// Keeper brings the table up to date. Safe for concurrent use.
type Keeper struct {
	cfg     Config
	db      *bun.DB
	log     *zap.Logger
	removed prometheus.Counter
	// component is always ready: a worker that has its partitions goes on, and says what it
	// cannot read.
	component *health.Component
	mu        sync.Mutex // one use of the reader at a time
}

// New returns a keeper.
func New(cfg Config, db *bun.DB, registry prometheus.Registerer, component *health.Component, log *zap.Logger) *Keeper {
	component.Ready("")
	return &Keeper{cfg: cfg, db: db, log: log, component: component, removed: metric.Counter(registry, "orderhub_erasures_removed_orders_total",
		"Erased orders that a database had again after it went back to an earlier state, and that were removed.")}
}

// Sync reads what the topic has beyond the table's position. Orders that turn out to be
// erased are removed; this reads the uids of all orders, and happens only after the
// database went back. After an error it is to be repeated.
func (k *Keeper) Sync(ctx context.Context) error { return k.sync(ctx, false) }

// SyncRestored is Sync after the database went back. It removes orders even if the table has
// all erasures: the earlier state may be one amid an erasure.
func (k *Keeper) SyncRestored(ctx context.Context) error { return k.sync(ctx, true) }

func (k *Keeper) sync(ctx context.Context, restored bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.read(ctx, restored)
	switch {
	case err == nil:
		k.component.Ready("")
	case ctx.Err() == nil:
		k.component.Ready("not checked: " + err.Error())
	}
	return err
}

func (k *Keeper) read(ctx context.Context, restored bool) error {
	var has bool
	err := k.bounded(ctx, func(ctx context.Context) (err error) {
		has, err = orderdb.Has(ctx, k.db, "erasures")
		return err
	})
	if err != nil || !has {
		return err // with the last release's schema, nothing was ever erased
	}
	reader := k.cfg.Reader
	topicID, err := reader.TopicID(ctx)
	if err != nil {
		return &TopicError{k.cfg.Topic, err}
	}
	first, end, err := reader.Offsets(ctx)
	if err != nil {
		return &TopicError{k.cfg.Topic, err}
	}
	position := orderdb.IngestPosition{Group: k.cfg.Group, TopicID: topicID, Partition: partition, Topic: k.cfg.Topic}
	err = k.bounded(ctx, func(ctx context.Context) error {
		return k.db.NewSelect().Model(&position).WherePK().Scan(ctx)
	})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read the position of erasures: %w", err)
	}
	from := max(first, position.NextOffset)
	if from == end && !restored {
		return nil
	}
	if from > end { // the topic lost its end
		from = first
	}
	notes, next, err := k.notes(ctx, from, end)
	if err == nil {
		err = k.apply(ctx, notes, restored)
	}
	if err != nil {
		return err
	}
	hmacs := make([]string, len(notes))
	for i, note := range notes {
		hmacs[i] = hex.EncodeToString(note.HMAC)
	}
	err = k.bounded(ctx, func(ctx context.Context) error {
		result, err := k.db.NewRaw(advance, k.cfg.Group, topicID, partition, k.cfg.Topic, next, pgdialect.Array(hmacs)).Exec(ctx)
		if err != nil {
			return err
		}
		if rows, err := result.RowsAffected(); err != nil || rows > 0 {
			return err
		}
		return errors.New("the database went back to an earlier state meanwhile")
	})
	if err != nil {
		return fmt.Errorf("write the position of erasures: %w", err)
	}
	return nil
}

// advance writes the position if the table has the notes before it, and their orders are
// removed: one statement, so that a database that goes back has neither. Raw SQL: bun's
// builder inserts no SELECT.
const advance = `INSERT INTO ingest_positions AS p (consumer_group, topic_id, partition, topic, next_offset) SELECT ?, ?, ?, ?, ?
	WHERE NOT EXISTS (SELECT FROM unnest(?::text[]) AS note (hmac) LEFT JOIN erasures AS e ON e.hmac = decode(note.hmac, 'hex') WHERE e.pending IS DISTINCT FROM false)
	ON CONFLICT (consumer_group, topic_id, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset, updated_at = now()`

// bounded gives a step that makes one or two small statements its time.
func (k *Keeper) bounded(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	return step(ctx)
}

// Close closes the connection.
func (k *Keeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = k.cfg.Reader.Close() // it was only read from
}

// notes returns the notes in a range of offsets, and the offset up to which it read.
func (k *Keeper) notes(ctx context.Context, from, end int64) (notes []orderdb.Erasure, next int64, err error) {
	next, err = k.cfg.Reader.Each(ctx, from, end, func(record *fetch.Record) {
		if h, note, is := erasure.ParseNote(record.Key, record.Value); is {
			notes = append(notes, orderdb.Erasure{HMAC: h[:], KeyID: note.Key, ErasedAt: note.At, Pending: true})
		}
	})
	if err != nil {
		return nil, from, &TopicError{k.cfg.Topic, err}
	}
	return notes, next, nil
}

// apply adds the notes that the table lacks and removes their orders. What it has done stays
// done where it fails.
func (k *Keeper) apply(ctx context.Context, notes []orderdb.Erasure, restored bool) error {
	if len(notes) == 0 && !restored {
		return nil
	}
	var known *erased.Known
	load := func(ctx context.Context) (err error) {
		known, err = erased.Load(ctx, k.db, k.cfg.Key)
		return err
	}
	if err := k.bounded(ctx, load); err != nil {
		return err
	}
	missing := known.Missing(notes)
	var pending bool
	err := k.bounded(ctx, func(ctx context.Context) (err error) {
		pending, err = k.db.NewSelect().Model((*orderdb.Erasure)(nil)).Where("pending").Exists(ctx)
		return err
	})
	if err != nil || len(missing) == 0 && !pending && (!restored || known.Empty()) {
		return err
	}
	k.log.Error("the database went back to an earlier state: removing the orders that were erased", zap.Int("erasures", len(missing)))
	add := func(ctx context.Context) error { return erased.Add(ctx, k.db, missing) }
	await := func(ctx context.Context) error { return erased.Await(ctx, k.db) }
	for _, step := range []func(context.Context) error{add, load, await} {
		if err := k.bounded(ctx, step); err != nil {
			return err
		}
	}
	began := time.Now()
	removed, err := erased.Sweep(ctx, k.db, known, k.cfg.Timeout)
	k.removed.Add(float64(removed))
	if err != nil {
		return err
	}
	letters := 0
	if len(missing) > 0 || pending {
		// A worker that wrote one while the tables did not have its erasure could not know.
		if letters, err = k.cfg.RemoveLetters(ctx, known); err != nil {
			return &TopicError{k.cfg.Topic, err}
		}
	}
	k.log.Info("erased orders removed", zap.Int64("orders", removed), zap.Int("letters", letters), zap.Duration("duration_seconds", time.Since(began)))
	return k.bounded(ctx, func(ctx context.Context) error {
		if err := orderdb.RenewEpoch(ctx, k.db); err != nil {
			return err
		}
		_, err := k.db.NewUpdate().Model((*orderdb.Erasure)(nil)).Set("pending = false").Where("pending").Exec(ctx)
		return err
	})
}
