package dlq

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

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
