// Package pipeline moves a partition's records from Kafka into the tables: fetch,
// decode and validate, batch what has arrived, write in one transaction, wait for the
// acknowledgement of the dead letters, commit the offset. In this order a worker that
// is killed at any instant loses nothing: what is not committed is read again, and
// recognized as a duplicate.
package pipeline

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/ingest/errclass"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/erasures"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/letters"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/positions"
)

// Config of a pipeline.
type Config struct {
	Topic string
	Group string
	// Batch says when a batch is flushed.
	Batch batch.Limits
	// MaxBatch is how many records are in a batch at most.
	MaxBatch int
	// Grace is how long the current batch may take once the partition is revoked:
	// well within the group's session time-out, since no heartbeats are sent
	// meanwhile.
	Grace time.Duration
}

// longestBackoff is the longest wait between two attempts.
const longestBackoff = 5 * time.Second

// Pipeline has what all partitions share. Safe for concurrent use.
type Pipeline struct {
	Deps
	cfg     Config
	summary *summary
	clock   time.Time // partitions under load flush at the same instants, see batch.New
}

// Source returns the reader of a partition. Its answers have maxBytes, and admit lets
// them into memory; see fetch.Config.
type Source func(partition int, maxBytes int32, admit func(context.Context, int) (func(), error)) *fetch.Reader

// Deps are the parts of a Pipeline, all required.
type Deps struct {
	Source   Source
	Codec    *model.Codec
	Store    *orderwrite.Writer
	Position *positions.Keeper
	Erasures *erasures.Keeper
	Producer *letters.Producer
	Budget   *Budget
	Blockage *Blockage
	Metrics  *Metrics
	Log      *zap.Logger
	Rights   func(context.Context) error // names what the database's user lacks
	// Committed returns the group's committed offsets in all partitions; -1: none.
	Committed func(context.Context) (map[int]int64, error)
	Fatal     func(error) // called with a defect, on which the worker stops
}

// New returns a pipeline.
func New(cfg Config, d Deps) *Pipeline {
	d.Metrics.ofBudget(d.Budget)
	return &Pipeline{Deps: d, cfg: cfg, summary: newSummary(d.Log), clock: time.Now()}
}

// errStopped ends the retries of a worker that stops.
var errStopped = errors.New("the worker stops")

// retry calls try until it succeeds, and returns nil then. Errors of the environment
// are retried without end, visibly. It gives up when ctx ends, on an error that ends the
// generation, and on a defect, which it reports.
func (p *Pipeline) retry(ctx context.Context, partition int, try func(context.Context) error, classify func(error) (errclass.Class, errclass.Cause)) error {
	backoff := retry.NewBackoff(longestBackoff)
	for {
		err := try(ctx)
		if err == nil {
			p.Blockage.clear(waiter{partition, writing})
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		class, cause := classify(err)
		if class == ended {
			return err
		}
		if class == errclass.Defect {
			p.Fatal(err)
			return errStopped
		}
		if cause == errclass.CauseRights {
			if lacking := p.Rights(ctx); lacking != nil {
				err = lacking // PostgreSQL names the table only
			}
		}
		p.Blockage.block(waiter{partition, writing}, class, cause, err)
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// ended is the class of errors with which the generation ends: the partition's next owner
// reads again what was not committed.
const ended errclass.Class = "ended"

// ofBroker classifies errors of Kafka, which are all of the environment.
func ofBroker(cause errclass.Cause) func(error) (errclass.Class, errclass.Cause) {
	return func(error) (errclass.Class, errclass.Cause) { return errclass.Environment, cause }
}

// ofCommit is ofBroker for a commit. The broker refuses it when another member may own the
// partition.
func ofCommit(err error) (errclass.Class, errclass.Cause) {
	if generationEnded(err) {
		return ended, ""
	}
	return errclass.Environment, errclass.CauseBroker
}

// ofTables classifies errors of writing. If the database went back to an earlier state, the
// next generation reads again what the tables no longer have.
func ofTables(err error) (errclass.Class, errclass.Cause) {
	if errors.As(err, new(*orderwrite.BehindError)) {
		return ended, ""
	}
	return errclass.Of(err)
}
