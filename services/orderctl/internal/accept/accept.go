// Package accept makes the contents of dead letters of conflicts the newest versions of their
// orders, and restores what they replaced.
package accept

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// Errors that keep a letter from being accepted, or from being opened again.
var (
	ErrReason  = errors.New("is no conflict: only a letter of the reason conflict can be accepted")
	ErrAbsent  = errors.New("its order is not stored: redrive the letter instead")
	ErrChanged = errors.New("its order has changed since it was accepted: accept or redrive what the order should be now")
	ErrPruned  = errors.New("the version that it replaced is not kept any more (VERSIONS_RETENTION, VERSIONS_COUNT)")
)

// Acceptor accepts letters.
type Acceptor struct {
	Codec *model.Codec
	Queue *dlq.Queue
	// Orders are what the dry run compares with.
	Orders dryrun.Orders
	// Writer writes to DB. Its Versions have Deletions.
	Writer *orderwrite.Writer
	DB     bun.IConn
	// Explain says what is wrong with DB.
	Explain func(error) error
}

// Store replaces the orders of letters, as dlq.Acceptance asks for.
func (a *Acceptor) Store(ctx context.Context, items []dlq.Item) ([]dlq.Accepted, error) {
	all, entries := make([]dlq.Accepted, len(items)), make([]*orderwrite.Entry, len(items))
	for i := range items {
		entries[i], all[i].Err = a.entry(&items[i])
	}
	return all, a.write(ctx, entries, func(i int, refused error, replaced int64) {
		all[i] = dlq.Accepted{Replaced: replaced, Err: refused}
	})
}

// Restore undoes Store, as Queue.Undo asks for. An order that is not as its letter made it
// stays as it is. A nil Acceptor restores nothing.
func (a *Acceptor) Restore(ctx context.Context, items []dlq.Item) ([]error, error) {
	if a == nil {
		return slices.Repeat([]error{dlq.ErrNoRestore}, len(items)), nil
	}
	all, entries := make([]error, len(items)), make([]*orderwrite.Entry, len(items))
	uids, orders := make([]string, len(items)), make([]*model.Order, len(items))
	for i := range items {
		if decoded, err := a.Codec.Decode(items[i].Value); decoded.Order == nil {
			all[i] = fmt.Errorf("its order cannot be read: %w", err)
		} else { // it was valid once
			uids[i], orders[i] = decoded.Order.OrderUID, decoded.Order
		}
	}
	earlier, err := orderdb.Earlier(ctx, a.DB, uids)
	if err != nil {
		return nil, a.Explain(err)
	}
	for i := range items {
		replaced := items[i].Resolution.Replaced
		if all[i] != nil || replaced == 0 {
			continue
		}
		entries[i], all[i] = restoring(earlier[uids[i]], replaced)
		if entries[i] != nil {
			entries[i].Instead = orders[i]
		}
	}
	return all, a.write(ctx, entries, func(i int, refused error, _ int64) {
		if all[i] = refused; errors.Is(refused, ErrAbsent) {
			all[i] = ErrChanged
		}
	})
}

func restoring(earlier []*orderdb.Version, number int64) (*orderwrite.Entry, error) {
	i := slices.IndexFunc(earlier, func(v *orderdb.Version) bool { return v.Number == number })
	if i < 0 {
		return nil, ErrPruned
	}
	o, err := earlier[i].Order()
	if err != nil {
		return nil, fmt.Errorf("the version that it replaced cannot be read: %w", err)
	}
	e := &orderwrite.Entry{Order: o, Hash: model.ContentHash(model.AppendCanonical(nil, o.WithoutUnknown())), Accepted: true}
	if o.UnknownFields != "" {
		e.Kept = new(model.KeptHash(model.AppendCanonical(nil, o)))
	}
	return e, nil
}

// entry is the order of a letter that can be accepted.
func (a *Acceptor) entry(item *dlq.Item) (*orderwrite.Entry, error) {
	switch erased, err := a.Queue.IsErased(item.SourceKey, item.Value); {
	case item.Format != letter.Orderhub || item.Reason != deadletter.ReasonConflict:
		return nil, ErrReason
	case item.Truncated != nil:
		return nil, dlq.ErrTruncated
	case err != nil:
		return nil, err
	case erased:
		return nil, dlq.ErrErased
	}
	record := ingest.NewDecoder(a.Codec, nil).Decode(dryrun.Source(&item.Letter))
	e := record.Accept()
	if e == nil {
		cause := record.Cause()
		failures := mask.Errors(cause.Errors)
		return nil, fmt.Errorf("is no valid order by today's rules: %s, %s", cause.Reason, failures[0].String())
	}
	return e, nil
}

// write writes entries, and calls done for each with its number, why it was refused, and the
// version that it replaced; 0: none. Nil entries are left out. Of an order that has
// several, each has a transaction of its own, so that each replaces the one before.
func (a *Acceptor) write(ctx context.Context, entries []*orderwrite.Entry, done func(i int, refused error, replaced int64)) error {
	for start := 0; start < len(entries); {
		var some []*orderwrite.Entry
		var uids []string
		end := start
		for ; end < len(entries) && (entries[end] == nil || !slices.Contains(uids, entries[end].UID())); end++ {
			if e := entries[end]; e != nil {
				some, uids = append(some, e), append(uids, e.UID())
			}
		}
		if len(some) > 0 {
			if err := a.Writer.Write(ctx, some); err != nil {
				return a.Explain(err)
			}
		}
		earlier, err := orderdb.Earlier(ctx, a.DB, uids)
		if err != nil {
			return a.Explain(err)
		}
		for i := start; i < end; i++ {
			if e := entries[i]; e != nil {
				var replaced int64
				if versions := earlier[e.UID()]; e.Outcome == orderwrite.Replaced && len(versions) > 0 {
					replaced = versions[len(versions)-1].Number
				}
				done(i, refusal(e), replaced)
			}
		}
		start = end
	}
	return nil
}

func refusal(e *orderwrite.Entry) error {
	switch e.Outcome {
	case orderwrite.Replaced, orderwrite.Duplicate:
		return nil
	case orderwrite.Absent:
		return ErrAbsent
	case orderwrite.Stale:
		return ErrChanged
	case orderwrite.Erased:
		return dlq.ErrErased
	default:
		return errors.New(e.Refusal)
	}
}

// Trial is a dry run. It remembers what would be stored.
type Trial struct {
	acceptor *Acceptor
	reveal   bool
	would    map[string]*model.Order
}

// Try begins a dry run. With reveal personal data is shown.
func (a *Acceptor) Try(reveal bool) *Trial {
	return &Trial{a, reveal, map[string]*model.Order{}}
}

// Judge says what would become of letters, with the differences from the stored orders.
func (t *Trial) Judge(ctx context.Context, items []dlq.Item) ([]dryrun.Verdict, error) {
	verdicts, entries := make([]dryrun.Verdict, len(items)), make([]*orderwrite.Entry, len(items))
	var uids []string
	for i := range items {
		e, err := t.acceptor.entry(&items[i])
		verdicts[i] = dryrun.Verdict{ID: mask.ID(items[i].ID), Would: dryrun.Stay}
		if entries[i] = e; err != nil {
			verdicts[i].Reason = err.Error()
			continue
		}
		uids = append(uids, e.UID())
	}
	stored, err := t.acceptor.Orders(ctx, uids)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		if e == nil {
			continue
		}
		before := t.would[e.UID()]
		if before == nil {
			before = stored[e.UID()].Order
		}
		if before == nil {
			verdicts[i].Reason = ErrAbsent.Error()
			continue
		}
		verdicts[i].Would, t.would[e.UID()] = dryrun.Replaced, e.Order
		if verdicts[i].Changes = t.changes(before, e.Order); len(verdicts[i].Changes) == 0 {
			verdicts[i].Would = dryrun.Duplicate
		}
	}
	return verdicts, nil
}

func (t *Trial) changes(stored, o *model.Order) []edit.Change {
	changes := []edit.Change{}
	for _, path := range model.Diff(model.BothKept(stored, o)) {
		c := edit.Change{Path: path, Before: string(model.ValueAt(stored, path)), After: string(model.ValueAt(o, path))}
		if !t.reveal {
			names := strings.Split(path, ".")
			c.Path, c.Before, c.After = mask.Path(path), mask.Scalar(names, c.Before), mask.Scalar(names, c.After)
		}
		changes = append(changes, c)
	}
	return changes
}
