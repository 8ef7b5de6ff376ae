// Package ledger accounts for records: it makes a load of them, says what is to
// become of each record that a topic holds, and compares that with the tables,
// the dead letters, the committed offsets and what the readers serve.
package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// Place is where a record is, with its timestamp.
type Place struct {
	Partition int32
	Offset    int64
	At        time.Time
}

// Order is an order that must be stored.
type Order struct {
	Place
	Hash  model.Hash
	Stamp *model.Stamp // nil: any
}

// Letter is a dead letter that must exist.
type Letter struct {
	Place
	Reason string
	Value  [sha256.Size]byte // of the record
	Cut    bool              // the letter has only the beginning of the record
}

// Expected is what must become of the records in a topic.
type Expected struct {
	Orders     map[string]Order  // by order_uid
	Letters    map[string]Letter // by id
	Records    int
	Duplicates int
	Conflicts  int
	Broken     int
	OfErased   int // records of orders that were erased, of which nothing may be left
	Changed        // only of ExpectNewest

	erased   map[string]bool // by order_uid
	mu       sync.Mutex
	problems []string
}

// Expect reads the records that the topic holds, without those of aborted
// transactions, and says what must become of each: the first valid record of an
// order_uid must be stored, unless that order was erased.
func Expect(ctx context.Context, brokers []string, topic string, erased ...string) (*Expected, error) {
	e := &Expected{}
	return e, e.read(ctx, brokers, topic, erased)
}

func (e *Expected) read(ctx context.Context, brokers []string, topic string, erased []string) error {
	e.Orders, e.Letters, e.erased = map[string]Order{}, map[string]Letter{}, map[string]bool{}
	for _, uid := range erased {
		e.erased[uid] = true
	}
	codec := model.New(model.Options{})
	err := must.Try(func() { readAll(ctx, brokers, topic, func(r *kgo.Record) { e.add(codec, r) }) })
	if err == nil && len(e.problems) > 0 {
		err = fmt.Errorf("a record of the load is not of the intended kind: %s", e.problems[0])
	}
	return err
}

// String is the summary.
func (e *Expected) String() string {
	if e.changes != nil {
		return fmt.Sprintf("%d records of orders that change: %d orders to be stored, %d newer versions, %d duplicates, %d stale, %d deletions, "+
			"%d recreations, %d orders to be gone, %d broken, %d of erased orders",
			e.Records, len(e.Orders), e.Versions, e.Duplicates, e.Stale, e.Deletions, e.Recreated, len(e.Deleted), e.Broken, e.OfErased)
	}
	return fmt.Sprintf("%d records: %d orders to be stored, %d duplicates, %d conflicts, %d broken, %d of erased orders",
		e.Records, len(e.Orders), e.Duplicates, e.Conflicts, e.Broken, e.OfErased)
}

// readAll passes all records that a topic holds now to handle, which is called for
// several partitions at once.
func readAll(ctx context.Context, brokers []string, topic string, handle func(*kgo.Record)) {
	client := must.Get(dlq.NewClient(kgo.SeedBrokers(brokers...)))
	defer client.Close()
	spans := map[int32][]dlq.Span{}
	for partition, span := range must.Get(client.Bounds(ctx, topic)) {
		spans[partition] = []dlq.Span{span}
	}
	gaps := must.Get(client.Read(ctx, topic, spans, func(r *kgo.Record) error { handle(r); return nil }))
	if len(gaps) > 0 {
		must.Succeed(fmt.Errorf("topic %s: offsets %v were removed while it was read", topic, gaps))
	}
}

func (e *Expected) add(codec *model.Codec, r *kgo.Record) {
	decoded, err := codec.Decode(r.Value)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.Records++
	if r.Value == nil && e.changes != nil && model.IsOrderUID(string(r.Key)) {
		e.change(r, string(r.Key), nil)
		return
	}
	place := Place{r.Partition, r.Offset, r.Timestamp}
	reason, meant := "", header(r, expectHeader)
	var refused *model.RecordError
	if errors.As(err, &refused) {
		reason = string(refused.Reason)
	}
	if meant != "" && meant != reason {
		e.problems = append(e.problems, fmt.Sprintf("partition %d, offset %d: %q instead of %q", r.Partition, r.Offset, reason, meant))
	}
	if reason != "" {
		e.Broken++
		e.letter(r, place, reason)
		return
	}
	hash := model.ContentHash(model.AppendCanonical(nil, decoded.Order))
	uid := decoded.Order.OrderUID
	stored, there := e.Orders[uid]
	switch {
	case e.changes != nil:
		e.change(r, uid, &hash)
	case e.erased[uid]:
		e.OfErased++
	case !there:
		e.Orders[uid] = Order{Place: place, Hash: hash}
	case stored.Partition != r.Partition:
		e.problems = append(e.problems, fmt.Sprintf("%s is in partitions %d and %d: which is the first?", uid, stored.Partition, r.Partition))
	case stored.Hash == hash:
		e.Duplicates++
	default:
		e.Conflicts++
		e.letter(r, place, deadletter.ReasonConflict)
	}
}

func (e *Expected) letter(r *kgo.Record, place Place, reason string) {
	source := deadletter.Source{Topic: r.Topic, Partition: int(r.Partition), Offset: r.Offset, Timestamp: r.Timestamp, Value: r.Value}
	letter := Letter{place, reason, sha256.Sum256(r.Value), reason == string(model.ReasonTooLarge)}
	if letter.Cut {
		source.Truncated = &deadletter.Truncation{Size: int64(len(r.Value)), SHA256: hex.EncodeToString(letter.Value[:])}
	}
	e.Letters[deadletter.ID(source)] = letter
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}
