// Package orderwrite writes orders into PostgreSQL in bulk, each exactly once, and
// reports which of them were stored before.
package orderwrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pgerr "github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/trace"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/ingest/errclass"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// Outcome is what became of an entry.
type Outcome string

// The outcomes.
const (
	Pending   Outcome = ""          // not decided yet
	Stored    Outcome = "stored"    // its rows are committed
	Duplicate Outcome = "duplicate" // the same order was stored before with the same content
	Conflict  Outcome = "conflict"  // the same order_uid was stored before with other content
	Replaced  Outcome = "replaced"  // it is newer than the stored order, whose place it has taken
	Stale     Outcome = "stale"     // it is older than the stored order, or than its deletion
	Deleted   Outcome = "deleted"   // the order that it deletes is gone, or will not be stored by an older record
	Refused   Outcome = "refused"   // the database refuses the order for its content
	Erased    Outcome = "erased"    // the order was erased, and is not to come back
	Absent    Outcome = "absent"    // it was accepted, and its order is not stored
)

// Entry is one valid order to be written, or to be deleted.
type Entry struct {
	// Order is nil if the record deletes an order.
	Order *model.Order
	// Deletes is the order_uid of the order that the record deletes.
	Deletes string
	// Hash is that of the order as its record has it, before normalization, without unknown
	// fields.
	Hash model.Hash
	// Kept is the hash with the unknown fields; nil if they were not kept.
	Kept *model.Hash
	// Stamp says how new the record is; nil if that is not known.
	Stamp *model.Stamp
	// Accepted says that people decided: the order replaces the stored one, however new it
	// is. The writer's Versions must have Deletions.
	Accepted bool
	// Instead is the only content that an accepted order replaces; nil: any.
	Instead *model.Order

	Outcome Outcome
	// Differs are the paths in which a Conflict differs from the stored order.
	Differs []string
	// Refusal is the database's reason for a Refused order, without values.
	Refusal string

	// Traceparent names the span that readers continue when they see the order; "" for
	// none, as nearly all have.
	Traceparent string

	// xid is the transaction that last tried to write the entry and whose commit was not
	// confirmed; "" for none. It would have become tried.
	xid   string
	tried Outcome
}

// UID is the order_uid of the order that is written or deleted.
func (e *Entry) UID() string {
	if e.Order != nil {
		return e.Order.OrderUID
	}
	return e.Deletes
}

// Versions says what becomes of records of an order that is stored already. The zero value is
// that the first one wins.
type Versions struct {
	// Newest has a newer record replace the stored order.
	Newest bool
	// Deletions says that some entries may delete orders: deletions are remembered.
	Deletions bool
	// Kept is how many earlier versions of an order are kept at most.
	Kept int
}

// on tells whether it matters how new a record is.
func (v Versions) on() bool { return v.Newest || v.Deletions }

// ContentHash is what the row of the order has: Hash, and behind it Kept. So it says whether
// unknown fields were kept.
func (e *Entry) ContentHash() []byte {
	if e.Kept == nil {
		return e.Hash[:]
	}
	return slices.Concat(e.Hash[:], e.Kept[:])
}

// Has reports whether a row with this content hash has the entry's content. Unknown fields
// count if they were kept of both.
func (e *Entry) Has(contentHash []byte) bool {
	known := len(e.Hash)
	if e.Kept == nil || len(contentHash) == known {
		return len(contentHash) >= known && bytes.Equal(contentHash[:known], e.Hash[:])
	}
	return bytes.Equal(contentHash, e.ContentHash())
}

// Options of a Writer.
type Options struct {
	// Timeout bounds a transaction from its begin, so that a connection that died
	// silently is noticed.
	Timeout time.Duration
	// MaxOrders is how many orders a transaction of several calls has at most.
	MaxOrders int
	// Batch are the limits of the callers' batches, which say when calls share a
	// transaction. Without them each call has its own.
	Batch batch.Limits
	// Differs compares an order with the stored one: a duplicate has no paths. nil means
	// model.Diff.
	Differs  func(stored, o *model.Order) []string
	Versions Versions
	// Erasures is the key by which erased orders are known. Without it (nil), writing fails
	// once an order was erased.
	Erasures *erasure.Key
	// Phase is called after each phase of a transaction that succeeded, with how long it
	// took. It may be nil.
	Phase func(ctx context.Context, phase string, took time.Duration)
	// ForeignKeys is called when a transaction first skips the look-ups for foreign keys,
	// with "", or when something is in the way of that, which it names, and then whenever
	// that changes. It may be nil, and must be safe for concurrent use.
	ForeignKeys func(obstacle string)
}

// The phases of a transaction.
const (
	PhaseLookUp = "look_up" // begin, and look up which orders are stored
	PhaseCopy   = "copy"
	PhaseCommit = "commit"
)

// Writer writes entries. It is safe for concurrent use; each transaction takes one
// connection of the pool.
type Writer struct {
	opts    Options
	db      *bun.DB
	buffers sync.Pool // of *orderdb.CopyIn
	group   group

	erased atomic.Pointer[erased.Known] // nil: not read yet
	absent atomic.Pointer[[]string]     // columns that are not there yet, see orderdb.Absent; nil: not looked yet

	// A transaction is given up after Options.Timeout. Each transaction in a row that
	// timed out doubles it, so that a slow database gets through eventually.
	timeouts atomic.Int32 // in a row
	timedOut atomic.Int64 // how long the last one took, see abandoned.go; 0: none

	fresh atomic.Int32 // transactions in a row whose orders were all new, up to freshStreak

	obstacle atomic.Pointer[string] // as of the last transaction that asked; nil: none has
}

const (
	// maxRaces is how many races in a row may be lost before the error is
	// classified as one that waiting does not resolve. It takes about half a second.
	maxRaces = 50
	// maxDoublings bounds the duration of a transaction: 32 times the time-out.
	maxDoublings = 5
	// lockPatience is how long a shared transaction waits for a lock: longer than
	// another worker's transaction usually takes.
	lockPatience = 250 * time.Millisecond
)

// New returns a writer on a pool opened by bundb.Open.
func New(db *bun.DB, options Options) *Writer {
	w := &Writer{opts: options, db: db, buffers: sync.Pool{New: func() any { return new(orderdb.CopyIn) }}}
	if w.opts.Differs == nil {
		w.opts.Differs = model.Diff
	}
	if w.opts.Phase == nil {
		w.opts.Phase = func(context.Context, string, time.Duration) {}
	}
	if w.opts.ForeignKeys == nil {
		w.opts.ForeignKeys = func(string) {}
	}
	w.group = group{most: options.MaxOrders, sharing: sharingOf(options.Batch), run: w.writeTogether}
	return w
}

// Write decides every pending entry, in transactions that it may share with other
// calls. The first entry of an order_uid wins, in the table as in the slice. If the
// database refuses one record, the others are stored all the same: the batch is
// bisected until that record is alone. Locks that another call's orders wait for
// delay this call by some hundred milliseconds at most.
//
// An error is of the environment, a defect, or unclassified, never of a record.
// Entries that were decided before it stay decided, and Write can be called again
// with the same slice. It then finds out whether a commit without an answer succeeded.
func (w *Writer) Write(ctx context.Context, entries []*Entry) error {
	if len(entries) == 0 {
		return nil
	}
	return w.write(ctx, &write{entries: entries})
}

func (w *Writer) write(ctx context.Context, one *write) error {
	if err := w.endAbandoned(ctx); err != nil {
		return err
	}
	if err := w.group.do(ctx, one); err != nil {
		return err
	}
	return w.writeAlone(ctx, one)
}

// writeTogether tries to decide all entries in one transaction. It returns only an
// error that affects all of them. After any other error, each call continues alone,
// so that one call's record or lock does not delay the others.
func (w *Writer) writeTogether(writes []*write) error {
	ctx, cancel := context.WithCancel(traceOf(writes))
	defer cancel()
	for _, one := range writes {
		defer context.AfterFunc(one.ctx, cancel)() // a call that has to stop does not wait for the others
	}
	for {
		err := w.round(ctx, writes, lockPatience)
		class, _ := errclass.Of(err)
		switch {
		case class == errclass.Race && w.fresh.Swap(0) == freshStreak:
			continue // an order that was not looked up is stored already
		case class == errclass.None, class == errclass.Race, class == errclass.Record, ctx.Err() != nil,
			errclass.IsLockTimeout(err), errors.As(err, new(*BehindError)):
			return nil
		}
		return err
	}
}

// traceOf has the transaction in the trace of one of the calls that are traced.
func traceOf(writes []*write) context.Context {
	for _, one := range writes {
		if tracing.Recording(one.ctx) {
			return trace.ContextWithSpan(context.Background(), trace.SpanFromContext(one.ctx))
		}
	}
	return context.Background()
}

// writeAlone decides a write's entries and moves its position, in transactions of its own.
func (w *Writer) writeAlone(ctx context.Context, one *write) error {
	for races := 0; ; {
		pending := pending([]*write{one})
		if len(pending) == 0 && one.position == nil {
			return nil
		}
		err := w.round(ctx, []*write{one}, forever)
		if err == nil {
			races = 0
			continue
		}
		class, _ := errclass.Of(err)
		if class == errclass.Race {
			if races++; races > maxRaces {
				class = errclass.OfLastingRace(err)
			}
		}
		switch {
		case class == errclass.Race && w.fresh.Swap(0) == freshStreak:
			// An order that was not looked up is stored already.
		case class == errclass.Race:
			// The other transaction has ended or is about to.
			if err := retry.Sleep(ctx, rand.N(20*time.Millisecond)); err != nil {
				return err
			}
		case class == errclass.Record && len(pending) == 1:
			pending[0].Outcome, pending[0].Refusal = Refused, refusal(err)
		case class == errclass.Record && len(pending) > 1:
			for half := range slices.Chunk(pending, (len(pending)+1)/2) {
				if err := w.writeAlone(ctx, one.part(half)); err != nil {
					return err
				}
			}
		default:
			return err
		}
	}
}

// round is one transaction within the time-out.
func (w *Writer) round(ctx context.Context, writes []*write, locks time.Duration) error {
	patience := w.opts.Timeout << min(w.timeouts.Load(), maxDoublings)
	// The pool pings a connection that was idle, and one that died silently does
	// not answer.
	acquiring, acquired := context.WithTimeout(ctx, patience)
	conn, err := w.db.Conn(acquiring)
	acquired()
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = conn.Close() }()
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	absent, err := w.columns(ctx, conn)
	if err != nil {
		return err
	}
	for err = errErasures; errors.Is(err, errErasures); {
		err = w.transaction(ctx, conn, writes, locks, absent)
		if errors.Is(err, errErasures) {
			if loading := w.loadErased(ctx, conn); loading != nil {
				err = loading
			}
		}
	}
	w.note(began, err)
	if err != nil {
		w.absent.Store(nil) // the database may have been replaced
	}
	return err
}

// errErasures means that orders were erased since the writer read which ones.
var errErasures = errors.New("orders were erased meanwhile")

func (w *Writer) loadErased(ctx context.Context, db bun.IConn) error {
	known, err := erased.Load(ctx, db, w.opts.Erasures)
	switch {
	case err != nil:
		return err
	case !known.HasAll(w.erased.Load()): // no erasure is ever taken back
		return &BehindError{}
	}
	w.erased.Store(known)
	return nil
}

// Forget forgets which orders were erased, so that a database that went back to before some
// of the erasures is accepted.
func (w *Writer) Forget() { w.erased.Store(nil) }

// Known returns the erased orders as of the writer's last transaction, or later.
func (w *Writer) Known() *erased.Known { return w.erased.Load() }

// Refresh reads the erased orders again if others were erased meanwhile: Known is another then.
func (w *Writer) Refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.opts.Timeout)
	defer cancel()
	version, err := erased.Current(ctx, w.db)
	if err != nil || w.erased.Load().Is(version) {
		return err
	}
	return w.loadErased(ctx, w.db)
}

// refusal is the database's error without what it quotes of the record: it shows
// only the code, the table, the column and the constraint.
func refusal(err error) string {
	var refused *pgerr.PgError
	if !errors.As(err, &refused) {
		return "the database refuses the order"
	}
	text := "the database refuses the order: SQLSTATE " + refused.Code
	for _, part := range [][2]string{{"table", refused.TableName}, {"column", refused.ColumnName}, {"constraint", refused.ConstraintName}} {
		if part[1] != "" {
			text += ", " + part[0] + " " + part[1]
		}
	}
	return text
}
