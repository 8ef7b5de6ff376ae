package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// findings are what is not as it is to be.
type findings struct {
	lost    int // orders that are not stored, and records without their letter
	extra   int // orders that nobody sent, and letters of records that deserve none
	wrong   int // orders stored otherwise than sent, and letters with other bytes or another reason
	orphans int // rows of parts that are too many or too few
	repeats int // letters written more than once, which the topic's compaction undoes
	offsets bool
	first   []string // the first of them, for people
}

func (f *findings) exact() bool { return f.lost+f.extra+f.wrong+f.orphans == 0 && f.offsets }

func (f *findings) say(count *int, format string, args ...any) {
	*count++
	if len(f.first) < 20 {
		f.first = append(f.first, fmt.Sprintf(format, args...))
	}
}

func (s *site) verify(ctx context.Context, l *load) (*findings, error) {
	f := &findings{}
	at, _ := s.committed()
	f.offsets = at == s.ends()
	if err := s.query(func(db *sql.DB) error { return f.orders(ctx, db, l) }); err != nil {
		return nil, err
	}
	letters, err := s.letters(ctx)
	if err != nil {
		return nil, err
	}
	f.letters(letters, l)
	return f, nil
}

// orders compares the tables with what was sent.
func (f *findings) orders(ctx context.Context, db *sql.DB, l *load) error {
	for uids := range slices.Chunk(l.orders, 2000) {
		there, err := orderdb.Read(ctx, db, uids)
		if err != nil {
			return err
		}
		for _, uid := range uids {
			row, ok := there[uid]
			switch {
			case !ok:
				f.say(&f.lost, "order %s is not stored", uid)
			case string(model.AppendCanonical(nil, row.Order)) != l.content[uid]:
				f.say(&f.wrong, "order %s is not stored as it was sent", uid)
			}
		}
	}
	for _, table := range []string{"orders", "deliveries", "payments", "items"} {
		var n int
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			return err
		}
		switch more := n - len(l.orders); {
		case table == "orders" && more > 0:
			f.extra += more
		case more != 0:
			f.say(&f.orphans, "table %s has %d rows for %d orders", table, n, len(l.orders))
		}
	}
	return nil
}

// letters compares the dead letters with what was sent.
func (f *findings) letters(letters map[string][]*kgo.Record, l *load) {
	for _, r := range l.records {
		if r.reason == "" {
			continue
		}
		id := idOf(r)
		copies := letters[id]
		delete(letters, id)
		if len(copies) == 0 {
			f.say(&f.lost, "no dead letter %s (%s)", id, r.reason)
			continue
		}
		f.repeats += len(copies) - 1
		for _, letter := range copies {
			if !bytes.Equal(letter.Value, r.record.Value) || header(letter, deadletter.HeaderReason) != r.reason {
				f.say(&f.wrong, "dead letter %s: reason %q instead of %q, or other bytes", id, header(letter, deadletter.HeaderReason), r.reason)
				break
			}
		}
	}
	for id := range letters {
		f.say(&f.extra, "dead letter %s is of no record that deserves one", id)
	}
}

// idOf is the id of the letter that the record gets if it gets one.
func idOf(r sent) string {
	return deadletter.ID(deadletter.Source{
		Topic: topic, Partition: int(r.record.Partition), Offset: r.record.Offset, Timestamp: r.record.Timestamp, Value: r.record.Value,
	})
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// letters reads the whole dead-letter topic.
func (s *site) letters(ctx context.Context) (map[string][]*kgo.Record, error) {
	from, left := map[int32]kgo.Offset{}, int64(0)
	for _, p := range s.broker.Cluster().PartitionInfos(dlq) {
		if p.HighWatermark > 0 {
			from[p.Partition] = kgo.NewOffset().AtStart()
			left += p.HighWatermark
		}
	}
	found := map[string][]*kgo.Record{}
	if left == 0 {
		return found, nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.broker.Addr()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{dlq: from}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read the dead letters: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			found[string(r.Key)] = append(found[string(r.Key)], r)
		})
	}
	return found, nil
}

// report prints what was done and what was found.
func report(w io.Writer, hits []hit, l *load, f *findings) {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "strike\ttimes\trecovery, median\tlongest\t")
	for k := range kinds {
		var times int
		var waited []time.Duration
		for _, h := range hits {
			if h.kind != k {
				continue
			}
			times++
			if h.recovery > 0 {
				waited = append(waited, h.recovery)
			}
		}
		median, longest := "-", "-"
		if len(waited) > 0 {
			slices.Sort(waited)
			median, longest = round(waited[len(waited)/2]), round(waited[len(waited)-1])
		}
		_, _ = fmt.Fprintf(table, "%s\t%d\t%s\t%s\t\n", kindNames[k], times, median, longest)
	}
	_ = table.Flush()
	var counts [outcomes]int
	for _, r := range l.records {
		counts[r.outcome]++
	}
	_, _ = fmt.Fprintf(w, "\n%d records:", len(l.records))
	for o, name := range outcomeNames {
		_, _ = fmt.Fprintf(w, " %d %s", counts[o], name)
		if o < int(outcomes)-1 {
			_, _ = fmt.Fprint(w, ",")
		}
	}
	_, _ = fmt.Fprintf(w, "\n%d lost, %d extra, %d wrong, %d tables out of step; offsets at their ends: %t; %d letters written again\n",
		f.lost, f.extra, f.wrong, f.orphans, f.offsets, f.repeats)
	for _, line := range f.first {
		_, _ = fmt.Fprintln(w, " ", line)
	}
}

func round(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
