package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

// Undo and Purge remove records. A purge that did not know of an undo would
// remove an open letter, and Kafka has no "write if nothing changed". So both
// write with the same transactional id: the one that begins fences the other, reads
// the topic up to its end, and only then writes. Either what it read still holds
// when its records are committed, or they are not committed.

const (
	// tries is how often fenced work begins anew.
	tries = 8
	// longestPause is the longest pause before that. It is random, so that two
	// do not keep interrupting each other.
	longestPause = 300 * time.Millisecond
)

// exclusively runs work as the only writer of the topic's undos and purges. It
// begins anew when another writer fences it.
func (q *Queue) exclusively(ctx context.Context, work func(*Exclusive) error) error {
	once := func() error {
		only, err := q.client.Exclusive(ctx, "orderhub-dlq/"+q.opts.Topic)
		if err != nil {
			return err
		}
		defer only.Close()
		return work(only)
	}
	for try := 1; ; try++ {
		err := once()
		if !errors.Is(err, ErrInterfered) || try == tries {
			return err
		}
		if err := retry.Sleep(ctx, rand.N(longestPause)); err != nil {
			return err
		}
	}
}

// ErrNoRestore keeps an accepted letter from being reopened.
var ErrNoRestore = errors.New("was accepted: to restore the order, name its database in DATABASE_URL")

// Undo reopens resolved letters, the last of their sources' records first. What a redrive sent
// stays sent. What accepted letters replaced is restored first, by restore, which says of each
// why that is not possible. It may be called again with the same letters. Without it (nil) they
// stay resolved.
func (q *Queue) Undo(ctx context.Context, view *View, refs []Ref, restore func(context.Context, []Item) ([]error, error), done func(Outcome)) error {
	refs = inSourceOrder(refs)
	slices.Reverse(refs)
	for some := range chunks(refs, chunkLetters, loadBytes) {
		err := q.exclusively(ctx, func(only *Exclusive) error {
			if err := view.Refresh(ctx); err != nil {
				return err
			}
			var outcomes []Outcome
			items, err := view.current(ctx, some, letter.Resolved, func(i Item) { outcomes = append(outcomes, Outcome{Item: i, Err: ErrNotResolved}) })
			if err != nil {
				return err
			}
			refused, err := restored(ctx, items, restore)
			if err != nil {
				return err
			}
			var records []*kgo.Record
			for _, item := range items {
				why := refused[item.ID]
				if outcomes = append(outcomes, Outcome{Item: item, Err: why}); why == nil {
					records = append(records, item.Ref.undos()...)
				}
			}
			if err := only.Write(ctx, records...); err != nil {
				return err
			}
			for _, o := range outcomes {
				done(o)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// restored has what accepted letters replaced restored, and returns by id why it was not.
func restored(ctx context.Context, items []Item, restore func(context.Context, []Item) ([]error, error)) (refused map[string]error, err error) {
	accepted := slices.DeleteFunc(slices.Clone(items), func(i Item) bool { return i.Ref.Kind != letter.Accepted })
	all := slices.Repeat([]error{ErrNoRestore}, len(accepted))
	if restore != nil && len(accepted) > 0 {
		all, err = restore(ctx, accepted)
	}
	refused = map[string]error{}
	for i, why := range all {
		refused[accepted[i].ID] = why
	}
	return refused, err
}

// PurgeOptions say what Purge removes.
type PurgeOptions struct {
	// Before is when a letter was resolved at the latest.
	Before time.Time
	// Source is the topic whose letters Topic holds: resolutions without a
	// letter are removed only if that came from there. Others may be of letters
	// in a foreign topic.
	Source string
}

// Purge removes what was resolved before a time, letter and resolution together.
// Letters that are not ours stay, and so do their resolutions, without which they
// would be open again. It calls done for each letter that is gone.
func (q *Queue) Purge(ctx context.Context, o PurgeOptions, done func(id string)) error {
	return q.exclusively(ctx, func(only *Exclusive) error { return q.purge(ctx, only, o, done) })
}

// Purgeable are the ids of the letters that Purge would remove.
func (q *Queue) Purgeable(ctx context.Context, o PurgeOptions) (ids []string, err error) {
	err = q.purge(ctx, nil, o, func(id string) { ids = append(ids, id) })
	return ids, err
}

func (q *Queue) purge(ctx context.Context, only *Exclusive, o PurgeOptions, done func(id string)) error {
	if !q.onlyOurs() {
		return errors.New("letters of a topic that others write cannot be purged")
	}
	view, err := q.Scan(ctx, letter.Filter{})
	if err != nil {
		return err
	}
	isOurs := func(i *Item) bool {
		if !i.Ref.HasLetter() {
			return strings.HasPrefix(i.Ref.ID, o.Source+"/")
		}
		return string(i.Key) == i.ID
	}
	return q.InChunks(ctx, append(view.Select(letter.Resolved, 0), view.Orphans()...), func(items []Item) error {
		var ids []string
		var records []*kgo.Record
		for i := range items {
			if r := items[i].Resolution; r != nil && !r.When.IsZero() && r.When.Before(o.Before) && isOurs(&items[i]) {
				ids, records = append(ids, r.ID), append(records, items[i].Ref.tombstones()...)
			}
		}
		if only != nil {
			if err := only.Write(ctx, records...); err != nil {
				return err
			}
		}
		for _, id := range ids {
			done(id)
		}
		return nil
	})
}

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

// Write writes all of the records, of one topic, or none. After an error the Exclusive cannot be
// used any more. ErrInterfered means that none were written.
func (e *Exclusive) Write(ctx context.Context, records ...*kgo.Record) error {
	if len(records) == 0 {
		return nil
	}
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
	if err := e.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return interfered(err)
	}
	if e.awaitVisible(ctx, records) && e.wasAborted(ctx, records[0]) {
		return ErrInterfered
	}
	return nil
}

// wasAborted tells whether a record's transaction was, which has ended. On the embedded broker,
// once in some hundred undos, a topic had the marker of an abort although franz-go 1.22.2 had
// returned no error for the commit. Its EndTransaction aborts without an error where it has
// counted no record as produced. That it was so then is not proved.
func (e *Exclusive) wasAborted(ctx context.Context, record *kgo.Record) bool {
	committed := false
	reader := &Client{client: e.client, admin: kadm.NewClient(e.client)}
	span := map[int32][]Span{record.Partition: {{From: record.Offset, To: record.Offset + 1}}}
	gaps, err := reader.Read(ctx, record.Topic, span, func(*kgo.Record) error {
		committed = true
		return nil
	})
	return err == nil && len(gaps) == 0 && !committed
}

const (
	visibleTimeout = 5 * time.Second
	visiblePause   = 5 * time.Millisecond
)

// awaitVisible waits until readers of committed records see these: the coordinator answers
// before their partitions have its markers. Whoever looks after an undo sees its effect
// then. What is not seen in time (false) is written all the same.
func (e *Exclusive) awaitVisible(ctx context.Context, records []*kgo.Record) bool {
	ctx, cancel := context.WithTimeout(ctx, visibleTimeout)
	defer cancel()
	admin := kadm.NewClient(e.client)
	for {
		ends, err := admin.ListCommittedOffsets(ctx, records[0].Topic)
		hidden := func(r *kgo.Record) bool {
			end, _ := ends.Lookup(r.Topic, r.Partition)
			return end.Offset <= r.Offset
		}
		if err == nil && !slices.ContainsFunc(records, hidden) {
			return true
		}
		if retry.Sleep(ctx, visiblePause) != nil {
			return false
		}
	}
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

// ErrErased keeps a letter from being sent or imported.
var ErrErased = errors.New("its order was erased, and is not to come back")

// erasedOrders are those of which the topic has a note. Safe for concurrent use.
type erasedOrders struct {
	mu    sync.Mutex
	notes map[erasure.HMAC]string // the id of the key
}

// add takes a record of the topic, and reports whether it is a note of an erased order.
func (e *erasedOrders) add(r *kgo.Record) bool {
	h, note, is := erasure.ParseNote(r.Key, r.Value)
	if is {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.notes == nil {
			e.notes = map[erasure.HMAC]string{}
		}
		e.notes[h] = note.Key
	}
	return is
}

// ErasedNotes are the erased orders of which the topic has a note, as far as it was read.
func (q *Queue) ErasedNotes() map[erasure.HMAC]string {
	q.erased.mu.Lock()
	defer q.erased.mu.Unlock()
	return maps.Clone(q.erased.notes)
}

// WriteErased writes notes of erased orders.
func (q *Queue) WriteErased(ctx context.Context, orders []erasure.HMAC, at time.Time) error {
	value, err := json.Marshal(erasure.Note{At: at.UTC(), Key: q.opts.Erasures.ID()})
	if err != nil {
		return err
	}
	for some := range slices.Chunk(orders, chunkLetters) {
		notes := make(map[string][]byte, len(some))
		for _, h := range some {
			notes[h.String()] = value
		}
		if err := q.WriteNotes(ctx, erasure.NotePrefix, notes); err != nil {
			return err
		}
	}
	return nil
}

// IsErased tells whether a record, or a letter of it, may be of an erased order, as far as
// the topic was read. The error is of the key.
func (q *Queue) IsErased(key, value []byte) (bool, error) {
	q.erased.mu.Lock()
	defer q.erased.mu.Unlock()
	if len(q.erased.notes) == 0 {
		return false, nil
	}
	if q.opts.Erasures == nil {
		return false, q.opts.Erasures.Check("")
	}
	for _, uid := range deadletter.OrderUIDs(key, value) {
		if by, is := q.erased.notes[q.opts.Erasures.Of(uid)]; is {
			return true, q.opts.Erasures.Check(by)
		}
	}
	return false, nil
}

// Erase removes letters, open or resolved, with their resolutions. It leaves out letters
// that other systems wrote, and returns how many these are.
func (q *Queue) Erase(ctx context.Context, refs []Ref) (foreign int, err error) {
	for some := range slices.Chunk(refs, chunkLetters) {
		var records []*kgo.Record
		for _, ref := range some {
			if ref.Format != letter.Orderhub {
				foreign++
				continue
			}
			records = append(records, ref.tombstones()...)
		}
		if err := q.client.produceAll(ctx, records); err != nil {
			return foreign, err
		}
	}
	return foreign, nil
}

// TopicSettings returns a topic's settings.
func (q *Queue) TopicSettings(ctx context.Context, topic string) (map[string]string, error) {
	return franz.Settings(ctx, q.client.client, topic)
}

// Redriven reads the copies that were made of letters by edits, as far as their topics
// still have them.
func (q *Queue) Redriven(ctx context.Context, items []Item) ([]*kgo.Record, error) {
	wanted := map[letter.Place]*kgo.Record{}
	for _, item := range items {
		if item.Resolution == nil || !item.Resolution.Edited {
			continue
		}
		if at, ok := letter.ParsePlace(item.Resolution.Became); ok {
			wanted[at] = nil
		}
	}
	topics := map[string]bool{}
	for at := range wanted {
		if !topics[at.Topic] {
			topics[at.Topic] = true
			if err := q.fetch(ctx, at.Topic, wanted); err != nil && !errors.Is(err, ErrNoTopic) {
				return nil, err
			}
		}
	}
	return slices.DeleteFunc(slices.Collect(maps.Values(wanted)), func(r *kgo.Record) bool { return r == nil }), nil
}
