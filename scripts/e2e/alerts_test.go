package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/certificates"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

const (
	// alertsVariable is for which faults TestFaultsRaiseTheirAlerts runs: all, or parts
	// of their names, comma-separated.
	alertsVariable = "ORDERHUB_TEST_ALERTS"
	// alertsSpeed is by how much the rules' time runs faster: a wait of five minutes is
	// one of ten seconds.
	alertsSpeed = 30
)

// fault is what happens, and the alerts that are right then.
type fault struct {
	name  string
	alert string
	// follows are other pages that the same fault causes.
	follows    []string
	begin, end func()
}

func (s *site) faults() []fault {
	cut := func(all ...*proxy.Proxy) (begin, end func()) {
		return func() {
				for _, p := range all {
					p.Refuse(true)
					p.Cut()
				}
			}, func() {
				for _, p := range all {
					p.Refuse(false)
				}
			}
	}
	noDatabase, database := cut(s.toWorker, s.toReader)
	stale, fresh := cut(s.toReader)
	return []fault{
		{"database unavailable", "OrderhubIngestBlocked", []string{"OrderhubCacheStale", "OrderhubErrors"}, noDatabase, database},
		{"worker dead", "OrderhubNoWorker", nil, func() { s.worker.stop(syscall.SIGKILL) }, s.restartWorker},
		{"broker unavailable", "OrderhubIngestBlocked", nil, func() { require.NoError(s.t, s.kafka.Stop()) }, s.restartBroker},
		{"reader stale", "OrderhubCacheStale", []string{"OrderhubErrors"}, stale, fresh},
		{"disk full", "OrderhubIngestBlocked", nil, func() {
			// What PostgreSQL reports then; a full disk needs a file system of its own.
			s.exec(`CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$`)
			s.exec(`CREATE TRIGGER disk_full BEFORE INSERT ON orders EXECUTE FUNCTION disk_full()`)
		}, func() { s.exec(`DROP FUNCTION disk_full CASCADE`) }},
		{"gap in offsets", "OrderhubOffsetsGone", nil, s.loseRecords, func() {}},
		{"flood of letters", "OrderhubManyDeadLetters", nil, func() { s.broken.Store(true) }, func() { s.broken.Store(false) }},
		{"certificate about to expire", "OrderhubCertificateExpires", nil, func() { s.renew(10 * 24 * time.Hour) }, func() { s.renew(90 * 24 * time.Hour) }},
	}
}

func (s *site) restartWorker() {
	addr := s.worker.admin
	s.worker = s.run("ingest-worker", []string{"ADMIN_ADDR=" + addr})
	s.worker.admin = addr
}

func (s *site) restartBroker() {
	s.t.Helper()
	var port int
	_, err := fmt.Sscanf(s.brokers[strings.LastIndex(s.brokers, ":"):], ":%d", &port)
	require.NoError(s.t, err)
	s.kafka = broker.StartForTest(s.t, broker.Options{DataDir: s.data, Port: port})
}

// loseRecords deletes records that no worker has read.
func (s *site) loseRecords() {
	s.t.Helper()
	admin := kadm.NewClient(s.client)
	s.paused.Store(true) // no order is late for the time that the worker is away
	defer s.paused.Store(false)
	s.worker.stop(syscall.SIGTERM)
	for n := range 50 {
		uid := fmt.Sprint("lost-", n)
		require.NoError(s.t, s.client.ProduceSync(s.ctx, &kgo.Record{Key: []byte(uid), Value: []byte(ledger.Content(uid, 0))}).FirstErr())
	}
	ends, err := admin.ListEndOffsets(s.ctx, "orders")
	require.NoError(s.t, err)
	_, err = admin.DeleteRecords(s.ctx, ends.Offsets())
	require.NoError(s.t, err)
	s.restartWorker()
	s.eventually("the worker has joined", func() (bool, string) {
		status, _, body := fetch(s.t, http.MethodGet, "http://"+s.worker.admin+"/readyz", nil)
		return status == http.StatusOK, body
	})
}

// renew replaces the certificate of the reader that has one.
func (s *site) renew(life time.Duration) {
	s.t.Helper()
	made, err := certificates.Lasting(s.t.TempDir(), life)
	require.NoError(s.t, err)
	require.NoError(s.t, os.Rename(made.Server, s.certificate.Server))
}

// alarms notes when alerts fire, and pages that nobody expects.
type alarms struct {
	mu       sync.Mutex
	firing   map[string]string // severities by name; nil before the first answer
	expected []string          // pages
	wrong    map[string]bool
}

// watch asks again and again until the test ends.
func (a *alarms) watch(s *site, prom *prometheus) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	s.t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			var found struct {
				Alerts []struct {
					State  string
					Labels map[string]string
				}
			}
			if prom.get("/api/v1/alerts", &found) != nil {
				continue
			}
			a.mu.Lock()
			a.firing = map[string]string{}
			for _, alert := range found.Alerts {
				name := alert.Labels["alertname"]
				if alert.State != "firing" {
					continue
				}
				a.firing[name] = alert.Labels["severity"]
				if alert.Labels["severity"] == "page" && !slices.Contains(a.expected, name) {
					a.wrong[name] = true
				}
			}
			a.mu.Unlock()
		}
	}()
}

// severity of an alert that fires; "" if it does not.
func (a *alarms) severity(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.firing[name]
}

// expect says which pages may fire from now on.
func (a *alarms) expect(pages ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expected = pages
}

// Each kind of fault raises its alert, which resolves after it, and no other page. `make
// test-alerts` runs it, and writes the table of docs/alerts.md.
func TestFaultsRaiseTheirAlerts(t *testing.T) {
	wanted := os.Getenv(alertsVariable)
	if wanted == "" {
		t.Skip("it takes minutes: " + alertsVariable + "=all, which make test-alerts sets")
	}
	s := newSite(t, 30*time.Minute)
	s.renew(90 * 24 * time.Hour)
	prom := watch(t, alertsSpeed, s.services()...)
	s.load()
	a := &alarms{wrong: map[string]bool{}}
	wait := func(what string, holds func() bool) time.Duration {
		t.Helper()
		const patience = 4 * time.Minute
		began := time.Now()
		for !holds() {
			require.Less(t, time.Since(began), patience, what)
			time.Sleep(50 * time.Millisecond)
		}
		return time.Since(began)
	}
	quiet := func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.firing != nil && !slices.Contains(slices.Collect(maps.Values(a.firing)), "page")
	}
	// Young services may lag, and rates need samples.
	a.expect("OrderhubNoWorker", "OrderhubNoReader", "OrderhubLate", "OrderhubErrors")
	a.watch(s, prom)
	wait("Prometheus has seen the services", func() bool { ok, _ := prom.data("orderhub:late_orders:ratio_rate5m"); return ok && quiet() })

	table := report.Table{Columns: []string{"fault", "alert", "severity", "fires after", "resolves after", "other pages"}}
	inRules := func(d time.Duration) string {
		return fmt.Sprintf("%.0f min", (d * alertsSpeed).Minutes())
	}
	for _, f := range s.faults() {
		if wanted != "all" && !slices.ContainsFunc(strings.Split(wanted, ","), func(part string) bool { return strings.Contains(f.name, part) }) {
			continue
		}
		a.expect(append([]string{f.alert}, f.follows...)...)
		f.begin()
		fired := wait(f.name+": "+f.alert+" fires", func() bool { return a.severity(f.alert) != "" })
		severity := a.severity(f.alert)
		f.end()
		resolved := wait(f.name+": "+f.alert+" resolves", func() bool { return a.severity(f.alert) == "" })
		wait(f.name+": no page is left", quiet)
		a.mu.Lock()
		wrong := slices.Sorted(maps.Keys(a.wrong))
		a.mu.Unlock()
		require.Empty(t, wrong, "%s: pages that nobody expects", f.name)
		t.Logf("%s: %s after %s, over after %s", f.name, f.alert, fired, resolved)
		table.Add(f.name, f.alert, severity, inRules(fired), inRules(resolved), strings.Join(f.follows, ", "))
	}
	if wanted == "all" {
		require.NoError(t, report.Save(filepath.Join("..", "..", "docs", "alerts.md"), "alerts", table.Markdown()))
	}
}
