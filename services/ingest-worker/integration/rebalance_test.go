package integration

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/fx"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/devstack/proxy"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/app"
)

// startWorkerBehind starts a worker whose connections to the broker all go through
// a proxy, whatever address the broker gives itself.
func (b *bundle) startWorkerBehind(p *proxy.Proxy, settings ...string) *worker {
	b.t.Helper()
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, p.Addr())
	}
	w := &worker{t: b.t}
	w.app = fx.New(app.Options(b.settings(settings...)), fx.Populate(&w.metrics, &w.admin), fx.Decorate(
		func(d *kafka.Dialer) *kafka.Dialer { d.DialFunc = dial; return d },
		func(t *kafka.Transport) *kafka.Transport { t.Dial = dial; return t },
	))
	require.NoError(b.t, w.app.Err())
	require.NoError(b.t, w.app.Start(b.ctx))
	b.t.Cleanup(w.stop)
	return w
}

// A worker that the group has given up, with a batch in its hands, comes back: what
// another has taken over and committed since is neither rewound nor stored twice.
func TestAWorkerThatIsAwayLongerThanItsSession(t *testing.T) {
	const session = "KAFKA_SESSION_TIMEOUT=1s"
	b := setupOn(t, broker.StartForTest(t, broker.Options{
		DefaultPartitions: 1, Configs: map[string]string{"group.min.session.timeout.ms": "100"},
	}), postgres.ForTest(t), 1)
	p, err := proxy.Start(b.broker.Addr(), proxy.Kafka)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	away := b.startWorkerBehind(p, session)
	b.produce(0, order(t, "before", "1"), []byte("no order"))
	b.drained()

	// Its batch waits in the database when the network goes.
	lock, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	_, err = lock.ExecContext(b.ctx, `LOCK TABLE items IN SHARE ROW EXCLUSIVE MODE`)
	require.NoError(t, err)
	b.produce(0, order(t, "in-hand", "1"), []byte("no order in hand"))
	b.eventually("the worker's transaction waits", func() (bool, string) {
		var waiting int
		require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&waiting))
		return waiting > 0, ""
	})
	p.Refuse(true)
	p.Silence()
	other := b.startWorker(session)
	b.eventually("the other has the partition", func() (bool, string) { ready, body := other.readiness(); return ready, body })
	require.NoError(t, lock.Rollback())
	for i := range 20 {
		b.produce(0, order(t, fmt.Sprintf("after%d", i), "1"))
	}
	b.drained()

	// Back again. The broker fences what a generation commits that is over, but
	// would take what is committed without one.
	unfenced := make(chan string, 1)
	b.broker.Cluster().ControlKey(int16(kmsg.OffsetCommit), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.broker.Cluster().KeepControl()
		if commit := request.(*kmsg.OffsetCommitRequest); commit.Generation < 0 {
			select {
			case unfenced <- fmt.Sprintf("%+v", commit.Topics):
			default:
			}
		}
		return nil, nil, false
	})
	p.Refuse(false)
	p.Cut()
	b.eventually("both are members", func() (bool, string) {
		described, err := b.admin.DescribeGroups(b.ctx, group)
		if err != nil {
			return false, err.Error()
		}
		return len(described[group].Members) == 2, fmt.Sprint(len(described[group].Members), " members")
	})
	b.drained()
	select {
	case what := <-unfenced:
		t.Fatal("committed without a generation: ", what)
	default:
	}
	other.stop()
	b.produce(0, order(t, "last", "1"))
	b.drained()
	require.NotEmpty(t, b.stored("last"), "the worker that was away goes on")
	require.Equal(t, 23, b.count("orders"))
	require.Len(t, b.letters(), 2)
	away.stop()
}

func TestTwoWorkersShareThePartitions(t *testing.T) {
	b := setup(t, 4)
	first := b.startWorker()
	want := map[string]string{}
	produced := 0
	some := func(n int) {
		for range n {
			uid := fmt.Sprintf("o%04d", produced)
			record := order(t, uid, "a")
			want[uid] = canonical(t, record)
			b.produce(int32(produced%4), record)
			produced++
		}
	}
	some(40)
	second := b.startWorker()
	some(200)
	b.eventually("the second has partitions", func() (bool, string) {
		_, body := second.readiness()
		return regexp.MustCompile(`generation \d+, partitions \d`).MatchString(body), body
	})
	some(40)
	b.drained()
	first.stop()
	some(40)
	b.drained()

	require.Equal(t, len(want), b.count("orders"))
	for uid, content := range want {
		require.Equal(t, content, b.stored(uid))
	}
	require.Empty(t, b.letters())
}

func TestPartitionsAddedLaterAreTakenUp(t *testing.T) {
	b := setup(t, 1)
	b.startWorker()
	b.produce(0, order(t, "a", "1"))
	b.drained()
	_, err := b.admin.CreatePartitions(b.ctx, 2, ordersTopic)
	require.NoError(t, err)
	b.connect()
	b.produce(2, order(t, "b", "1"))
	b.drained()
	require.NotEmpty(t, b.stored("b"))
}
