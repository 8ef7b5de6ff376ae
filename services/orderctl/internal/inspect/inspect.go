// Package inspect gathers all facts about a dead letter: why it failed and where in
// its value, what became of its redrives, and how it differs from the stored order.
package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
)

// Letter gathers what there is about the letter with an id. Without orders (nil)
// a conflict is not compared with the stored order. The error is one of
// dlq.Find's where there is no such letter, or more than one.
func Letter(ctx context.Context, box *dlq.Queue, id string, codec *model.Codec, orders dryrun.Orders) (dlqview.Details, error) {
	items, _, err := box.Find(ctx, id)
	if err != nil {
		return dlqview.Details{}, err
	}
	item := items[0]
	d := dlqview.Details{Item: item, Offset: Offset(&item.Letter, codec)}
	if d.History, err = box.History(ctx, item); err != nil {
		return d, err
	}
	return d, Compare(ctx, &d, codec, orders)
}

// Offset is the byte where reading the value stops, -1 if it doesn't. The
// letter's headers don't say.
func Offset(l *letter.Letter, codec *model.Codec) int64 {
	if l.Truncated != nil {
		return -1
	}
	_, err := codec.Decode(l.Value)
	refused, ok := errors.AsType[*model.RecordError](err)
	// Places of single fields are found by their paths.
	if !ok || json.Valid(bytes.TrimPrefix(l.Value, []byte(model.ByteOrderMark))) && len(refused.Errors) > 0 && refused.Errors[0].Path != "" {
		return -1
	}
	if slices.Contains([]model.Reason{model.ReasonWrongType, model.ReasonOutOfRange, model.ReasonUnknownField}, refused.Reason) {
		return -1
	}
	return refused.Offset
}

// Compare adds how a conflict differs from the stored order. It does nothing for
// other letters, and without orders (nil).
func Compare(ctx context.Context, d *dlqview.Details, codec *model.Codec, orders dryrun.Orders) error {
	if d.Item.Reason != deadletter.ReasonConflict || orders == nil {
		return nil
	}
	decoded, err := codec.Decode(d.Item.Value)
	if _, refused := errors.AsType[*model.RecordError](err); refused {
		d.StoredNote = "The letter is no valid order by today's rules, so there is nothing to compare."
		return nil
	}
	stored, err := orders(ctx, []string{decoded.Order.OrderUID})
	if err != nil {
		return err
	}
	order, there := stored[decoded.Order.OrderUID]
	if !there {
		d.StoredNote = "The order is not stored now: redriven, the letter would be stored."
		return nil
	}
	d.Differences = []dlqview.Difference{}
	for _, path := range codec.Differs(order.Order, decoded.Order) {
		d.Differences = append(d.Differences, dlqview.Difference{Path: path, Stored: string(model.ValueAt(order.Order, path)), Letter: string(model.ValueAt(decoded.Order, path))})
	}
	if len(d.Differences) == 0 {
		d.StoredNote = "The stored order is the same now: redriven, the letter would be a duplicate."
	}
	return nil
}
