package store

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

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/index"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/deadletter/resolution"
	"github.com/orderhub/orderhub/libs/deadletter/topic"
)

// Redrive says how letters are sent back.
type Redrive struct {
	By By
	// MaxRedrives is how often a record may have been redriven before.
	MaxRedrives int
	// Rate is in letters a second; 0 means as fast as possible.
	Rate float64
	// Edit gives the value to send instead of the letter's; its error keeps the
	// letter from being sent, and the work goes on. Nil: the letter's own value.
	Edit func(*Item) ([]byte, error)
	// Done is told of each letter, those of a source partition in their order.
	Done func(Outcome)
}

// Errors that keep a letter from being redriven.
var (
	ErrNoSource  = errors.New("its headers do not say where it came from")
	ErrTruncated = errors.New("its value was cut to fit the topic: send the original again")
	ErrTooOften  = errors.New("was redriven too often")
	ErrGone      = errors.New("the source's partition does not exist any more")
	ErrTooLarge  = errors.New("is larger than its topic takes")
)

// Redrivable says why a letter can't be sent back; nil if it can.
func Redrivable(l *letter.Letter, maxRedrives int) error {
	switch {
	case l.Source.Topic == "":
		return ErrNoSource
	case l.Truncated != nil:
		return ErrTruncated
	case l.Redrives >= maxRedrives:
		return fmt.Errorf("%w (%d times; the limit is %d)", ErrTooOften, l.Redrives, maxRedrives)
	}
	return nil
}

// InSourceOrder sorts letters as their source records stood.
func InSourceOrder(refs []index.Ref) {
	slices.SortFunc(refs, func(a, b index.Ref) int {
		return cmp.Or(cmp.Compare(a.Group.SourceTopic, b.Group.SourceTopic), cmp.Compare(a.Group.SourcePartition, b.Group.SourcePartition),
			cmp.Compare(a.SourceOffset, b.SourceOffset), cmp.Compare(a.Offset, b.Offset))
	})
}

// Copy makes the record that goes back to a letter's source.
func Copy(l *letter.Letter) *kgo.Record {
	headers := append(slices.Clone(l.SourceHeaders),
		kgo.RecordHeader{Key: deadletter.HeaderRedriveCount, Value: []byte(strconv.Itoa(l.Redrives + 1))},
		kgo.RecordHeader{Key: deadletter.HeaderOrigin, Value: []byte(l.Origin)})
	return &kgo.Record{Topic: l.Source.Topic, Partition: l.Source.Partition, Key: l.SourceKey, Value: l.Value, Headers: headers}
}

// EditedCopy is a copy with another value, which says who edited it and which
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

// Redrive sends letters to their sources' partitions, in their sources' order,
// and resolves each once its copy is acknowledged. Killed in between, it leaves
// letters open whose copies are sent: run again, it sends these once more, and
// the worker knows them as duplicates. It stops at the first error that is not a
// letter's own; what was done until then stays done and is written down.
//
// Letters that somebody else resolves meanwhile are left alone. The topic is
// looked at again before each send; of two people who send the same letter in
// the same moment, one makes a duplicate.
func (s *Store) Redrive(ctx context.Context, snap *Snapshot, refs []index.Ref, how Redrive) error {
	refs = slices.Clone(refs)
	InSourceOrder(refs)
	d := &driving{store: s, snap: snap, how: how, partitions: map[string]int32{}, start: time.Now()}
	return chunks(ctx, refs, func(refs []index.Ref) error {
		items, err := snap.current(ctx, refs, index.Open, d.resolvedMeanwhile)
		if err != nil {
			return err
		}
		d.looked = time.Now()
		return d.items(ctx, items)
	})
}

// lookAgain is how old what is known of letters may be when they are sent.
const lookAgain = 300 * time.Millisecond

// driving is one Redrive.
type driving struct {
	store      *Store
	snap       *Snapshot
	how        Redrive
	partitions map[string]int32
	start      time.Time
	looked     time.Time
	sent       int
}

func (d *driving) resolvedMeanwhile(item Item) { d.how.Done(Outcome{Item: item, Err: ErrNotOpen}) }

// items sends as many letters together as fit one request.
func (d *driving) items(ctx context.Context, items []Item) error {
	var batch []copied
	size := 0
	for _, item := range items {
		c, err := d.copy(ctx, &item)
		if err != nil {
			if _, own := errors.AsType[ownError](err); !own {
				return err
			}
			d.how.Done(Outcome{Item: item, Err: errors.Unwrap(err)})
			continue
		}
		bytes := len(c.record.Value) + len(c.record.Key) + 1024
		for _, h := range c.record.Headers {
			bytes += len(h.Key) + len(h.Value)
		}
		if len(batch) > 0 && (size+bytes > chunkBytes || d.how.Rate > 0) {
			if err := d.send(ctx, batch); err != nil {
				return err
			}
			batch, size = nil, 0
		}
		batch, size = append(batch, c), size+bytes
	}
	return d.send(ctx, batch)
}

// copied is a letter with the record that goes back.
type copied struct {
	item   Item
	record *kgo.Record
	edited bool
}

// ownError is a letter's own fault.
type ownError struct{ error }

func (e ownError) Unwrap() error { return e.error }

// copy makes a letter's copy, or says with an ownError why there is none.
func (d *driving) copy(ctx context.Context, item *Item) (copied, error) {
	if err := Redrivable(&item.Letter, d.how.MaxRedrives); err != nil {
		return copied{}, ownError{err}
	}
	name := item.Source.Topic
	if _, known := d.partitions[name]; !known {
		n, err := d.store.client.Partitions(ctx, name)
		if err != nil {
			return copied{}, err
		}
		d.partitions[name] = n
	}
	if item.Source.Partition < 0 || item.Source.Partition >= d.partitions[name] {
		return copied{}, ownError{ErrGone}
	}
	if d.how.Edit == nil {
		return copied{*item, Copy(&item.Letter), false}, nil
	}
	value, err := d.how.Edit(item)
	if err != nil {
		return copied{}, ownError{err}
	}
	return copied{*item, EditedCopy(&item.Letter, value, d.how.By.Actor), true}, nil
}

// send sends copies and writes down that they are sent.
func (d *driving) send(ctx context.Context, batch []copied) error {
	if len(batch) == 0 {
		return nil
	}
	if err := d.pace(ctx, len(batch)); err != nil {
		return err
	}
	batch, err := d.stillOpen(ctx, batch)
	if err != nil || len(batch) == 0 {
		return err
	}
	// What is sent is to be written down, whatever happens meanwhile.
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeDown)
	defer cancel()
	failure := d.produce(finish, batch)
	var sent []copied
	var items []Item
	var records []*kgo.Record
	for _, c := range batch {
		if c.record == nil {
			continue
		}
		record, err := d.store.resolve(finish, c.item, resolution.Resolution{
			ID: c.item.ID, Kind: resolution.Redriven, By: d.how.By.Actor, When: d.store.opts.Now(), Why: d.how.By.Why,
			Became: placeOf(c.record).String(), Edited: c.edited,
		})
		if err != nil {
			return err
		}
		sent, items, records = append(sent, c), append(items, c.item), append(records, record)
	}
	told := 0
	err = d.store.write(finish, items, records, func(item Item) {
		for sent[told].item.ID != item.ID {
			told++
		}
		d.how.Done(Outcome{Item: item, Copy: placeOf(sent[told].record)})
	})
	return errors.Join(failure, err)
}

// produce sends copies. Of one that was not sent the record is nil then. The
// error is the first that is not a copy's own.
func (d *driving) produce(ctx context.Context, batch []copied) error {
	var failure error
	records := make([]*kgo.Record, len(batch))
	for i := range batch {
		records[i] = batch[i].record
	}
	for i, p := range d.store.client.Produce(ctx, records...) {
		if tooLarge(p) && len(batch) > 1 {
			p = d.store.client.Produce(ctx, again(records[i]))[0] // together they were, and it alone may not be
			batch[i].record = p.Record
		}
		switch {
		case tooLarge(p):
			batch[i].record = nil
			d.how.Done(Outcome{Item: batch[i].item, Err: ErrTooLarge})
		case p.Err != nil:
			batch[i].record = nil
			if failure == nil {
				failure = p.Err
			}
		}
	}
	return failure
}

// again is a record to be sent once more.
func again(r *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}
}

// stillOpen leaves those out that somebody else resolved since they were looked
// at, if that is a while ago.
func (d *driving) stillOpen(ctx context.Context, batch []copied) ([]copied, error) {
	if time.Since(d.looked) < lookAgain {
		return batch, nil
	}
	if err := d.snap.Refresh(ctx); err != nil {
		return nil, err
	}
	d.looked = time.Now()
	kept := batch[:0]
	for _, c := range batch {
		switch now, there := d.snap.Current(c.item.Ref); {
		case there && now.Status == index.Open:
			kept = append(kept, c)
		case there:
			c.item.Ref = now
			d.resolvedMeanwhile(c.item)
		}
	}
	return kept, nil
}

func placeOf(r *kgo.Record) letter.Place {
	return letter.Place{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
}

func tooLarge(p topic.Produced) bool {
	return errors.Is(p.Err, kerr.MessageTooLarge) || errors.Is(p.Err, kerr.RecordListTooLarge)
}

// pace waits until so many more are due.
func (d *driving) pace(ctx context.Context, n int) error {
	defer func() { d.sent += n }()
	if d.how.Rate <= 0 {
		return ctx.Err()
	}
	due := d.start.Add(time.Duration(float64(d.sent) / d.how.Rate * float64(time.Second)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
