// Package synth makes orders on the model of the sample: unique, believable,
// varied, with sums that add up; and, where asked for, records that a worker
// must refuse, repeat or find in conflict. The same seed gives the same bytes.
package synth

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/orderhub/orderhub/libs/model"
)

// Kind says what a record is to be for the worker that reads it.
type Kind string

// The kinds.
const (
	KindOrder     Kind = "order"     // a new valid order
	KindInvalid   Kind = "invalid"   // refused by libs/model
	KindDuplicate Kind = "duplicate" // an earlier order once more
	KindConflict  Kind = "conflict"  // other content under an earlier order's uid
)

// Record is what is to be published.
type Record struct {
	Kind  Kind
	Fault string // name of the fault of an invalid record
	// UID is the order_uid that stands in the value; empty if none can be read.
	UID   string
	Key   []byte // the order_uid, also where the value has none; nil in some invalid records
	Value []byte // nil is a tombstone
}

// Options of a Generator.
type Options struct {
	// Count is how many records to make, of all kinds.
	Count int
	// MinItems and MaxItems bound the number of items of an order.
	MinItems, MaxItems int
	// Invalid, Duplicates and Conflicts are shares of Count, from 0 to 1.
	Invalid, Duplicates, Conflicts float64
	// Faults are the names of the faults of invalid records, taken in turn;
	// empty means all.
	Faults []string
	// Seed decides all that is left to chance.
	Seed uint64
	// Now dates the orders; nil means a calendar that depends on the seed
	// alone, so that the bytes do too.
	Now func() time.Time
}

// Limits of Options.
const (
	DefaultMaxItems = 10
	MaxItems        = model.DefaultMaxItems
)

// Generator makes records. It is for one goroutine.
type Generator struct {
	opts   Options
	maker  *maker
	faults []Fault

	made    int
	byKind  map[Kind]int
	nextDay time.Time
	// originals are orders that can be repeated: the latest of them, as a ring.
	originals []original
	next      int
}

// original is what it takes to make an order again.
type original struct {
	number  uint64
	created time.Time
}

// remembered is from how many orders back duplicates and conflicts are taken.
const remembered = 4096

// New returns a Generator, or an error that says which option cannot be.
func New(opts Options) (*Generator, error) {
	if opts.MinItems < 1 || opts.MaxItems < opts.MinItems || opts.MaxItems > MaxItems {
		return nil, fmt.Errorf("items: from 1 to %d, the smaller number first", MaxItems)
	}
	sum := 0.0
	for _, s := range []struct {
		name  string
		share float64
	}{{"invalid", opts.Invalid}, {"duplicates", opts.Duplicates}, {"conflicts", opts.Conflicts}} {
		if !(s.share >= 0 && s.share <= 1) { // refuses NaN too
			return nil, fmt.Errorf("%s: a share from 0 to 1, such as 0.1", s.name)
		}
		sum += s.share
	}
	if sum > 1 {
		return nil, errors.New("invalid, duplicates and conflicts: together at most 1")
	}
	chosen, err := chooseFaults(opts.Faults)
	if err != nil {
		return nil, err
	}
	g := &Generator{opts: opts, faults: chosen, byKind: map[Kind]int{}, maker: newMaker(opts.Seed, opts.MinItems, opts.MaxItems)}
	g.nextDay = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(mix(opts.Seed)%(300*24)) * time.Hour)
	if len(opts.Faults) == 0 { // a few invalid records are of different faults from seed to seed
		g.maker.rnd.Shuffle(len(g.faults), func(i, j int) { g.faults[i], g.faults[j] = g.faults[j], g.faults[i] })
	}
	return g, nil
}

// Next returns the next record, or io.EOF after Count of them. A duplicate or a
// conflict comes after its original and has the same key.
func (g *Generator) Next() (Record, error) {
	if g.made == g.opts.Count {
		return Record{}, io.EOF
	}
	number := uint64(g.made)
	g.made++
	kind := g.nextKind()
	g.byKind[kind]++
	switch kind {
	case KindDuplicate, KindConflict:
		again := g.originals[mix(number^g.opts.Seed)%uint64(len(g.originals))]
		o := g.maker.order(again.number, again.created)
		if kind == KindConflict {
			g.maker.alter(o)
		}
		return record(kind, o), nil
	case KindInvalid:
		fault := g.faults[(g.byKind[KindInvalid]-1)%len(g.faults)]
		return fault.record(g.maker, g.maker.order(number, g.date(number))), nil
	default:
		created := g.date(number)
		g.remember(original{number, created})
		return record(KindOrder, g.maker.order(number, created)), nil
	}
}

func record(kind Kind, o *model.Order) Record {
	return Record{Kind: kind, UID: o.OrderUID, Key: []byte(o.OrderUID), Value: encode(o)}
}

// encode gives the canonical JSON, with room for most orders made at once.
func encode(o *model.Order) []byte {
	return model.AppendCanonical(make([]byte, 0, 896+320*len(o.Items)), o)
}

// nextKind is the kind that lags furthest behind its share, so that the shares
// hold for any count as nearly as whole records allow.
func (g *Generator) nextKind() Kind {
	kinds := []struct {
		kind  Kind
		share float64
	}{
		{KindOrder, 1 - g.opts.Invalid - g.opts.Duplicates - g.opts.Conflicts},
		{KindInvalid, g.opts.Invalid},
		{KindDuplicate, g.opts.Duplicates},
		{KindConflict, g.opts.Conflicts},
	}
	best, most := KindOrder, 0.0
	for _, k := range kinds {
		if (k.kind == KindDuplicate || k.kind == KindConflict) && len(g.originals) == 0 {
			continue // nothing to repeat as yet
		}
		const rounding = 1e-9
		if lag := k.share*float64(g.made) - float64(g.byKind[k.kind]); lag > most+rounding {
			best, most = k.kind, lag
		}
	}
	return best
}

func (g *Generator) remember(o original) {
	if len(g.originals) < remembered {
		g.originals = append(g.originals, o)
		return
	}
	g.originals[g.next] = o
	g.next = (g.next + 1) % remembered
}

// date is when the next order was made: to the millisecond, as shops keep it.
func (g *Generator) date(number uint64) time.Time {
	if g.opts.Now != nil {
		return g.opts.Now().UTC().Truncate(time.Millisecond)
	}
	g.nextDay = g.nextDay.Add(time.Duration(mix(g.opts.Seed+number)%20_000) * time.Millisecond)
	return g.nextDay
}
