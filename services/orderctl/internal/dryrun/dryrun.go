// Package dryrun tells what would become of dead letters if they were sent back:
// it plays the worker, without writing.
package dryrun

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// What would become of a letter.
const (
	Stored    = "stored"
	Duplicate = "duplicate"
	Pass      = "pass" // valid; nobody looked at the stored orders
	Fail      = "fail"
	Stay      = "stay"    // cannot be redriven
	Unknown   = "unknown" // of a topic that has no orders
)

// All are the verdicts, the good ones first.
var All = []string{Stored, Duplicate, Pass, Unknown, Stay, Fail}

// Verdict is what is said of a letter, with personal data masked.
type Verdict struct {
	ID     string             `json:"id"`
	Would  string             `json:"would"`
	Reason string             `json:"reason,omitempty"`
	Errors []model.FieldError `json:"errors,omitempty"`
}

// Orders gives those of the orders that are stored, all as of one moment.
type Orders func(ctx context.Context, uids []string) (map[string]orderdb.Stored, error)

// Run is one dry run. It is for one goroutine.
type Run struct {
	codec       *model.Codec
	orders      Orders
	topic       string
	maxRedrives int
	// first has the content of each order that would be stored: of two that
	// differ the first wins.
	first map[string]model.Hash
}

// New begins a dry run. Without orders (nil) nothing is compared with what is
// stored. topic is that of the orders.
func New(codec *model.Codec, orders Orders, topic string, maxRedrives int) *Run {
	return &Run{codec: codec, orders: orders, topic: topic, maxRedrives: maxRedrives, first: map[string]model.Hash{}}
}

// Judge tells of letters, which come in the order in which they would be sent:
// see dlq.InSourceOrder. It remembers what would be stored by then.
func (d *Run) Judge(ctx context.Context, items []dlq.Item) ([]Verdict, error) {
	verdicts := make([]Verdict, len(items))
	orders := make([]*model.Order, len(items))
	var uids []string
	for i := range items {
		verdicts[i], orders[i] = d.decode(&items[i])
		if orders[i] != nil {
			uids = append(uids, orders[i].OrderUID)
		}
	}
	if d.orders == nil || len(uids) == 0 {
		return verdicts, nil
	}
	slices.Sort(uids)
	stored, err := d.orders(ctx, slices.Compact(uids))
	if err != nil {
		return nil, err
	}
	for i, order := range orders {
		if order != nil {
			d.compare(&verdicts[i], order, stored)
		}
	}
	return verdicts, nil
}

// decode gives the order of a letter that is valid now.
func (d *Run) decode(item *dlq.Item) (Verdict, *model.Order) {
	v := Verdict{ID: mask.ID(item.ID)}
	if err := dlq.Redrivable(&item.Letter, d.maxRedrives); err != nil {
		v.Would, v.Reason = Stay, err.Error()
		return v, nil
	}
	if item.Source.Topic != d.topic {
		v.Would, v.Reason = Unknown, item.Source.Topic+" is not the topic of the orders"
		return v, nil
	}
	decoded, err := d.codec.Decode(item.Value)
	if refused, ok := errors.AsType[*model.RecordError](err); ok {
		v.Would, v.Reason, v.Errors = Fail, string(refused.Reason), mask.Errors(refused.Errors)
		return v, nil
	}
	v.Would = Pass
	return v, decoded.Order
}

// compare does as the worker: the same content is a duplicate, by the hash of
// what was stored or by what is stored now.
func (d *Run) compare(v *Verdict, order *model.Order, stored map[string]orderdb.Stored) {
	hash := model.ContentHash(model.AppendCanonical(nil, order))
	there, exists := stored[order.OrderUID]
	earlier, sent := d.first[order.OrderUID]
	var differs []string
	switch {
	case exists && !bytes.Equal(there.ContentHash, hash[:]):
		if differs = model.Diff(there.Order, order); len(differs) == 0 {
			v.Would = Duplicate
			return
		}
	case exists, sent && earlier == hash:
		v.Would = Duplicate
		return
	case !sent:
		d.first[order.OrderUID] = hash
		v.Would = Stored
		return
	}
	v.Would, v.Reason = Fail, deadletter.ReasonConflict
	for _, path := range differs {
		v.Errors = append(v.Errors, model.FieldError{Path: path, Rule: deadletter.ReasonConflict, Message: "differs from the stored order"})
	}
	if !exists {
		v.Errors = []model.FieldError{{Rule: deadletter.ReasonConflict, Message: "differs from an order of the same uid that goes before it"}}
	}
}
