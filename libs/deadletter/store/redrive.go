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
	// Done is told of each letter, those of a source partition in their order.
	Done func(Outcome)
}

// Outcome is what became of a letter.
type Outcome struct {
	Item Item
	// Copy is where the letter was sent to.
	Copy letter.Place
	// Err says why it was not sent; the work goes on.
	Err error
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

// Redrive sends letters to their sources' partitions, in their sources' order,
// and resolves each once its copy is acknowledged. Killed in between, it leaves
// letters open whose copies are sent: run again, it sends these once more, and
// the worker knows them as duplicates. It stops at the first error that is not a
// letter's own; what was done until then stays done and is written down.
func (s *Store) Redrive(ctx context.Context, refs []index.Ref, how Redrive) error {
	refs = slices.Clone(refs)
	InSourceOrder(refs)
	d := &driving{store: s, how: how, partitions: map[string]int32{}, start: time.Now()}
	return s.chunks(ctx, refs, func(items []Item) error { return d.items(ctx, items) })
}

// driving is one Redrive.
type driving struct {
	store      *Store
	how        Redrive
	partitions map[string]int32
	start      time.Time
	sent       int
}

// items sends as many letters together as fit one request.
func (d *driving) items(ctx context.Context, items []Item) error {
	var batch []Item
	size := 0
	for _, item := range items {
		if err := d.check(ctx, &item); err != nil {
			if _, own := errors.AsType[ownError](err); !own {
				return err
			}
			d.how.Done(Outcome{Item: item, Err: errors.Unwrap(err)})
			continue
		}
		bytes := len(item.Value) + len(item.SourceKey) + 1024
		for _, h := range item.SourceHeaders {
			bytes += len(h.Key) + len(h.Value)
		}
		if len(batch) > 0 && (size+bytes > chunkBytes || d.how.Rate > 0) {
			if err := d.send(ctx, batch); err != nil {
				return err
			}
			batch, size = nil, 0
		}
		batch, size = append(batch, item), size+bytes
	}
	if len(batch) == 0 {
		return nil
	}
	return d.send(ctx, batch)
}

// ownError is a letter's own fault.
type ownError struct{ error }

func (e ownError) Unwrap() error { return e.error }

func (d *driving) check(ctx context.Context, item *Item) error {
	if err := Redrivable(&item.Letter, d.how.MaxRedrives); err != nil {
		return ownError{err}
	}
	name := item.Source.Topic
	if _, known := d.partitions[name]; !known {
		n, err := d.store.client.Partitions(ctx, name)
		if err != nil {
			return err
		}
		d.partitions[name] = n
	}
	if item.Source.Partition < 0 || item.Source.Partition >= d.partitions[name] {
		return ownError{ErrGone}
	}
	return nil
}

func (d *driving) send(ctx context.Context, items []Item) error {
	if err := d.pace(ctx, len(items)); err != nil {
		return err
	}
	copies := make([]*kgo.Record, len(items))
	for i := range items {
		copies[i] = Copy(&items[i].Letter)
	}
	// What is sent is to be written down, whatever happens meanwhile.
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeDown)
	defer cancel()
	var failure error
	var outcomes []Outcome
	var resolved []Item
	var records []*kgo.Record
	for i, p := range d.store.client.Produce(finish, copies...) {
		item := items[i]
		if tooLarge(p) {
			d.how.Done(Outcome{Item: item, Err: ErrTooLarge})
			continue
		}
		if p.Err != nil {
			failure = cmp.Or(failure, p.Err)
			continue
		}
		place := letter.Place{Topic: p.Record.Topic, Partition: p.Record.Partition, Offset: p.Record.Offset}
		record, err := d.store.resolve(finish, item, resolution.Resolution{
			ID: item.ID, Kind: resolution.Redriven, By: d.how.By.Actor, When: d.store.opts.Now(), Why: d.how.By.Why, Became: place.String(),
		})
		if err != nil {
			return err
		}
		outcomes, resolved, records = append(outcomes, Outcome{Item: item, Copy: place}), append(resolved, item), append(records, record)
	}
	told := 0
	err := d.store.write(finish, resolved, records, func(item Item) {
		for outcomes[told].Item.ID != item.ID {
			told++
		}
		d.how.Done(outcomes[told])
	})
	return errors.Join(failure, err)
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
