package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/httpget"
)

// patience is how long a single order may take.
const patience = 30 * time.Second

// probe sends single orders and requests them from the API until it has them.
//
// Until then the answer is 404 from the reader's memory: a reader in sync knows that
// it does not have the order, and does not query the tables. So a 200 says that the
// cache has the order, not only the tables, and a request costs nothing else. Between
// requests the probe sleeps, so as not to take a core from what it measures.
type probe struct {
	flow     *flow
	producer *kgo.Client
	stamper  *rig.Stamper
	client   *http.Client
	sql      *pgx.Conn
	rest     time.Duration // between two requests: results may be too large by that
}

// newProbe connects a probe of its own number.
func (b *runner) newProbe(ctx context.Context, f *flow, number int, rest time.Duration) (p *probe, err error) {
	p = &probe{flow: f, rest: rest, client: &http.Client{Transport: &http.Transport{}}}
	if p.stamper, err = rig.NewStamper(b.orders, loadSeed+1+uint8(number)); err != nil {
		return nil, err
	}
	if p.sql, err = pgx.Connect(ctx, f.database); err != nil {
		return nil, err
	}
	p.producer, err = b.site.Broker.NewProducer(f.topic, 0)
	return p, err
}

func (p *probe) close() {
	p.producer.Close()
	p.client.CloseIdleConnections()
	_ = p.sql.Close(context.Background()) // it has no open transaction
}

// order sends an order and returns when it can be read; both times are from the
// beginning.
func (p *probe) order(ctx context.Context) (produced, readable time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p.flow.singles.Add(1)
	uid, value := p.stamper.Next()
	began := time.Now()
	if err := p.producer.ProduceSync(ctx, &kgo.Record{Key: []byte(uid), Value: value}).FirstErr(); err != nil {
		return 0, 0, fmt.Errorf("produce: %w", err)
	}
	produced = time.Since(began)
	err = p.until(ctx, uid, "", http.StatusNotFound)
	return produced, time.Since(began), err
}

// update changes an order by SQL and returns how long after the commit it could
// be read. Meanwhile the reader answers 304 to the order's old tag.
func (p *probe) update(ctx context.Context, uid string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, err := p.get(ctx, uid, "")
	if err != nil {
		return 0, err
	}
	unique := fmt.Sprint("CHANGED", time.Now().UnixNano()) // no probe has written it before
	if _, err := p.sql.Exec(ctx, "UPDATE orders SET track_number = $2 WHERE order_uid = $1", uid, unique); err != nil {
		return 0, fmt.Errorf("change an order: %w", err)
	}
	committed := time.Now()
	err = p.until(ctx, uid, before.Header.Get("ETag"), http.StatusNotModified)
	return time.Since(committed), err
}

// until requests an order as long as the answer is the given one, and returns at
// the first 200.
func (p *probe) until(ctx context.Context, uid, tag string, not int) error {
	for {
		answer, err := p.get(ctx, uid, tag)
		switch {
		case err != nil:
			return err
		case answer.Status == http.StatusOK:
			return nil
		case answer.Status != not:
			return fmt.Errorf("order %s: the API answers %d", uid, answer.Status)
		}
		time.Sleep(p.rest)
	}
}

// get requests an order, unless it still has the tag.
func (p *probe) get(ctx context.Context, uid, tag string) (httpget.Answer, error) {
	headers := map[string]string{"Accept-Encoding": "identity"}
	if tag != "" {
		headers["If-None-Match"] = tag
	}
	return httpget.Do(ctx, p.client, "http://"+p.flow.reader.Addr+"/order/"+uid, headers)
}

// timeNotify measures a bare notification from its commit to another connection:
// the lower bound for a reader that is woken by one.
func timeNotify(ctx context.Context, database string, count int) (times []time.Duration, err error) {
	var conns [2]*pgx.Conn
	for i := range conns {
		if conns[i], err = pgx.Connect(ctx, database); err != nil {
			return nil, err
		}
		defer func() { _ = conns[i].Close(context.WithoutCancel(ctx)) }()
	}
	if _, err := conns[0].Exec(ctx, "LISTEN bench_notify"); err != nil {
		return nil, err
	}
	for range count {
		time.Sleep(5 * time.Millisecond)
		if _, err := conns[1].Exec(ctx, "NOTIFY bench_notify"); err != nil {
			return nil, err
		}
		committed := time.Now()
		if _, err := conns[0].WaitForNotification(ctx); err != nil {
			return nil, err
		}
		times = append(times, time.Since(committed))
	}
	return times, nil
}
