package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/otherdb"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
)

const (
	pageRecords  = 1000
	pageBytes    = 4 << 20
	saveInterval = time.Second
)

// importRun is one import. It deals with a page of orders after the other, and remembers
// the last one that is done.
type importRun struct {
	*app
	f      *importFlags
	source *otherSource
	target *database // nil: topic
	topic  target
	codec  *model.Codec
	reader *otherdb.Reader
	next   func(context.Context) (otherdb.Order, error) // of the reader
	ahead  *otherdb.Order                               // that is read, and in no page yet

	report  importReport
	state   importState
	total   int64
	started time.Time
	saved   time.Time
	bar     *progress
}

func (a *app) newImport(ctx context.Context, f *importFlags, source *otherSource) (*importRun, error) {
	r := &importRun{app: a, f: f, source: source, codec: model.New(f.Rules.Options()), started: time.Now()}
	var to string
	if f.direct || f.dryRun {
		target, err := a.openDatabase(f.Database)
		if err != nil {
			return nil, err
		}
		if err := migrations.Check(ctx, target.pool.DB, migrations.Viewer); err != nil {
			return nil, target.explain(err)
		}
		r.target, to = target, "database "+target.place()
	} else {
		var err error
		if r.topic, err = kafkaTarget(&f.kafka, &f.Kafka); err != nil {
			return nil, err
		}
		to = fmt.Sprintf("topic %s at %s", f.Kafka.Topic, strings.Join(kafkaconn.Brokers(f.Kafka.KafkaConn), ", "))
	}
	mapping := sha256.Sum256([]byte(source.plan.Mapping.String()))
	r.state = importState{From: source.name(), To: to, Mapping: hex.EncodeToString(mapping[:8])}
	r.report = importReport{From: r.state.From, To: to, Reasons: map[string]int64{}, DryRun: f.dryRun}
	if f.dryRun {
		f.state = ""
	}
	var err error
	if r.state, err = loadState(f.state, r.state); err == nil {
		r.total, err = source.db.Count(ctx, source.plan)
	}
	if err == nil {
		r.reader, err = source.db.Read(ctx, source.plan, otherdb.Range{After: r.state.After})
		r.next = r.reader.Next
	}
	if err != nil {
		return nil, source.explain(err)
	}
	if r.report.After = r.state.After; r.state.After != "" {
		a.say("going on after order %s, with %s done before", dlqview.Clean(r.state.After), dlqview.Plural(int(r.state.Done), "order"))
	}
	return r, nil
}

// do imports, and reports in any case.
func (r *importRun) do(ctx context.Context) error {
	r.bar, r.saved = r.newProgress(r.state.Done, r.total, "importing", "orders"), r.started
	deal, closing, err := r.dealer(ctx)
	for err == nil {
		var page []otherdb.Order
		if page, err = r.page(ctx); err != nil || len(page) == 0 {
			break
		}
		if err = deal(ctx, page); err == nil {
			err = r.did(page)
		}
	}
	closing()
	r.bar.end()
	return r.end(ctx, err)
}

// page reads the next orders, none after the last. Orders with one uid are in one page,
// since an import resumes after a uid. With a rate a page takes about a second, after
// which it is remembered.
func (r *importRun) page(ctx context.Context) (page []otherdb.Order, err error) {
	most, size := pageRecords, 0
	if r.f.rate > 0 {
		most = max(1, int(min(r.f.rate, pageRecords)))
	}
	for {
		if r.ahead == nil {
			order, err := r.next(ctx)
			if errors.Is(err, io.EOF) {
				return page, nil
			}
			if err != nil {
				return nil, r.source.explain(err)
			}
			r.ahead = &order
		}
		if n := len(page); (n >= most || size > pageBytes) && page[n-1].UID != r.ahead.UID {
			return page, nil
		}
		page, size = append(page, *r.ahead), size+len(r.ahead.JSON)
		r.ahead = nil
	}
}

// did notes that the orders of a page, and all before them, are done.
func (r *importRun) did(page []otherdb.Order) error {
	r.report.Read += int64(len(page))
	r.state.Done += int64(len(page))
	r.state.After = page[len(page)-1].UID
	r.bar.did(int64(len(page)))
	now := time.Now()
	if now.Sub(r.saved) < saveInterval {
		return nil
	}
	r.saved = now
	return local(r.state.save(r.f.state))
}

// dealer gives what is done with a page of orders. Call closing afterwards, in any case.
func (r *importRun) dealer(ctx context.Context) (deal func(context.Context, []otherdb.Order) error, closing func(), err error) {
	switch {
	case r.f.dryRun:
		return func(ctx context.Context, page []otherdb.Order) error {
			comparer, err := r.target.comparer(ctx, r.codec, r.f.Erasures.NewKey(), orderwrite.Versions{})
			if err != nil {
				return err
			}
			return r.write(ctx, page, comparer)
		}, func() {}, nil
	case r.f.direct:
		writer := r.target.writer(r.codec, r.f.Erasures.NewKey(), orderwrite.Versions{})
		return func(ctx context.Context, page []otherdb.Order) error { return r.write(ctx, page, writer) }, func() {}, nil
	}
	return r.publisher(ctx)
}

func (r *importRun) publisher(ctx context.Context) (deal func(context.Context, []otherdb.Order) error, closing func(), err error) {
	broker, err := r.topic.open(ctx)
	if err != nil {
		return nil, func() {}, r.topic.explain(err)
	}
	brokers := &published{app: r.app, Product: r.topic.product, bar: r.bar.bar}
	publisher := publish.New(broker, publish.Options{
		Rate: r.f.rate,
		Acked: func(acks []publish.Ack) error {
			r.report.Published += int64(len(acks))
			brokers.away = false
			return nil
		},
		Refused: func(record publish.Record, err error) {
			r.report.Refused++
			r.bar.line()
			_ = r.failure(string(record.Key), "refused_by_broker", []model.FieldError{{Rule: "refused_by_broker", Message: err.Error()}}) // the final report counts it
		},
		Retrying: brokers.retrying,
	})
	return func(ctx context.Context, page []otherdb.Order) error {
		return r.topic.explain(publisher.Run(ctx, func() (publish.Record, error) {
			if len(page) == 0 {
				return publish.Record{}, io.EOF
			}
			record := publish.Record{Value: page[0].JSON}
			if page[0].UID != "" {
				record.Key = []byte(page[0].UID)
			}
			page = page[1:]
			return record, nil
		}))
	}, broker.Close, nil
}

// write decides the orders of a page, as the worker does, and prints the failures.
func (r *importRun) write(ctx context.Context, page []otherdb.Order, writer ingest.Writer) error {
	decoder, records := ingest.NewDecoder(r.codec, nil), make([]*ingest.Record, len(page))
	for i, order := range page {
		records[i] = decoder.Decode(deadletter.Source{Key: []byte(order.UID), Value: order.JSON})
	}
	if err := r.target.decide(ctx, writer, records); err != nil {
		return err
	}
	return r.outcomes(records)
}

func (r *importRun) outcomes(records []*ingest.Record) error {
	for _, record := range records {
		switch record.Outcome() {
		case ingest.Stored:
			r.report.Stored++
		case ingest.Duplicate:
			r.report.Duplicates++
		case ingest.Erased:
			r.report.Erased++
		default:
			cause := record.Cause()
			r.report.Failed++
			r.report.Reasons[cause.Reason]++
			r.bar.line()
			if err := r.failure(string(record.Source.Key), cause.Reason, cause.Errors); err != nil {
				return local(err)
			}
		}
	}
	return nil
}
