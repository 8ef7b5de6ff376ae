package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/errclass"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/otherdb"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
)

const (
	importPageOrders = 1000
	importPageBytes  = 4 << 20
	// importWriters is how many pages are written at a time.
	importWriters = 3
	// importWriteTimeout and importMaxOrders are the worker's defaults.
	importWriteTimeout = 30 * time.Second
	importMaxOrders    = 4000
	saveInterval       = time.Second
	// sayInterval is how often progress is said where nobody looks at a bar.
	sayInterval = 10 * time.Second
)

// importRun is one import.
type importRun struct {
	*app
	f      *importFlags
	source *otherSource
	target *database
	codec  *model.Codec
	reader *otherdb.Reader

	report  importReport
	state   importState
	total   int64
	started time.Time
	saved   time.Time
	said    time.Time
	bar     bar
}

func (a *app) newImport(ctx context.Context, f *importFlags, source *otherSource) (*importRun, error) {
	r := &importRun{app: a, f: f, source: source, codec: model.New(f.Rules.Options()), started: time.Now()}
	var to string
	if f.direct || f.dryRun {
		target, err := openDatabase(f.Database)
		if err != nil {
			return nil, err
		}
		if err := migrations.Check(ctx, target.pool.DB, migrations.Viewer); err != nil {
			return nil, errors.Join(target.explain(err), target.pool.Close())
		}
		r.target, to = target, "database "+target.place()
	} else {
		if _, err := f.kafka.options(&f.Kafka); err != nil {
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
	}
	if err != nil {
		r.close()
		return nil, source.explain(err)
	}
	if r.report.After = r.state.After; r.state.After != "" {
		a.say("going on after order %s, with %s done before", dlqview.Clean(r.state.After), plural(int(r.state.Done), "order"))
	}
	return r, nil
}

func (r *importRun) close() {
	if r.target != nil {
		_ = r.target.pool.Close() // each transaction has ended
	}
}

// do imports, and reports in any case.
func (r *importRun) do(ctx context.Context) error {
	defer r.close()
	reading, cancel := context.WithCancel(ctx)
	var pages sync.WaitGroup
	defer pages.Wait()
	defer cancel()
	read := make(chan importPage, 2)
	pages.Go(func() { r.read(reading, read) })
	r.bar, r.said, r.saved = r.newBar(int(r.total), "importing", "orders"), r.started, r.started
	r.bar.add(int(r.state.Done))
	var err error
	switch {
	case r.f.dryRun:
		err = r.write(ctx, read, func() ingest.Writer { return dryrun.NewComparer(r.codec, r.target.stored) })
	case r.f.direct:
		writer := orderwrite.New(r.target.pool, orderwrite.Options{
			Timeout: importWriteTimeout, MaxOrders: importMaxOrders, Differs: r.codec.Differs,
			Batch: batch.Limits{Busy: 8, Count: importPageOrders, Period: 40 * time.Millisecond},
		})
		err = r.write(ctx, read, func() ingest.Writer { return writer })
	default:
		err = r.publish(ctx, read)
	}
	r.bar.end()
	cancel()
	pages.Wait()
	return r.end(ctx, err)
}

// importPage are orders that were read, or why no more can be.
type importPage struct {
	orders []otherdb.Order
	err    error
}

// read reads ahead, and closes pages after the last one. Orders with one uid are in
// one page.
func (r *importRun) read(ctx context.Context, pages chan<- importPage) {
	defer close(pages)
	var page importPage
	size := 0
	send := func() bool {
		select {
		case pages <- page:
			page, size = importPage{}, 0
			return true
		case <-ctx.Done():
			return false
		}
	}
	for {
		order, err := r.reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			if len(page.orders) > 0 {
				send()
			}
			return
		}
		if err != nil {
			page = importPage{err: r.source.explain(err)}
			send()
			return
		}
		if n := len(page.orders); (n >= importPageOrders || size > importPageBytes) && page.orders[n-1].UID != order.UID && !send() {
			return
		}
		page.orders, size = append(page.orders, order), size+len(order.JSON)
	}
}

// did notes that all orders up to one are done.
func (r *importRun) did(orders int64, last string) error {
	r.report.Read += orders
	r.state.Done += orders
	r.state.After = last
	r.bar.add(int(orders))
	now := time.Now()
	if r.bar.ProgressBar == nil && now.Sub(r.said) >= sayInterval {
		r.said = now
		r.say("%d of about %d orders", r.state.Done, r.total)
	}
	if now.Sub(r.saved) < saveInterval {
		return nil
	}
	r.saved = now
	return local(r.state.save(r.f.state))
}

// publish sends the orders to the topic.
func (r *importRun) publish(ctx context.Context, pages <-chan importPage) error {
	options, err := r.f.kafka.options(&r.f.Kafka)
	if err != nil {
		return err
	}
	var uids []string // of the orders that are not known to be done
	answered := 0     // how many of them the broker has answered
	lookUp, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	broker, err := publish.Kafka(lookUp, options, r.f.Kafka.Topic, giveUpAfter)
	if err != nil {
		return explainKafka(&r.f.Kafka, err)
	}
	defer broker.Close()
	brokers := &published{app: r.app, product: "Kafka", bar: r.bar}
	publisher := publish.New(broker, publish.Options{
		Rate: r.f.rate,
		Acked: func(acks []publish.Ack) error {
			answered += len(acks)
			r.report.Published += int64(len(acks))
			brokers.away = false
			return nil
		},
		Refused: func(record publish.Record, err error) {
			answered++
			r.report.Refused++
			r.bar.line()
			_ = r.failure(string(record.Key), "refused_by_broker", []model.FieldError{{Rule: "refused_by_broker", Message: err.Error()}}) // the final report counts it
		},
		Retrying: brokers.retrying,
	})
	settle := func() error {
		n := whole(uids, answered)
		if n == 0 {
			return nil
		}
		last := uids[n-1]
		uids, answered = uids[n:], answered-n
		return r.did(int64(n), last)
	}
	var page importPage
	err = publisher.Run(ctx, func() (publish.Record, error) {
		if err := settle(); err != nil {
			return publish.Record{}, err
		}
		for len(page.orders) == 0 {
			var open bool
			if page, open = <-pages; !open && ctx.Err() != nil {
				return publish.Record{}, context.Cause(ctx) // which is why there are no more
			} else if !open {
				return publish.Record{}, io.EOF
			}
			if page.err != nil {
				return publish.Record{}, page.err
			}
			for _, order := range page.orders {
				uids = append(uids, order.UID)
			}
		}
		order := page.orders[0]
		page.orders = page.orders[1:]
		record := publish.Record{Value: order.JSON}
		if order.UID != "" {
			record.Key = []byte(order.UID)
		}
		return record, nil
	})
	if err == nil {
		return settle()
	}
	return explainKafka(&r.f.Kafka, err)
}

// whole returns how many of the first n orders have a uid that no later one has: an import
// goes on after a uid.
func whole(uids []string, n int) int {
	for n > 0 && n < len(uids) && uids[n-1] == uids[n] {
		n--
	}
	return n
}

// importWrite is a page that is being written.
type importWrite struct {
	records []*ingest.Record
	last    string
	done    chan error
}

// write has importWriters pages decided at a time, and takes the results in their order.
func (r *importRun) write(ctx context.Context, pages <-chan importPage, writer func() ingest.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var writing []*importWrite
	defer func() {
		cancel()
		for _, w := range writing {
			<-w.done //nolint:errcheck // another error, or the caller, has ended the work
		}
	}()
	take := func() error {
		w := writing[0]
		writing = writing[1:]
		if err := <-w.done; err != nil {
			return r.target.explain(err)
		}
		return r.outcomes(w)
	}
	for page := range pages {
		if page.err != nil {
			return page.err
		}
		if len(writing) == importWriters {
			if err := take(); err != nil {
				return err
			}
		}
		w := &importWrite{last: page.orders[len(page.orders)-1].UID, done: make(chan error, 1)}
		writing = append(writing, w)
		go func() { w.done <- w.run(ctx, r.codec, page.orders, writer()) }()
	}
	for len(writing) > 0 {
		if err := take(); err != nil {
			return err
		}
	}
	return context.Cause(ctx) // the pages may have ended for it
}

// run decides the orders of a page, as the worker does.
func (w *importWrite) run(ctx context.Context, codec *model.Codec, orders []otherdb.Order, writer ingest.Writer) error {
	decoder := ingest.NewDecoder(codec, nil)
	for _, order := range orders {
		w.records = append(w.records, decoder.Decode(deadletter.Source{Key: []byte(order.UID), Value: order.JSON}))
	}
	backoff, began := retry.NewBackoff(2*time.Second), time.Now()
	for {
		err := ingest.Store(ctx, writer, w.records)
		if class, cause := errclass.Of(err); class != errclass.Environment || cause == errclass.CauseRights || time.Since(began) > giveUpAfter {
			return err
		}
		if backoff.Wait(ctx) != nil {
			return err
		}
	}
}

// outcomes counts what became of a page, and prints the failures.
func (r *importRun) outcomes(w *importWrite) error {
	for _, record := range w.records {
		switch record.Outcome() {
		case ingest.Stored:
			r.report.Stored++
		case ingest.Duplicate:
			r.report.Duplicates++
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
	return r.did(int64(len(w.records)), w.last)
}
