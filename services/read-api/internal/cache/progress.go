package cache

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// logProgress says in the log how far a snapshot is.
func (r *Reflector) logProgress(f *feed, done, expected int64) {
	pace := float64(done) / time.Since(f.started).Seconds()
	fields := []zap.Field{zap.Int64("orders", done), zap.Int64("orders_per_second", int64(pace))}
	if expected > done {
		fields = append(fields, zap.Int64("expected_about", expected), zap.Int64("percent", done*100/expected))
	}
	r.log.Info("restoring the cache", fields...)
}

// showProgress says how far a snapshot is to whoever asks whether the service is ready.
func (r *Reflector) showProgress(f *feed, done, expected int64) {
	r.followMemory(f.store)
	detail := fmt.Sprintf("restoring: %d orders so far", done)
	if expected > done {
		detail = fmt.Sprintf("restoring: %d of about %d orders (%d %%)", done, expected, done*100/expected)
	}
	r.show(detail)
}

// show says what the cache is at to whoever asks whether the service is ready. One that
// has synced stays ready: hits are what it is there for.
func (r *Reflector) show(detail string) {
	if !r.cache.HasSynced() {
		r.options.Health.NotReady(detail)
		return
	}
	r.options.Health.Ready(fmt.Sprintf("orders are served from memory as of %s: %s",
		time.Now().Add(-r.cache.Staleness(time.Now())).UTC().Format(time.RFC3339), detail))
}

// failed says what is wrong, once, and what that means for requests.
func (r *Reflector) failed(err error) {
	if _, busy := errors.AsType[*changes.BusyError](err); busy {
		r.show(err.Error())
		return
	}
	r.show("waiting for the database: " + err.Error())
	meaning := "requests for orders are answered with 503"
	if r.cache.HasSynced() {
		meaning = "orders in memory are still served, marked as stale"
	}
	if r.outage.news(err.Error(), time.Now()) {
		r.log.Warn("the database can't be read; trying again", zap.Error(err), zap.String("meanwhile", meaning))
	}
}
