package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/index"
	"github.com/orderhub/orderhub/libs/deadletter/store"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

// What would become of a letter.
const (
	wouldBeStored    = "stored"
	wouldBeDuplicate = "duplicate"
	wouldPass        = "pass" // valid; nobody looked at the stored orders
	wouldFail        = "fail"
	wouldStay        = "stay"    // cannot be redriven
	wouldBeUnknown   = "unknown" // of a topic that has no orders
)

// verdict is what a dry run says of a letter.
type verdict struct {
	ID     string             `json:"id"`
	Would  string             `json:"would"`
	Reason string             `json:"reason,omitempty"`
	Errors []model.FieldError `json:"errors,omitempty"`
}

// dryRun plays the worker, without writing.
type dryRun struct {
	codec       *model.Codec
	db          *database // nil: not to be asked
	topic       string    // of the orders
	maxRedrives int
	// first has the content of each order that would be stored: of two that
	// differ the first wins.
	first map[string]model.Hash
}

func (a *app) dryRun(ctx context.Context, f *redriveFlags, box *letters, refs []index.Ref, compare bool) error {
	codec, err := f.rules.codec()
	if err != nil {
		return err
	}
	run := &dryRun{codec: codec, topic: box.cfg.Topic, maxRedrives: f.maxRedrives, first: map[string]model.Hash{}}
	if compare {
		if run.db, err = openDatabase(); err != nil {
			return err
		}
		defer func() { _ = run.db.pool.Close() }() // nothing was written
	}
	store.InSourceOrder(refs)
	counts := map[string]int{}
	for rest := refs; len(rest) > 0; {
		n := min(listChunk, len(rest))
		items, err := box.Load(ctx, rest[:n])
		if err != nil && !errors.Is(err, store.ErrChanged) {
			return explainLetters(box.cfg, err)
		}
		verdicts, err := run.judge(ctx, items)
		if err != nil {
			return err
		}
		for _, v := range verdicts {
			counts[v.Would]++
			if err := a.writeVerdict(v); err != nil {
				return err
			}
		}
		rest = rest[n:]
	}
	a.say("of %s: %d would be stored, %d duplicates, %d pass, %d fail, %d stay, %d unknown", plural(len(refs), "letter"),
		counts[wouldBeStored], counts[wouldBeDuplicate], counts[wouldPass], counts[wouldFail], counts[wouldStay], counts[wouldBeUnknown])
	if !compare {
		a.say("DATABASE_URL is not set: nothing was compared with the stored orders")
	}
	if counts[wouldFail]+counts[wouldStay] > 0 {
		return silent(exitFailed)
	}
	return nil
}

func (a *app) writeVerdict(v verdict) error {
	if a.output == outputJSON {
		return writeJSON(a.stdout, v)
	}
	text := v.Would
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	_, err := fmt.Fprintf(a.stdout, "%s  %s\n", dlqview.Clean(v.ID), dlqview.Clean(text))
	for _, e := range v.Errors {
		if err == nil {
			_, err = fmt.Fprintf(a.stdout, "    %s [%s]\n", dlqview.Clean(e.String()), dlqview.Clean(e.Rule))
		}
	}
	return err
}

func (d *dryRun) judge(ctx context.Context, items []store.Item) ([]verdict, error) {
	verdicts := make([]verdict, len(items))
	orders := make([]*model.Order, len(items))
	var uids []string
	for i, item := range items {
		verdicts[i], orders[i] = d.decode(item)
		if orders[i] != nil {
			uids = append(uids, orders[i].OrderUID)
		}
	}
	if d.db == nil || len(uids) == 0 {
		return verdicts, nil
	}
	slices.Sort(uids)
	stored, err := readOrders(ctx, d.db, slices.Compact(uids))
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
func (d *dryRun) decode(item store.Item) (verdict, *model.Order) {
	v := verdict{ID: item.ID}
	if err := store.Redrivable(&item.Letter, d.maxRedrives); err != nil {
		v.Would, v.Reason = wouldStay, err.Error()
		return v, nil
	}
	if item.Source.Topic != d.topic {
		v.Would, v.Reason = wouldBeUnknown, item.Source.Topic+" is not the topic of the orders"
		return v, nil
	}
	decoded, err := d.codec.Decode(item.Value)
	if refused, ok := errors.AsType[*model.RecordError](err); ok {
		v.Would, v.Reason, v.Errors = wouldFail, string(refused.Reason), refused.Errors
		return v, nil
	}
	v.Would = wouldPass
	return v, decoded.Order
}

// compare does as the worker: the same content is a duplicate, by the hash of
// what was stored or by what is stored now.
func (d *dryRun) compare(v *verdict, order *model.Order, stored map[string]orderdb.Stored) {
	hash := model.ContentHash(model.AppendCanonical(nil, order))
	there, exists := stored[order.OrderUID]
	earlier, sent := d.first[order.OrderUID]
	var differs []string
	switch {
	case exists && !bytes.Equal(there.ContentHash, hash[:]):
		if differs = model.Diff(there.Order, order); len(differs) == 0 {
			v.Would = wouldBeDuplicate
			return
		}
	case exists, sent && earlier == hash:
		v.Would = wouldBeDuplicate
		return
	case !sent:
		d.first[order.OrderUID] = hash
		v.Would = wouldBeStored
		return
	}
	v.Would, v.Reason = wouldFail, deadletter.ReasonConflict
	for _, path := range differs {
		v.Errors = append(v.Errors, model.FieldError{Path: path, Rule: deadletter.ReasonConflict, Message: "differs from the stored order"})
	}
	if !exists {
		v.Errors = []model.FieldError{{Rule: deadletter.ReasonConflict, Message: "differs from an order of the same uid that goes before it"}}
	}
}
