package ingest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

func TestMain(m *testing.M) { os.Exit(postgres.Shared(m).Run()) }

// recorder makes the worker's transactions on one connection.
type recorder struct {
	db      *bun.DB
	write   func(context.Context, []*orderwrite.Entry) error
	backend procfs.Proc
	stored  int
}

func newRecorder(b *testing.B, records bool) *recorder {
	b.Helper()
	url := postgres.ForTest(b)
	owner, err := sql.Open("pgx", url)
	require.NoError(b, err)
	defer func() { _ = owner.Close() }()
	_, err = migrations.Up(b.Context(), owner)
	require.NoError(b, err)
	require.NoError(b, postgres.Execute(b.Context(), postgres.AdminForTest(b, url), rig.GrantReplicaRole))
	db, err := bundb.Open(config.Database{URL: config.Secret(url)}, bundb.Options{MaxConns: 1})
	require.NoError(b, err)
	b.Cleanup(func() { _ = db.Close() })
	writer := orderwrite.New(db, orderwrite.Options{Timeout: time.Minute})
	r := &recorder{db: db, write: writer.Write}
	if records {
		p := orderwrite.Position{Group: "bench", TopicID: "00000000-0000-0000-0000-000000000001", Transactions: new(int64)}
		_, err = db.ExecContext(b.Context(), `INSERT INTO ingest_positions (consumer_group, topic_id, partition, topic, next_offset) VALUES (?, ?, 0, 'orders', 0)`, p.Group, p.TopicID)
		r.write = func(ctx context.Context, entries []*orderwrite.Entry) error {
			p.From, p.Next = p.Next, p.Next+int64(len(entries))
			return writer.Recording(p).Write(ctx, entries)
		}
	} else {
		_, err = db.ExecContext(b.Context(), `DROP TABLE ingest_positions, erasures; DROP SEQUENCE erasures_version`)
	}
	require.NoError(b, err)
	var pid int
	require.NoError(b, db.QueryRowContext(b.Context(), `SELECT pg_backend_pid()`).Scan(&pid))
	r.backend, err = procfs.NewProc(pid)
	require.NoError(b, err)
	return r
}

// wal is how many bytes of it the server has written.
func (r *recorder) wal(b *testing.B) (written int64) {
	b.Helper()
	require.NoError(b, r.db.QueryRowContext(b.Context(), `SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&written))
	return written
}

// cpu is the CPU time of the connection's process and of this one, more exactly than in the
// ticks of rig.UsageOf.
func (r *recorder) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := r.backend.Schedstat()
	require.NoError(b, err)
	var self syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &self))
	return time.Duration(stat.RunningNanoseconds) + time.Duration(self.Utime.Nano()+self.Stime.Nano())
}

// store stores orders in a transaction, and returns what CPU time and WAL that took.
func (r *recorder) store(b *testing.B, orders int) (cpu time.Duration, wal int64) {
	b.Helper()
	entries := make([]*orderwrite.Entry, orders)
	for i := range entries {
		entries[i] = &orderwrite.Entry{Order: ledger.NewOrder(rig.StampedUID(1, uint64(r.stored+i)), 0)}
	}
	r.stored += orders
	runtime.GC() // so that the other's garbage costs nothing here
	wal, cpu = r.wal(b), r.cpu(b)
	require.NoError(b, r.write(b.Context(), entries))
	cpu = r.cpu(b) - cpu
	return cpu, r.wal(b) - wal
}

// BenchmarkPositions is what positions and erasures cost a transaction of so many orders. Those
// with and without them take turns, so a busy machine disturbs both alike.
func BenchmarkPositions(b *testing.B) {
	for _, orders := range []int{2500, 250, 1} {
		b.Run(fmt.Sprint(orders), func(b *testing.B) {
			both := [2]*recorder{newRecorder(b, true), newRecorder(b, false)}
			for i := range 10 { // what is read once, such as PostgreSQL's catalogs
				both[i%2].store(b, orders)
			}
			var base, more []float64 // microseconds
			var wal [2]int64
			for i := 0; b.Loop(); i++ {
				var took [2]time.Duration
				for _, turn := range [2]int{i % 2, (i + 1) % 2} {
					cpu, written := both[turn].store(b, orders)
					took[turn], wal[turn] = cpu, wal[turn]+written
				}
				base, more = append(base, took[1].Seconds()*1e6), append(more, (took[0]-took[1]).Seconds()*1e6)
			}
			b.ReportMetric(report.Median(base), "µs")
			b.ReportMetric(report.Median(more), "+µs")
			b.ReportMetric(report.Median(more)/report.Median(base)*100, "+%")
			b.ReportMetric((float64(wal[0])/float64(wal[1])-1)*100, "+%WAL")
		})
	}
}
