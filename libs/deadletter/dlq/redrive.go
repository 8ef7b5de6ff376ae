package dlq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// Redrive says how letters are sent back.
type Redrive struct {
	By By
	// Target is where the copies go; the zero value: to their sources.
	Target Target
	// MaxRedrives is how often a record may have been redriven before.
	MaxRedrives int
	// Rate is in letters a second; 0 means as fast as possible.
	Rate float64
	// Edit gives the value to send instead of the letter's; its error keeps the
	// letter from being sent, and the work continues. Nil: the letter's own value.
	Edit func(*Item) ([]byte, error)
	// Done is called for each letter, in order within a source partition.
	Done func(Outcome)
}

// Errors that keep a letter from being dealt with.
var (
	ErrNotOpen     = errors.New("is resolved by now")
	ErrNotResolved = errors.New("is open by now")
	ErrTruncated   = errors.New("its value was cut to fit the topic: send the original again")
	ErrTooOften    = errors.New("was redriven too often")
	ErrTooLarge    = errors.New("is larger than its topic takes")
)

// InSourceOrder sorts letters in the order of their source records.
func InSourceOrder(refs []Ref) {
	slices.SortFunc(refs, func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.SourceTopic, b.SourceTopic), cmp.Compare(a.SourcePartition, b.SourcePartition),
			cmp.Compare(a.SourceOffset, b.SourceOffset), cmp.Compare(a.Place.Offset, b.Place.Offset))
	})
}

// inSourceOrder is InSourceOrder for letters of the caller's.
func inSourceOrder(refs []Ref) []Ref {
	refs = slices.Clone(refs)
	InSourceOrder(refs)
	return refs
}

// Copy makes the record that goes back to a letter's source.
func Copy(l *letter.Letter) *kgo.Record {
	headers := append(slices.Clone(l.SourceHeaders),
		kgo.RecordHeader{Key: deadletter.HeaderRedriveCount, Value: []byte(strconv.Itoa(l.Redrives + 1))},
		kgo.RecordHeader{Key: deadletter.HeaderOrigin, Value: []byte(l.Origin)})
	known := !l.SourceTimestamp.IsZero() && l.Source.Partition >= 0 && l.Source.Offset >= 0
	if known && !slices.ContainsFunc(l.SourceHeaders, func(h kgo.RecordHeader) bool { return h.Key == deadletter.HeaderOriginTimestamp }) {
		headers = append(headers,
			kgo.RecordHeader{Key: deadletter.HeaderOriginPartition, Value: []byte(strconv.Itoa(int(l.Source.Partition)))},
			kgo.RecordHeader{Key: deadletter.HeaderOriginOffset, Value: []byte(strconv.FormatInt(l.Source.Offset, 10))},
			kgo.RecordHeader{Key: deadletter.HeaderOriginTimestamp, Value: []byte(l.SourceTimestamp.UTC().Format(time.RFC3339Nano))})
	}
	return &kgo.Record{Topic: l.Source.Topic, Partition: l.Source.Partition, Key: l.SourceKey, Value: l.Value, Headers: headers}
}

// EditedCopy is a copy with another value. It says who edited it, and which
// letter has the value as it was.
func EditedCopy(l *letter.Letter, value []byte, by string) *kgo.Record {
	r := Copy(l)
	r.Value = value
	r.Headers = append(slices.DeleteFunc(r.Headers, func(h kgo.RecordHeader) bool {
		return h.Key == deadletter.HeaderEditedBy || h.Key == deadletter.HeaderEditedFrom
	}),
		kgo.RecordHeader{Key: deadletter.HeaderEditedBy, Value: []byte(by)},
		kgo.RecordHeader{Key: deadletter.HeaderEditedFrom, Value: []byte(l.ID)})
	return r
}

// Redrive sends letters to their sources' partitions, or to another target, in their
// sources' order, and resolves each once its copy is acknowledged. Killed in between, it leaves
// letters open whose copies are sent: run again, it sends these once more, and
// the worker recognizes them as duplicates. It stops at the first error that is
// not a letter's own; what was done until then stays done and is written down.
//
// Letters that others resolve meanwhile are skipped: Redrive reads the topic again
// before it sends, if what it knows is older than lookAgain. If two people send the same letter
// in the same moment, the worker recognizes one of the copies as a duplicate.
func (q *Queue) Redrive(ctx context.Context, view *View, refs []Ref, how Redrive) error {
	router, err := q.Router(ctx, how.Target, how.MaxRedrives)
	if err != nil {
		return err
	}
	d := &redriving{how, q, router}
	return q.deal(ctx, view, inSourceOrder(refs), how.Rate, lookAgain, how.Done, func(items []Item) error {
		var batch []draft
		for _, item := range items {
			record, refused, err := d.copy(ctx, &item)
			switch {
			case err != nil:
				return err
			case refused != nil:
				how.Done(Outcome{Item: item, Err: refused})
			default:
				batch = append(batch, draft{item, record})
			}
		}
		return d.send(ctx, batch)
	})
}

// lookAgain is how old what is known of letters may be when they are sent.
const lookAgain = 300 * time.Millisecond

type redriving struct {
	Redrive
	queue  *Queue
	router *Router
}

// A draft is a letter with the record that goes back.
type draft struct {
	item   Item
	record *kgo.Record
}

// copy makes a letter's copy, or says why the letter cannot be sent.
func (d *redriving) copy(ctx context.Context, item *Item) (record *kgo.Record, refused, err error) {
	topic, partition, refused, err := d.router.Route(ctx, &item.Letter)
	if refused != nil || err != nil {
		return nil, refused, err
	}
	if d.Edit == nil {
		record = Copy(&item.Letter)
	} else {
		value, refused := d.Edit(item)
		if refused != nil {
			return nil, refused, nil
		}
		record = EditedCopy(&item.Letter, value, d.By.Actor)
		if erased, err := d.queue.IsErased(record.Key, value); erased || err != nil {
			return nil, ErrErased, err
		}
	}
	record.Topic, record.Partition = topic, partition
	return record, nil, nil
}

// send sends copies and writes down that they are sent. The error is the first that is not a
// copy's own.
func (d *redriving) send(ctx context.Context, batch []draft) error {
	// What is sent must be written down, whatever happens meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeDown)
	defer cancel()
	records := make([]*kgo.Record, len(batch))
	for i := range batch {
		records[i] = batch[i].record
		defer batch[i].trace().End()
	}
	var failure error
	var items []Item
	var places []letter.Place
	var resolutions []letter.Resolution
	for i, p := range d.queue.client.produceApart(ctx, records) {
		switch {
		case p.Err == nil:
			at := letter.Place{Topic: p.Record.Topic, Partition: p.Record.Partition, Offset: p.Record.Offset}
			items, places = append(items, batch[i].item), append(places, at)
			resolutions = append(resolutions, letter.Resolution{
				Kind: letter.Redriven, By: d.By.Actor, Why: d.By.Why, Became: at.String(), Edited: d.Edit != nil,
			})
		case tooLarge(p.Err):
			d.Done(Outcome{Item: batch[i].item, Err: ErrTooLarge})
		case failure == nil:
			failure = p.Err
		}
	}
	err := d.queue.resolve(ctx, items, resolutions, func(i int) { d.Done(Outcome{Item: items[i], Copy: places[i]}) })
	return errors.Join(failure, err)
}

// trace begins the span of a copy that is about to be sent, in a trace of its own that is
// linked to the letter's. Whoever receives the copy continues it. Where it is not
// recorded the copy keeps the header that it has, and stays in the letter's trace.
func (d draft) trace() trace.Span {
	if !tracing.On() {
		return trace.SpanFromContext(context.Background())
	}
	var links []trace.Link
	others := make([]kgo.RecordHeader, 0, len(d.record.Headers)+1)
	for _, h := range d.record.Headers {
		switch letter, sampled := tracing.Parse(h.Value); {
		case h.Key == "tracestate": // it belongs to the other trace
		case h.Key != tracing.Header:
			others = append(others, h)
		case sampled:
			links = append(links, trace.Link{SpanContext: letter})
		}
	}
	name, kind, of := tracing.Send.On(d.record.Topic, tracing.LetterID.String(d.item.ID))
	ctx, span := tracing.Begin(context.Background(), name, kind, of, trace.WithLinks(links...))
	if header := tracing.Traceparent(ctx); header != nil {
		others = append(others, kgo.RecordHeader{Key: tracing.Header, Value: header})
		d.record.Headers = others
	}
	return span
}

// produceApart is Produce for records that may be too large together, and not alone.
func (c *Client) produceApart(ctx context.Context, records []*kgo.Record) []Produced {
	produced := c.Produce(ctx, records...)
	for i, p := range produced {
		if tooLarge(p.Err) && len(records) > 1 {
			r := records[i]
			produced[i] = c.Produce(ctx, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers})[0]
		}
	}
	return produced
}

func tooLarge(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge)
}

// Target is where letters are sent. The zero value is the topic and the partition of
// each letter's source.
type Target struct {
	// Topic is another topic; empty: the source's. In another topic the key decides on
	// the partition, unless Partition does.
	Topic string
	// Partition is a partition of the topic; nil: the source's.
	Partition *int32
	// ByKey lets the source record's key decide on the partition, as Kafka's producers do.
	ByKey bool
}

// NewTarget makes a target; a partition below 0 is none.
func NewTarget(topic string, partition int32, byKey bool) Target {
	t := Target{Topic: topic, ByKey: byKey}
	if partition >= 0 {
		t.Partition = &partition
	}
	return t
}

// IsSource reports whether letters go back to their sources.
func (t Target) IsSource() bool { return t == Target{} }

// String is the target for people and the audit log.
func (t Target) String() string {
	text := "the source's topic"
	if t.Topic != "" {
		text = "topic " + t.Topic
	}
	switch {
	case t.Partition != nil:
		return fmt.Sprintf("%s, partition %d", text, *t.Partition)
	case t.ByKey || t.Topic != "":
		return text + ", partition by key"
	}
	return text + " and partition"
}

// otherTarget names the flags that choose a target.
const otherTarget = "send it elsewhere with --to-topic, --to-partition or --by-key"

// ErrTarget says that nothing can be sent to a target.
var ErrTarget = errors.New("nothing can be sent there")

// Errors that keep a letter from being sent to a target.
var (
	ErrNoSource = errors.New("its headers do not say where it came from: name a topic with --to-topic")
	ErrGone     = errors.New("the source's partition does not exist any more: " + otherTarget)
)

// Router finds out where letters can be sent. It is for one goroutine, and remembers
// the partitions of topics.
type Router struct {
	target      Target
	maxRedrives int
	queue       *Queue
	partitions  map[string]int32 // 0: no such topic
}

// Router checks a target. maxRedrives is how often a record may have been redriven.
func (q *Queue) Router(ctx context.Context, target Target, maxRedrives int) (*Router, error) {
	r := &Router{target: target, maxRedrives: maxRedrives, queue: q, partitions: map[string]int32{}}
	switch {
	case target.Partition != nil && target.ByKey:
		return nil, fmt.Errorf("%w: name a partition, or send by key: not both", ErrTarget)
	case slices.Contains(q.topics(), target.Topic):
		return nil, fmt.Errorf("%w: %s is a topic of dead letters", ErrTarget, target.Topic)
	case target.Topic == "":
		return r, nil
	}
	n, err := q.client.Partitions(ctx, target.Topic)
	switch {
	case errors.Is(err, ErrNoTopic):
		return nil, fmt.Errorf("%w: topic %s does not exist", ErrTarget, target.Topic)
	case err != nil:
		return nil, err
	case target.Partition != nil && *target.Partition >= n:
		return nil, fmt.Errorf("%w: topic %s has no partition %d, only 0 to %d", ErrTarget, target.Topic, *target.Partition, n-1)
	}
	r.partitions[target.Topic] = n
	return r, nil
}

// Redrivable says why a letter cannot be sent to a target, as far as the letter alone
// tells; nil if it can.
func Redrivable(l *letter.Letter, target Target, maxRedrives int) error {
	switch {
	case l.Source.Topic == "" && target.Topic == "":
		return ErrNoSource
	case l.Truncated != nil:
		return ErrTruncated
	case l.Redrives >= maxRedrives:
		return fmt.Errorf("%w (%d times; the limit is %d)", ErrTooOften, l.Redrives, maxRedrives)
	}
	return nil
}

// Route says where a letter goes, or why it cannot be sent. The error is not the letter's.
func (r *Router) Route(ctx context.Context, l *letter.Letter) (topic string, partition int32, refused, err error) {
	if refused := Redrivable(l, r.target, r.maxRedrives); refused != nil {
		return "", 0, refused, nil
	}
	if erased, err := r.queue.IsErased(l.SourceKey, l.Value); erased || err != nil {
		return "", 0, ErrErased, err
	}
	topic, partition = l.Source.Topic, l.Source.Partition
	byKey := r.target.ByKey || partition < 0
	if deadletter.IsNATS(topic) {
		topic, byKey = r.queue.opts.Orders, true
	}
	if r.target.Topic != "" {
		topic, byKey = r.target.Topic, true
	}
	if r.target.Partition != nil {
		partition, byKey = *r.target.Partition, false
	}
	n, known := r.partitions[topic]
	if !known {
		if n, err = r.queue.client.Partitions(ctx, topic); err != nil && !errors.Is(err, ErrNoTopic) {
			return "", 0, nil, err
		}
		r.partitions[topic] = n
	}
	switch {
	case n == 0:
		return "", 0, fmt.Errorf("topic %s does not exist any more: %s", topic, otherTarget), nil
	case slices.Contains(r.queue.topics(), topic): // a letter of a letter
		return "", 0, fmt.Errorf("topic %s has dead letters: %s", topic, otherTarget), nil
	case byKey:
		keyed := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
		partition = int32(keyed.Partition(&kgo.Record{Key: l.SourceKey}, int(n)))
	case partition >= n && r.target.Partition != nil:
		return "", 0, fmt.Errorf("topic %s has no partition %d", topic, partition), nil
	case partition >= n:
		return "", 0, ErrGone, nil
	}
	return topic, partition, nil, nil
}
