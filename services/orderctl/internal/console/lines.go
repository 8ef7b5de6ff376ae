package console

import (
	"context"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

// linesTimeout bounds how long a list waits for the broker.
const linesTimeout = 5 * time.Second

// lines reads what a list says of letters, masked, by where they stand. Those that
// are gone are missing, and all are while the topic can't be read.
func (c *Console) lines(ctx context.Context, refs []dlq.Ref) (map[place]dlqview.Line, error) {
	if c.live.state().Err != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, linesTimeout)
	defer cancel()
	letters := make([]dlq.Ref, len(refs))
	for i, r := range refs {
		letters[i] = r
		letters[i].Status = letter.Open // its resolution is not read
	}
	items, err := c.load(ctx, letters)
	found := make(map[place]dlqview.Line, len(items))
	for i := range items {
		found[place{items[i].Ref.Partition, items[i].Ref.Offset}] = dlqview.LineOf(&items[i].Letter, items[i].Ref.Status)
	}
	return found, err
}
