package dlq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrInterfered means that somebody else began an exclusive change meanwhile.
// Nothing of the last write was written.
var ErrInterfered = errors.New("somebody else changes the letters at the same moment; run the command again")

// transactionTimeout is how long the broker keeps readers waiting for a writer
// that died within a transaction.
const transactionTimeout = 10 * time.Second

// Exclusive is Kafka's producer of a transactional id: of all with one name only
// the latest can write. So what it read since it began still holds when its writes
// are committed, as far as others of the same name are concerned. It is for one
// goroutine.
type Exclusive struct{ client *kgo.Client }

// Exclusive fences all earlier ones of a name. What they wrote is committed by now,
// or never will be.
func (c *Client) Exclusive(ctx context.Context, name string) (*Exclusive, error) {
	client, err := kgo.NewClient(append(slices.Clone(c.options), kgo.TransactionalID(name), kgo.TransactionTimeout(transactionTimeout))...)
	if err != nil {
		return nil, fmt.Errorf("settings of Kafka: %w", err)
	}
	if _, _, err := client.ProducerID(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("transactional id %s: %w", name, err)
	}
	return &Exclusive{client}, nil
}

// Write writes all of the records or none. After an error the Exclusive cannot be
// used any more. ErrInterfered means that none were written.
func (e *Exclusive) Write(ctx context.Context, records ...*kgo.Record) error {
	if err := e.client.BeginTransaction(); err != nil {
		return interfered(err)
	}
	for _, p := range produce(ctx, e.client, records) {
		if p.Err != nil {
			// Where that fails too, the broker gives up the transaction by itself.
			_ = e.client.EndTransaction(context.WithoutCancel(ctx), kgo.TryAbort)
			return interfered(p.Err)
		}
	}
	return interfered(e.client.EndTransaction(ctx, kgo.TryCommit))
}

// Close ends the connections.
func (e *Exclusive) Close() { e.client.Close() }

// interfered turns the broker's errors for a fenced producer into ErrInterfered.
func interfered(err error) error {
	for _, fenced := range []*kerr.Error{
		kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.InvalidTxnState, kerr.TransactionAbortable,
	} {
		if errors.Is(err, fenced) {
			return fmt.Errorf("%w (%w)", ErrInterfered, err)
		}
	}
	return err
}
