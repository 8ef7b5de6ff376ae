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

// Exclusive is the only one of its name that can write: Kafka's producer of a
// transactional id. Whoever comes later takes its place, and from then on it
// cannot write any more. So what it read since it began holds until its writes
// are in, as far as others of the same name are concerned.
//
// For one goroutine.
type Exclusive struct{ client *kgo.Client }

// Exclusive becomes the only one of a name. What the one before wrote is in, and
// can be read, or will never be.
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

// Write writes records all or none. After an error it is of no more use; with
// ErrInterfered none were written.
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

// interfered turns the broker's words for a producer that was replaced into
// ErrInterfered.
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
