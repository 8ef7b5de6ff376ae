package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/internal/poll"
)

const (
	polling = 50 * time.Millisecond
	// attemptTimeout is longer than an answer takes, and short beside the time for
	// which a broker is frozen.
	attemptTimeout = 3 * time.Second
)

// Offsets are offsets by partition.
type Offsets map[int32]int64

// Reach says whether each of goal is reached.
func (o Offsets) Reach(goal Offsets) bool {
	for partition, offset := range goal {
		if o[partition] < offset {
			return false
		}
	}
	return true
}

// Plus returns offsets that are larger by n.
func (o Offsets) Plus(n int64) Offsets {
	further := maps.Clone(o)
	for partition := range further {
		further[partition] += n
	}
	return further
}

// Progress watches how far a group has consumed a topic. It waits for brokers that
// are unavailable for a while.
type Progress struct {
	client *kgo.Client
	admin  *kadm.Client
	topic  string
	group  string
}

// NewProgress returns a watcher, to be closed.
func NewProgress(brokers []string, topic, group string) (*Progress, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(100*time.Millisecond), kgo.RetryTimeout(3*time.Second))
	if err != nil {
		return nil, err
	}
	return &Progress{client, kadm.NewClient(client), topic, group}, nil
}

// Close ends the connections.
func (p *Progress) Close() { p.client.Close() }

// Admin is a client for further requests.
func (p *Progress) Admin() *kadm.Client { return p.admin }

// Ends are the partitions' end offsets.
func (p *Progress) Ends(ctx context.Context) (Offsets, error) {
	return p.patiently(ctx, func(ctx context.Context) (Offsets, error) {
		listed, err := p.admin.ListEndOffsets(ctx, p.topic)
		ends := Offsets{}
		listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
		return ends, cmp.Or(err, listed.Error())
	})
}

// Committed are the group's offsets; a partition without one is left out.
func (p *Progress) Committed(ctx context.Context) (Offsets, error) {
	return p.patiently(ctx, p.committed)
}

func (p *Progress) committed(ctx context.Context) (Offsets, error) {
	fetched, err := p.admin.FetchOffsets(ctx, p.group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return Offsets{}, nil
	}
	at := Offsets{}
	for partition, offset := range fetched[p.topic] {
		if offset.At >= 0 {
			at[partition] = offset.At
		}
	}
	return at, cmp.Or(err, fetched.Error())
}

func (p *Progress) patiently(ctx context.Context, ask func(context.Context) (Offsets, error)) (offsets Offsets, err error) {
	return offsets, poll.Until(ctx, polling, func() error {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		offsets, err = ask(attempt)
		return err
	})
}

// Await returns once the group has committed up to goal.
func (p *Progress) Await(ctx context.Context, goal Offsets) error {
	return p.await(ctx, "the group "+p.group, goal, p.committed)
}

// await returns once the offsets that are asked for have reached goal.
func (p *Progress) await(ctx context.Context, whose string, goal Offsets, ask func(context.Context) (Offsets, error)) error {
	_, err := p.patiently(ctx, func(ctx context.Context) (Offsets, error) {
		at, err := ask(ctx)
		if err == nil && !at.Reach(goal) {
			err = fmt.Errorf("%s is stuck at %s of %s", whose, at, goal)
		}
		return at, err
	})
	return err
}

// Drain returns once the group has committed up to the present ends.
func (p *Progress) Drain(ctx context.Context) error {
	ends, err := p.Ends(ctx)
	if err != nil {
		return err
	}
	return p.Await(ctx, ends)
}

// DrainInto is Drain for a database that may have gone back to an earlier state: the tables,
// too, must have recorded that they are at the ends.
func (p *Progress) DrainInto(ctx context.Context, databaseURL string) error {
	ends, err := p.Ends(ctx)
	if err != nil {
		return err
	}
	stored := func(ctx context.Context) (Offsets, error) { return p.inTables(ctx, databaseURL) }
	return errors.Join(p.await(ctx, "what the tables have", ends, stored), p.Await(ctx, ends))
}

func (p *Progress) inTables(ctx context.Context, databaseURL string) (Offsets, error) {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `SELECT partition, next_offset FROM ingest_positions WHERE topic = $1 AND consumer_group = $2`, p.topic, p.group)
	if err != nil {
		return nil, err
	}
	at := Offsets{}
	var partition int32
	var next int64
	_, err = pgx.ForEachRow(rows, []any{&partition, &next}, func() error {
		at[partition] = next
		return nil
	})
	return at, err
}

// String lists offsets by partition.
func (o Offsets) String() string {
	text := ""
	for _, partition := range slices.Sorted(maps.Keys(o)) {
		text += fmt.Sprintf(" %d:%d", partition, o[partition])
	}
	return "[" + text + " ]"
}
