// Package dryrun says what would become of dead letters if they were sent back. It
// decides as the worker does, with libs/ingest, and writes nothing.
package dryrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// What would become of a letter.
const (
	Stored    = "stored"
	Duplicate = "duplicate"
	Stale     = "stale"
	Replaced  = "replaced" // accepted, it would change the stored order
	Pass      = "pass"     // valid; nobody looked at the stored orders
	Fail      = "fail"
	Stay      = "stay"    // cannot be redriven
	Unknown   = "unknown" // of a topic that has no orders
)

// All are the verdicts, the good ones first.
var All = []string{Stored, Replaced, Duplicate, Stale, Pass, Unknown, Stay, Fail}

// Verdict is what would become of a letter, with personal data masked.
type Verdict struct {
	ID     string             `json:"id"`
	Would  string             `json:"would"`
	Reason string             `json:"reason,omitempty"`
	Errors []model.FieldError `json:"errors,omitempty"`
	// Changes are what an edit changes; nil without one.
	Changes []edit.Change `json:"changes,omitzero"`
}

// Orders gives those of the orders that are stored, all as of one moment.
type Orders func(ctx context.Context, uids []string) (map[string]orderdb.Stored, error)

// Options of a dry run.
type Options struct {
	Codec    *model.Codec
	Versions orderwrite.Versions
	// Orders are compared with; nil: nothing is compared with what is stored.
	Orders Orders
	// Topic is that of the orders.
	Topic string
	// Router routes the redrive that is tried out.
	Router *dlq.Router
	// Edits are made first. Reveal shows personal data in what they change.
	Edits  []edit.Edit
	Reveal bool
}

// Run is one dry run. It is for one goroutine.
type Run struct {
	Options
	decoder *ingest.Decoder
	writer  *Comparer // nil: nothing is compared
}

// New begins a dry run.
func New(o Options) *Run {
	d := &Run{Options: o, decoder: ingest.NewDecoder(o.Codec, nil)}
	if o.Orders != nil {
		d.writer = NewComparer(o.Codec, o.Orders, o.Versions)
	}
	return d
}

// HasRules reports whether a letter is sent to the topic of the orders, whose rules others
// do not have.
func HasRules(orders string, l *letter.Letter, to dlq.Target) bool {
	topic := cmp.Or(to.Topic, l.Source.Topic)
	return topic == orders || deadletter.IsNATS(topic)
}

// Mend edits a letter's value, and refuses what today's rules would refuse again.
func Mend(codec *model.Codec, orders string, to dlq.Target, edits []edit.Edit) func(*dlq.Item) ([]byte, error) {
	return func(item *dlq.Item) ([]byte, error) {
		value, err := edit.Apply(item.Value, edits...)
		if err != nil {
			return nil, err
		}
		if !HasRules(orders, &item.Letter, to) {
			return value, nil
		}
		_, err = codec.Decode(value)
		if refused, is := errors.AsType[*model.RecordError](err); is {
			refused.Errors = mask.Errors(refused.Errors)
			return nil, fmt.Errorf("edited, it would be refused: %w", refused)
		}
		return value, err
	}
}

// Judge returns the verdict on each letter. The letters come in the order in which
// they would be sent (see dlq.InSourceOrder), also from call to call: Judge
// remembers what would be stored by then.
func (d *Run) Judge(ctx context.Context, items []dlq.Item) ([]Verdict, error) {
	verdicts, records := make([]Verdict, len(items)), make([]*ingest.Record, len(items))
	var tried []*ingest.Record
	for i, item := range items {
		v := &verdicts[i]
		v.ID = mask.ID(item.ID)
		if err := d.edit(v, &item); err != nil {
			v.Would, v.Reason = Stay, err.Error()
			continue
		}
		topic, _, refused, err := d.Router.Route(ctx, &item.Letter)
		switch {
		case err != nil:
			return nil, err
		case refused != nil:
			v.Would, v.Reason = Stay, refused.Error()
		case topic != d.Topic:
			v.Would, v.Reason = Unknown, topic+" is not the topic of the orders"
		default:
			records[i] = d.decoder.Decode(Source(&item.Letter))
			tried = append(tried, records[i])
		}
	}
	if d.writer != nil {
		if err := ingest.Store(ctx, d.writer, tried); err != nil {
			return nil, err
		}
	}
	for i, r := range records {
		if r != nil {
			verdicts[i].take(r)
		}
	}
	return verdicts, nil
}

// Source is the letter's source record, as which its copy counts.
func Source(l *letter.Letter) deadletter.Source {
	s := deadletter.Source{
		Topic: l.Source.Topic, Partition: int(l.Source.Partition), Offset: l.Source.Offset, Timestamp: l.SourceTimestamp, Key: l.SourceKey, Value: l.Value,
	}
	for _, h := range l.SourceHeaders {
		s.Headers = append(s.Headers, deadletter.Header(h))
	}
	return s
}

// edit gives a letter the value that it would be sent with.
func (d *Run) edit(v *Verdict, item *dlq.Item) error {
	if len(d.Edits) == 0 {
		return nil
	}
	v.Changes = []edit.Change{}
	value, err := edit.Apply(item.Value, d.Edits...)
	if err == nil {
		v.Changes = edit.Changes(item.Value, value, d.Edits, d.Reveal)
		item.Value = value
	}
	return err
}

func (v *Verdict) take(r *ingest.Record) {
	switch r.Outcome() {
	case ingest.Stored, ingest.Replaced, ingest.Deleted:
		v.Would = Stored
	case ingest.Stale:
		v.Would = Stale
	case ingest.Duplicate:
		v.Would = Duplicate
	case ingest.DeadLetter:
		cause := r.Cause()
		v.Would, v.Reason, v.Errors = Fail, cause.Reason, mask.Errors(cause.Errors)
		if len(v.Errors) == 0 {
			v.Errors = []model.FieldError{{Rule: cause.Reason, Message: "differs from an order of the same uid that goes before it"}}
		}
	default: // what writes here knows of no erased order
		v.Would = Pass
	}
}

// Comparer is an ingest.Writer that only compares.
type Comparer struct {
	// Erased are orders that were erased; nil: none.
	Erased *erased.Known
	orders Orders
	codec  *model.Codec
	// versions are the worker's settings. The remembered deletions are not known.
	versions orderwrite.Versions
	// first has the content of each order that would be stored: of two that
	// differ the first wins.
	first map[string]model.Hash
}

// NewComparer returns a Comparer that remembers what would be stored.
func NewComparer(codec *model.Codec, orders Orders, versions orderwrite.Versions) *Comparer {
	return &Comparer{orders: orders, codec: codec, versions: versions, first: map[string]model.Hash{}}
}

// Known and Refresh implement ingest.Erasures.
func (c *Comparer) Known() *erased.Known { return c.Erased }

// Refresh finds nothing new.
func (c *Comparer) Refresh(context.Context) error { return nil }

// Write decides like the worker: the same content is a duplicate, by the hash of
// what was stored or by what is stored now.
func (c *Comparer) Write(ctx context.Context, entries []*orderwrite.Entry) error {
	uids := map[string]bool{}
	for _, e := range entries {
		uids[e.UID()] = true
	}
	stored, err := c.orders(ctx, slices.Sorted(maps.Keys(uids)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		there, exists := stored[e.UID()]
		newer := e.Stamp.NewerThan(there.Stamp)
		switch {
		case c.Erased.Has(e.UID()):
			e.Outcome = orderwrite.Erased
			continue
		case e.Order == nil && exists && !newer:
			e.Outcome = orderwrite.Stale
			continue
		case e.Order == nil:
			e.Outcome = orderwrite.Deleted
			continue
		}
		earlier, sent := c.first[e.Order.OrderUID]
		content := c.codec.ComparisonHash(e.Order)
		switch {
		case exists && e.Has(there.ContentHash), !exists && sent && earlier == content:
			e.Outcome = orderwrite.Duplicate
		case exists:
			e.Outcome = orderwrite.Duplicate
			if e.Differs = c.codec.Differs(there.Order, e.Order); len(e.Differs) > 0 {
				e.Outcome = c.unlike(newer)
			}
			if e.Outcome == orderwrite.Conflict && orderdb.HasContent(there.Earlier, e.Order, c.codec.Differs) {
				e.Outcome, e.Differs = orderwrite.Duplicate, nil
			}
		case sent && c.versions.Newest:
			e.Outcome = orderwrite.Replaced // or stale, as which of them is newer
		case sent:
			e.Outcome = orderwrite.Conflict
		default:
			c.first[e.Order.OrderUID] = content
			e.Outcome = orderwrite.Stored
		}
	}
	return nil
}

// unlike is what becomes of an order that is stored with other content.
func (c *Comparer) unlike(newer bool) orderwrite.Outcome {
	switch {
	case !c.versions.Newest:
		return orderwrite.Conflict
	case newer:
		return orderwrite.Replaced
	}
	return orderwrite.Stale
}
