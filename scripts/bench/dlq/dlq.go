// Package dlq measures how fast orderctl reads a dead-letter topic, against how fast
// that topic can be consumed at all: a bare franz-go consumer that counts records.
//
// Each run is a process of its own, so that its memory is its own as well, and
// its start counts.
package dlq

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// Benchmark has the flags.
type Benchmark struct {
	Letters    []int `default:"100000,1000000" smoke:"2000" help:"Letters in the topic: a table for each number."`
	Partitions int   `default:"4" help:"Partitions of the topic."`
	Rounds     int   `default:"3" smoke:"1" help:"How often each measurement is made; the table has medians."`
}

// Measure measures with each number of letters.
func (b *Benchmark) Measure(ctx context.Context, flags *rig.Flags) {
	site := rig.OpenSite(ctx, flags, nil)
	defer site.Close()
	var body strings.Builder
	var all []results
	for _, letters := range b.Letters {
		r := b.topic(ctx, site, letters)
		all = append(all, r)
		body.WriteString(r.table() + "\n")
	}
	site.Save("dlq", body.String()+goals(all))
}

type contender struct {
	name string
	args []string // of orderctl; none: the bare consumer
	// check says whether what it printed is right.
	check func(out []byte, w written, letters int) error
}

const bare = "bare franz-go consumer"

var contenders = []contender{
	{bare, nil, func(out []byte, w written, _ int) error {
		if n, err := strconv.Atoi(strings.TrimSpace(string(out))); err != nil || n != w.records {
			return fmt.Errorf("consumed %q records of %d", out, w.records)
		}
		return nil
	}},
	{"orderctl dlq stats", []string{"dlq", "stats", "--output", "json"}, func(out []byte, w written, letters int) error {
		var counted struct {
			Open     int `json:"open"`
			Resolved int `json:"resolved"`
		}
		if err := json.Unmarshal(out, &counted); err != nil || counted.Open != letters-w.resolved || counted.Resolved != w.resolved {
			return fmt.Errorf("counted %d open and %d resolved of %d letters: %.200q", counted.Open, counted.Resolved, letters, out)
		}
		return nil
	}},
	{"orderctl dlq list --reason --path", []string{"dlq", "list", "--reason", wanted.Reason, "--path", "items[].price", "--output", "json"},
		func(out []byte, w written, _ int) error {
			if n := bytes.Count(out, []byte("\n")); n != w.listed {
				return fmt.Errorf("listed %d letters of %d", n, w.listed)
			}
			return nil
		}},
}

type results struct {
	letters    int
	partitions int
	written    written
	samples    report.Samples[rig.Use]
}

func (b *Benchmark) topic(ctx context.Context, site *rig.Site, letters int) results {
	site.RenewBroker(ctx)
	rig.Progress("writing %d letters", letters)
	r := results{letters: letters, partitions: b.Partitions, written: fill(ctx, site.Broker, letters, b.Partitions)}
	var all []rig.Contender[rig.Use]
	for _, c := range contenders {
		all = append(all, rig.Contender[rig.Use]{Name: c.name, Run: func(ctx context.Context) rig.Use {
			cmd := consumerRole.Command(ctx, site.Broker.Addr)
			if c.args != nil {
				cmd = site.OrderctlCommand(ctx, topicSource, c.args...)
			}
			used, output := rig.RunProgram(cmd, letters)
			must.Succeed(c.check(output, r.written, letters))
			return used
		}})
	}
	r.samples = rig.Measure(ctx, b.Rounds, all, func(u rig.Use) string {
		return fmt.Sprintf("%6.2f s, %9s letters/s, %4.0f MiB", u.Seconds(), report.Thousands(u.Rate()), u.PeakMiB())
	})
	return r
}

// consumerRole is the bare consumer of the broker at an address.
var consumerRole = rig.NewRole("letter consumer", consume)

// consume reads the topic to its end, with franz-go's defaults, and prints the
// number of records.
func consume(addr string) {
	ctx := context.Background()
	client := must.Get(kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topicName), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))
	defer client.Close()
	left := map[int32]int64{}
	must.Get(kadm.NewClient(client).ListEndOffsets(ctx, topicName)).Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	records := 0
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		must.Succeed(fetches.Err())
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			records += len(p.Records)
			if n := len(p.Records); n > 0 && p.Records[n-1].Offset+1 >= left[p.Partition] {
				delete(left, p.Partition)
			}
		})
	}
	fmt.Println(records)
}

func (r *results) table() string {
	title := fmt.Sprintf("%s dead letters in %d partitions, %s bytes each with headers, one in %d resolved",
		report.Thousands(r.letters), r.partitions, report.Thousands(r.written.bytes/int64(r.written.records)), resolvedShare)
	return r.samples.Table(title, []report.Column[rig.Use]{
		{Name: "seconds", Figure: rig.Use.Seconds, Format: report.Decimals(2)},
		{Name: "letters/s", Figure: rig.Use.Rate, Format: report.Thousands[float64]},
		{Name: "× bare", Figure: rig.Use.Rate, Format: report.Decimals(2), Ratio: true},
		{Name: "client µs/letter", Figure: rig.Use.ClientCost, Format: report.Decimals(2)},
		{Name: "peak MiB", Figure: rig.Use.PeakMiB, Format: report.Decimals(0)},
	}, contenders[0].name, contenders[1].name, contenders[2].name)
}

// goals says how far the goals are, by the largest topic, and what each further
// letter costs of memory.
func goals(all []results) (text string) {
	first, last := all[0], all[len(all)-1]
	for _, c := range contenders[1:] {
		text += fmt.Sprintf("- %s: %.2f × the bare consumer's speed (goal: at least 0.67)\n", c.name, last.samples.Ratio(c.name, bare, rig.Use.Rate))
	}
	if len(all) == 1 {
		return text
	}
	peak := func(u rig.Use) float64 { return float64(u.Peak) }
	for _, c := range contenders[1:] {
		text += fmt.Sprintf("- %s: %.0f bytes of peak memory a letter more, from %s to %s letters\n", c.name,
			(last.samples.Median(c.name, peak)-first.samples.Median(c.name, peak))/float64(last.letters-first.letters), report.Thousands(first.letters), report.Thousands(last.letters))
	}
	return text
}

const (
	topicSource = "orders"
	topicName   = topicSource + ".dlq"
	// resolvedShare: one letter of so many is resolved.
	resolvedShare = 10
	// wantedShare: one letter of so many is what the list asks for.
	wantedShare = 50
)

// wanted is the cause that the list asks for.
var wanted = causeAt("invalid", deadletter.StageValidate, "items[3].price", "min")

var causes = []deadletter.Cause{
	causeAt("invalid", deadletter.StageValidate, "locale", "bcp47"),
	causeAt("invalid", deadletter.StageValidate, "delivery.email", "email"),
	causeAt("invalid", deadletter.StageValidate, "payment.currency", "iso4217"),
	causeAt("invalid", deadletter.StageValidate, "items[1].name", "required"),
	causeAt("wrong_type", deadletter.StageDecode, "payment.amount", "wrong_type"),
	causeAt("not_json", deadletter.StageDecode, "", "not_json"),
	causeAt("conflict", deadletter.StageConflict, "payment.amount", "conflict"),
	causeAt("conflict", deadletter.StageConflict, "delivery.zip", "conflict"),
}

func causeAt(reason string, stage deadletter.Stage, path, rule string) deadletter.Cause {
	return deadletter.Cause{Reason: reason, Stage: stage, Errors: []model.FieldError{{Path: path, Rule: rule, Message: "violates the rule " + rule}}}
}

// isWanted says whether the n-th letter has the cause that the list asks for.
func isWanted(n int) bool { return n%wantedShare == 0 }

var firstFailure = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// letterOf is the n-th letter as the worker writes it.
func letterOf(n, partitions int) *kgo.Record {
	cause := causes[(n/3)%len(causes)]
	if isWanted(n) {
		cause = wanted
	}
	uid := fmt.Sprintf("b563feb7b2b8-%08d", n)
	at := firstFailure.Add(time.Duration(n) * time.Second)
	l := deadletter.New(deadletter.Source{
		Topic: topicSource, Partition: n % partitions, Offset: int64(n / partitions), Timestamp: at,
		Key: []byte(uid), Value: []byte(ledger.Content(uid, 0)),
	}, cause, "orderhub", at.Add(time.Second))
	r := &kgo.Record{Topic: topicName, Partition: int32(n % partitions), Key: []byte(l.ID), Value: l.Value}
	for _, h := range l.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}

// written is what the topic was filled with.
type written struct {
	records  int
	bytes    int64 // of the records' keys, values and headers
	resolved int
	listed   int // what the list is to find
}

// fill makes the topic. The letters' values are orders, each with a uid of its own.
func fill(ctx context.Context, broker *rig.Broker, letters, partitions int) (w written) {
	broker.CreateTopic(ctx, topicName, partitions, "compact")
	client := must.Get(kgo.NewClient(kgo.SeedBrokers(broker.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(1<<20), kgo.MaxBufferedRecords(20_000)))
	defer client.Close()
	var producing kgo.FirstErrPromise
	produce := func(r *kgo.Record) {
		w.records++
		w.bytes += int64(len(r.Key) + len(r.Value))
		for _, h := range r.Headers {
			w.bytes += int64(len(h.Key) + len(h.Value))
		}
		client.Produce(ctx, r, producing.Promise())
	}
	for n := range letters {
		r := letterOf(n, partitions)
		id, partition := string(r.Key), r.Partition // the client writes into a record that it has
		produce(r)
		if n%resolvedShare == 1 {
			w.resolved++
			produce(letter.Resolution{ID: id, Kind: letter.Discarded, By: "bench", When: firstFailure, Why: "a test"}.Record(topicName, partition))
		} else if isWanted(n) {
			w.listed++
		}
	}
	must.Succeed(producing.Err()) // waits for all of them
	return w
}
