package console

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

// errGone says that a letter is not in the topic.
var errGone = errors.New("the letter is not in the topic")

// letterAt reads the letter with an id. The place says where it stood when the
// address was made; there it is looked for first.
func (c *Console) letterAt(ctx context.Context, v *view, id, at string) (dlq.Item, error) {
	if where, ok := parsePlace(at); ok {
		if items, err := c.load(ctx, v.at(map[place]bool{where: true})); err != nil || len(items) == 1 && (items[0].ID == id || shownID(&items[0]) == id) {
			return first(items), err
		}
	}
	items, err := c.load(ctx, v.fromSource(id))
	if err != nil {
		return dlq.Item{}, err
	}
	for _, item := range items {
		if letter.SameID(id, item.ID) {
			return item, nil
		}
	}
	return dlq.Item{}, errGone
}

func first(items []dlq.Item) dlq.Item {
	if len(items) == 0 {
		return dlq.Item{}
	}
	return items[0]
}

// load reads letters; those that are gone are left out.
func (c *Console) load(ctx context.Context, refs []dlq.Ref) ([]dlq.Item, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	items, err := c.store.Load(ctx, refs)
	if errors.Is(err, dlq.ErrChanged) {
		err = nil
	}
	return items, err
}

// maxHistory bounds how many letters of a row of redrives are shown.
const maxHistory = 50

// history gives the letters of the row of redrives that a letter is in, the first
// first; only the letter itself where there are no others. It has to read the
// whole topic, but only for letters that were redriven.
func (c *Console) history(ctx context.Context, v *view, item dlq.Item) ([]dlq.Item, error) {
	sent := item.Resolution != nil && item.Resolution.Kind == letter.Redriven
	if item.Origin == item.ID && !sent {
		return []dlq.Item{item}, nil
	}
	positions, err := c.searches.find(ctx, c.store, letter.Filter{Origin: item.Origin}, v.version)
	if err != nil {
		return []dlq.Item{item}, err
	}
	var refs []dlq.Ref
	for _, p := range positions[:min(len(positions), maxHistory)] {
		if r, ok := v.find(p); ok {
			refs = append(refs, r)
		}
	}
	row, err := c.load(ctx, refs)
	if err != nil || len(row) == 0 {
		return []dlq.Item{item}, err
	}
	slices.SortStableFunc(row, func(a, b dlq.Item) int { return a.FailedAt.Compare(b.FailedAt) })
	return row, nil
}

// letterAddress is where a letter is shown.
func letterAddress(id string, at place) string {
	return "/letter?" + url.Values{"id": {id}, "at": {at.String()}}.Encode()
}

// shownID is a letter's id without personal data.
func shownID(item *dlq.Item) string { return dlqview.LineOf(&item.Letter, item.Ref.Status).ID }

// causeAddress is the list of a cause's letters. What is masked of the cause is no
// condition.
func causeAddress(status letter.Status, reason, rule, path string) string {
	values := url.Values{"reason": {reason}, "rule": {rule}, "path": {path}}
	for _, name := range []string{"reason", "rule", "path"} {
		switch text := values.Get(name); {
		case text == "":
			values.Set(name, none)
		case strings.Contains(text, dlqview.Hidden):
			values.Del(name)
		}
	}
	if status != letter.Open {
		values.Set("status", string(status))
	}
	return "/letters?" + values.Encode()
}
