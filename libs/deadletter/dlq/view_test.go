package dlq

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
)

const dlq = "orders.dlq"

var start = time.UnixMilli(1_700_000_000_000).UTC()

func letterRecord(offset int64, reason string, failures ...model.FieldError) *kgo.Record {
	l := deadletter.New(deadletter.Source{
		Topic: "orders", Partition: int(offset % 2), Offset: offset, Timestamp: start, Key: fmt.Append(nil, "key", offset),
		Value: fmt.Appendf(nil, `{"order_uid": "uid-%d"}`, offset),
	}, deadletter.Cause{Reason: reason, Stage: deadletter.StageValidate, Errors: failures}, "g", start.Add(time.Duration(offset)*time.Minute))
	r := &kgo.Record{Topic: dlq, Key: []byte(l.ID), Value: l.Value}
	for _, h := range l.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}

func TestChunks(t *testing.T) {
	var sizes []int
	var refs []Ref
	for _, size := range []int64{1, 1, 1, loadBytes, 2 * loadBytes, 1, loadBytes - 1} {
		refs = append(refs, Ref{Size: size})
	}
	for chunk := range chunks(refs, 2, loadBytes) {
		sizes = append(sizes, len(chunk))
	}
	require.Equal(t, []int{2, 1, 1, 1, 2}, sizes, "not too many, nor too large ones, together")
}

// The records of an import have times of long ago, from which franz-go would count.
func TestOldRecordsDoNotTimeOut(t *testing.T) {
	client, err := NewClient()
	require.NoError(t, err)
	defer client.Close()
	require.Zero(t, client.client.OptValue(kgo.RecordDeliveryTimeout))
}

// Whatever the headers of a letter say, no copy goes to a topic of letters.
func TestNoRouteToLetters(t *testing.T) {
	q := New(nil, Options{Topic: dlq, Foreign: []string{"error.orders"}})
	for _, topic := range []string{dlq, "error.orders"} {
		r := Router{queue: q, maxRedrives: 3, partitions: map[string]int32{topic: 1}}
		_, _, refused, err := r.Route(t.Context(), &letter.Letter{Source: letter.Place{Topic: topic}})
		require.NoError(t, err)
		require.ErrorContains(t, refused, "topic "+topic+" has dead letters")
	}
}

func resolved(r *kgo.Record) *kgo.Record {
	return letter.Resolution{ID: string(r.Key), Kind: letter.Discarded, When: start}.Record(dlq, r.Partition)
}

func undone(r *kgo.Record) *kgo.Record { return letter.UndoRecord(dlq, r.Partition, string(r.Key)) }

func purged(r *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: dlq, Partition: r.Partition, Key: r.Key}
}

func indexed(filter letter.Filter, records ...*kgo.Record) *View {
	x := newView([]string{dlq}, dlq, filter)
	for i, r := range records {
		placed := *r
		placed.Offset = int64(i)
		x.add(&placed)
	}
	return x
}

func offsets(refs []Ref) (all []int64) {
	for _, r := range refs {
		all = append(all, r.SourceOffset)
	}
	return all
}

func TestStatusFollowsFromTheTopicAlone(t *testing.T) {
	l := letterRecord(1, "invalid")
	for name, c := range map[string]struct {
		records        []*kgo.Record
		open, resolved int
	}{
		"a letter":                      {[]*kgo.Record{l}, 1, 0},
		"read again":                    {[]*kgo.Record{l, l}, 1, 0},
		"resolved":                      {[]*kgo.Record{l, resolved(l)}, 0, 1},
		"the resolution first":          {[]*kgo.Record{resolved(l), l}, 0, 1},
		"read again after it":           {[]*kgo.Record{l, resolved(l), l}, 0, 1},
		"undone":                        {[]*kgo.Record{l, resolved(l), undone(l)}, 1, 0},
		"resolved, undone and resolved": {[]*kgo.Record{l, resolved(l), undone(l), resolved(l)}, 0, 1},
		"undone before the letter":      {[]*kgo.Record{resolved(l), undone(l), l}, 1, 0},
		"a resolution alone":            {[]*kgo.Record{resolved(l)}, 0, 0},
		"purged":                        {[]*kgo.Record{l, resolved(l), purged(l), undone(l)}, 0, 0},
		"half purged":                   {[]*kgo.Record{l, resolved(l), purged(l)}, 0, 0},
		"nothing to undo":               {[]*kgo.Record{l, undone(l)}, 1, 0},
	} {
		x := indexed(letter.Filter{}, c.records...)
		require.Len(t, x.Select(letter.Open, 0), c.open, name)
		require.Len(t, x.Select(letter.Resolved, 0), c.resolved, name)
		require.Len(t, x.Select(letter.Any, 0), c.open+c.resolved, name)
	}
	require.Len(t, indexed(letter.Filter{}, l, resolved(l), purged(l)).Orphans(), 1)
}

// After a topic got more partitions, the same letter may stand in two.
func TestLettersInTwoPartitions(t *testing.T) {
	one := letterRecord(1, "invalid")
	two := *one
	two.Partition = 1
	x := indexed(letter.Filter{}, one, &two, resolved(one))
	refs := x.Select(letter.Any, 0)
	require.Len(t, refs, 1)
	require.Equal(t, letter.Resolved, refs[0].Status)
	require.ElementsMatch(t, []int32{0, 1}, partitionsOf(refs[0].letters))

	both := indexed(letter.Filter{}, one, &two, resolved(one), resolved(&two))
	require.ElementsMatch(t, []int32{0, 1}, partitionsOf(first(both).resolutions))
	require.Equal(t, letter.Resolved, indexed(letter.Filter{}, one, resolved(one), resolved(&two), undone(&two)).Select(letter.Any, 0)[0].Status)
	require.Equal(t, letter.Open, indexed(letter.Filter{}, one, resolved(one), resolved(&two), undone(&two), undone(one)).Select(letter.Any, 0)[0].Status)
	require.Len(t, indexed(letter.Filter{}, one, &two, purged(&two)).Select(letter.Any, 0), 1)
	require.Empty(t, indexed(letter.Filter{}, one, &two, purged(&two), purged(one)).Select(letter.Any, 0))
}

func partitionsOf(positions []letter.Place) (all []int32) {
	for _, p := range positions {
		all = append(all, p.Partition)
	}
	return all
}

func first(x *View) *Ref { return &x.Select(letter.Any, 0)[0] }

func TestNewestFirst(t *testing.T) {
	x := indexed(letter.Filter{}, letterRecord(2, "a"), letterRecord(9, "a"), letterRecord(5, "a"))
	require.Equal(t, []int64{9, 5, 2}, offsets(x.Select(letter.Open, 0)))
	require.Equal(t, []int64{9, 5}, offsets(x.Select(letter.Open, 2)))
}

func TestFilters(t *testing.T) {
	price := model.FieldError{Path: "items[2].price", Rule: "min"}
	locale := model.FieldError{Path: "locale", Rule: "bcp47"}
	low, high := int64(2), int64(3)
	records := []*kgo.Record{letterRecord(1, "invalid", price), letterRecord(2, "invalid", locale, price), letterRecord(3, "not_json"), letterRecord(14, "conflict")}
	id := string(records[1].Key)
	for name, c := range map[string]struct {
		filter letter.Filter
		want   []int64
	}{
		"all":                  {letter.Filter{}, []int64{14, 3, 2, 1}},
		"id":                   {letter.Filter{IDs: []string{id}}, []int64{2}},
		"id without digits":    {letter.Filter{IDs: []string{"orders/0/2"}}, []int64{2}},
		"not a prefix":         {letter.Filter{IDs: []string{"orders/1/1", "orders/0/1"}}, []int64{1}},
		"reasons":              {letter.Filter{Reasons: []string{"conflict", "not_json"}}, []int64{14, 3}},
		"stage":                {letter.Filter{Stages: []string{"decode"}}, nil},
		"rule":                 {letter.Filter{Rules: []string{"bcp47"}}, []int64{2}},
		"path":                 {letter.Filter{Paths: []string{"items[2].price"}}, []int64{2, 1}},
		"any item":             {letter.Filter{Paths: []string{"items[].price"}}, []int64{2, 1}},
		"another item":         {letter.Filter{Paths: []string{"items[1].price"}}, nil},
		"one failure's both":   {letter.Filter{Rules: []string{"bcp47"}, Paths: []string{"items[].price"}}, nil},
		"key":                  {letter.Filter{Keys: []string{"key3"}}, []int64{3}},
		"partition":            {letter.Filter{Partitions: []int32{1}}, []int64{3, 1}},
		"offsets":              {letter.Filter{MinOffset: &low, MaxOffset: &high}, []int64{3, 2}},
		"time":                 {letter.Filter{Since: start.Add(2 * time.Minute), Until: start.Add(3 * time.Minute)}, []int64{2}},
		"text":                 {letter.Filter{Text: "uid-1"}, []int64{14, 1}},
		"order":                {letter.Filter{UID: "uid-1"}, []int64{1}},
		"order by its key":     {letter.Filter{UID: "key14"}, []int64{14}},
		"origin":               {letter.Filter{Origin: id}, []int64{2}},
		"several, all of them": {letter.Filter{Reasons: []string{"invalid"}, Partitions: []int32{0}}, []int64{2}},
	} {
		require.Equal(t, c.want, offsets(indexed(c.filter, records...).Select(letter.Any, 0)), name)
	}
}

// A letter of another topic is known by its own place, and resolved in ours.
func TestForeignLetters(t *testing.T) {
	foreign := &kgo.Record{Topic: "their.DLT", Partition: 1, Offset: 4, Key: []byte("k"), Value: []byte("v")}
	x := newView([]string{"their.DLT"}, dlq, letter.Filter{})
	x.add(letterRecord(1, "ours"))
	status, matches := x.add(foreign)
	require.True(t, matches)
	require.Equal(t, letter.Open, status)
	require.Len(t, x.Select(letter.Open, 0), 1)
	resolution := letter.Resolution{ID: x.Select(letter.Open, 0)[0].ID, Kind: letter.Redriven}.Record(dlq, 0)
	resolution.Offset = 1
	x.add(resolution)
	require.Empty(t, x.Select(letter.Open, 0))
	x.add(&kgo.Record{Topic: "their.DLT", Key: []byte("k")})
	require.Len(t, x.Select(letter.Resolved, 0), 1, "a tombstone of theirs purges nothing")
}

// Random histories: what the index says is what happened, also after the broker
// has compacted any part of the log.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		type truth struct{ there, resolved bool }
		want := map[string]*truth{}
		var log []*kgo.Record
		add := func(r *kgo.Record) {
			placed := *r
			placed.Offset = int64(len(log))
			log = append(log, &placed)
		}
		letters := make([]*kgo.Record, 5)
		for i := range letters {
			letters[i] = letterRecord(int64(i), "invalid")
			want[string(letters[i].Key)] = &truth{}
		}
		for range random.IntN(60) {
			l := letters[random.IntN(len(letters))]
			state := want[string(l.Key)]
			switch random.IntN(5) {
			case 0, 1:
				add(l)
				state.there = true
			case 2:
				add(resolved(l))
				state.resolved = true
			case 3:
				add(undone(l))
				state.resolved = false
			case 4:
				if state.resolved { // as purge does; a crash may leave the second out
					add(purged(l))
					state.there = false
					if random.IntN(2) == 0 {
						add(undone(l))
						state.resolved = false
					}
				}
			}
		}
		check := func(log []*kgo.Record) {
			x := newView([]string{dlq}, dlq, letter.Filter{})
			for _, r := range log {
				x.add(r)
			}
			got := map[int64]letter.Status{}
			for _, r := range x.Select(letter.Any, 0) {
				got[r.SourceOffset] = r.Status
			}
			for i, l := range letters {
				state := want[string(l.Key)]
				status, there := got[int64(i)]
				require.Equal(t, state.there, there, "seed %d, letter %d", seed, i)
				if there {
					require.Equal(t, state.resolved, status == letter.Resolved, "seed %d, letter %d", seed, i)
				}
			}
		}
		check(log)
		check(compacted(random, log))
	}
}

// compacted drops records that a later one replaces, up to some offset, and
// tombstones with all before them.
func compacted(random *rand.Rand, log []*kgo.Record) []*kgo.Record {
	if len(log) == 0 {
		return log
	}
	dirty := random.IntN(len(log))
	last := map[string]int{}
	for i, r := range log[:dirty] {
		last[string(r.Key)] = i
	}
	var kept []*kgo.Record
	for i, r := range log {
		if i >= dirty || last[string(r.Key)] == i && (r.Value != nil || random.IntN(2) == 0) {
			kept = append(kept, r)
		}
	}
	return slices.Clip(kept)
}

func TestCauses(t *testing.T) {
	price := func(i int) model.FieldError {
		return model.FieldError{Path: fmt.Sprintf("items[%d].price", i), Rule: "min"}
	}
	x := indexed(letter.Filter{}, letterRecord(1, "invalid", price(1), price(2)), letterRecord(3, "invalid", price(7)), letterRecord(5, "not_json"))
	refs := x.Select(letter.Any, 0)
	require.Equal(t, []letter.Failure{{Rule: "min", Path: "items[].price"}}, refs[1].Causes)
	require.Equal(t, refs[1].Causes, refs[2].Causes)
	require.Equal(t, []letter.Failure{{}}, refs[0].Causes, "no failure is a cause, too")
	require.Equal(t, "not_json", refs[0].Reason)

	spring := indexed(letter.Filter{}, &kgo.Record{Topic: dlq, Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "kafka_dlt-exception-fqcn", Value: []byte("a.b.Oops")}}})
	require.Equal(t, []letter.Failure{{Rule: "Oops"}}, spring.Select(letter.Any, 0)[0].Causes)
	require.Equal(t, "Oops", spring.Select(letter.Any, 0)[0].Reason)
	require.Equal(t, letter.ReasonUnknown, indexed(letter.Filter{}, &kgo.Record{Topic: dlq, Value: []byte("v")}).Select(letter.Any, 0)[0].Reason)
}

// A view keeps letters without their values.
func TestHeads(t *testing.T) {
	x := newView([]string{dlq}, dlq, letter.Filter{Reasons: []string{"a"}})
	add := func(offset int64, r *kgo.Record) {
		placed := *r
		placed.Offset = offset
		x.add(&placed)
	}
	one := letterRecord(1, "a")
	add(0, one)
	add(1, letterRecord(4, "b"))
	add(2, one) // read again
	add(3, letterRecord(3, "a"))
	refs := x.Select(letter.Any, 0)
	require.Len(t, refs, 2)
	head := refs[1].Head()
	require.Equal(t, []any{string(one.Key), "a", int64(len(one.Value)), "key1"}, []any{head.ID, head.Reason, head.Size(), string(head.SourceKey)})
	require.Nil(t, head.Value)
}

// A record that is added again, or late, changes nothing.
func TestARecordIsTakenOnce(t *testing.T) {
	l := letterRecord(1, "a")
	x := indexed(letter.Filter{}, l, resolved(l), undone(l))
	late := resolved(l)
	late.Offset = 1
	x.add(late)
	require.Len(t, x.Select(letter.Open, 0), 1)
	_, there := x.Current("another")
	require.False(t, there)
	now, there := x.Current(x.Select(letter.Open, 0)[0].ID)
	require.True(t, there)
	require.Equal(t, letter.Open, now.Status)
}
