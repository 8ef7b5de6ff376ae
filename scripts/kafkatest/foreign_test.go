package kafkatest

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// testForeignProducers has others than us publish: Kafka's console producer and
// its Java client, with every codec, idempotent, and in transactions.
func testForeignProducers(on site) {
	t, cluster := on.t, on.cluster
	t.Run("Console", func(t *testing.T) { testConsoleProducer(site{t, cluster}) })
	t.Run("Java", func(t *testing.T) { testJavaProducer(site{t, cluster}) })
	t.Run("OpenTransaction", func(t *testing.T) { testOpenTransaction(site{t, cluster}) })
}

func testConsoleProducer(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, partitions)
	s.worker()
	const orders = 50
	for _, codec := range codecs {
		var lines strings.Builder
		for n := range orders {
			fmt.Fprintln(&lines, ledger.Content(fmt.Sprint("console-", codec, "-", n), 0))
		}
		cmd := cluster.Distribution.Tool("org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", s.world.Brokers[0],
			"--topic", s.world.Topic, "--compression-codec", codec)
		cmd.Stdin = strings.NewReader(lines.String())
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", output)
	}
	require.NoError(t, s.progress.Drain(bounded(t)))
	require.Len(t, s.exact().Orders, len(codecs)*orders)
}

func testJavaProducer(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, partitions)
	w := s.worker()
	java := s.java()
	counting := 0
	for _, codec := range codecs {
		for _, m := range modes {
			name := fmt.Sprint(codec, "-", m)
			java.open(s.world.Brokers, m, "compression.type="+codec, "linger.ms=5", "transactional.id="+s.world.Topic+name)
			for batch := range 4 {
				counts := java.inTransaction(m, batch%2 == 0, func() {
					for n := range 30 {
						uid := fmt.Sprintf("%s-%d-%d", name, batch, n)
						java.send(s.world.Topic, n%partitions, uid, ledger.Content(uid, 0))
					}
					java.send(s.world.Topic, batch, "broken", "not an order")
				})
				if counts {
					counting += 31
				}
			}
			java.command("close")
		}
	}
	require.NoError(t, s.progress.Drain(bounded(t)))
	expected := s.exact()
	require.Equal(t, expected.Records, counting)
	require.Equal(t, expected.Records, len(expected.Orders)+expected.Broken)
	require.EqualValues(t, len(codecs)*2*31, w.metric(`orderhub_ingest_skipped_records_total{kind="aborted"}`))
}

// What lies behind the first record of an open transaction waits for its end,
// also where that is the broker's, after the producer died.
func testOpenTransaction(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, 2)
	w := s.worker()
	dying, other := s.java(), s.java()
	other.open(s.world.Brokers, idempotent)
	for _, end := range []string{"commit", "abort", "death"} {
		name := func(what string) string { return fmt.Sprint(what, "-", end) }
		timeout := "60000"
		if end == "death" {
			timeout = "2000"
		}
		dying.open(s.world.Brokers, transactional, "transactional.id="+name(s.world.Topic), "transaction.timeout.ms="+timeout)
		dying.command("begin")
		dying.send(s.world.Topic, 0, name("inside"), ledger.Content(name("inside"), 0))
		dying.command("flush")
		other.send(s.world.Topic, 0, name("behind"), ledger.Content(name("behind"), 0))
		other.command("flush")
		// The other partition goes on meanwhile.
		other.send(s.world.Topic, 1, name("beside"), ledger.Content(name("beside"), 0))
		other.command("flush")
		eventually(t, "the order beside is stored", func() error { return s.has(name("beside"), true) })
		if end != "death" { // the broker may be quicker than we
			require.NoError(t, s.has(name("inside"), false))
			require.NoError(t, s.has(name("behind"), false))
			dying.command(end)
			dying.command("close")
		} else {
			require.NoError(t, dying.proc.Signal(syscall.SIGKILL))
		}
		eventually(t, "the order behind is stored", func() error { return s.has(name("behind"), true) })
		require.NoError(t, s.has(name("inside"), end == "commit"))
	}
	require.NoError(t, s.progress.Drain(bounded(t)))
	s.exact()
	require.EqualValues(t, 2, w.metric(`orderhub_ingest_skipped_records_total{kind="aborted"}`))
	require.EqualValues(t, 3, w.metric(`orderhub_ingest_skipped_records_total{kind="control"}`))
}

// has is an error where an order is stored, or not, against what is wanted.
func (s *stage) has(uid string, wanted bool) error {
	_, _, code := s.tryOrderctl("find", uid)
	if found := code == 0; found != wanted {
		return fmt.Errorf("order %s is there: %t", uid, found)
	}
	return nil
}
