package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/stanserver"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// ledgerVariable is how many messages TestEachMessageOfNATSIsAccountedFor sends.
const ledgerVariable = "ORDERHUB_TEST_NATS_MESSAGES"

func TestFromNATSToThePage(t *testing.T) {
	port, err := ports.Free()
	require.NoError(t, err)
	streaming := stanserver.StartForTest(t, port, t.TempDir())
	p := newPipeline(t)
	p.worker()
	reader := p.reader()
	for from, record := range map[string]string{
		natsserver.StartForTest(t, natsserver.Options{}).URL(): sample(t, "model.json"),
		"stan" + strings.TrimPrefix(streaming.URL(), "nats"):   sample(t, "order1001test.json"),
	} {
		mode, rest, _ := strings.Cut(from, "://")
		p.env = append(p.env, "NATS_URL=nats://"+rest, "NATS_MODE="+map[string]string{"nats": "jetstream", "stan": "streaming"}[mode])
		bridge := p.start("nats-bridge")
		uid := strings.TrimSpace(p.orderctl(record, "publish", "--to", from+"/orders", "--file", "-"))
		p.seen(reader, uid, canonical(t, record))
		_, _, page := reader.get("/?q=" + uid)
		require.Contains(t, page, "WBILMTESTTRACK")
		bridge.stop(syscall.SIGTERM)
	}
}

// Messages with duplicates, conflicts and broken records, and a bridge that is
// killed again and again: each message is stored once, or a duplicate, or a dead
// letter, and each key's messages have kept their order.
func TestEachMessageOfNATSIsAccountedFor(t *testing.T) {
	count := 10_000
	if text := os.Getenv(ledgerVariable); text != "" {
		var err error
		count, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	p := newPipeline(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	p.ctx = ctx
	to := natsserver.StartForTest(t, natsserver.Options{}).URL()
	p.env = append(p.env, "NATS_URL="+to, "NATS_ACK_WAIT=3s", "LOG_LEVEL=warn")
	worker, reader := p.worker(), p.reader()
	bridge := p.start("nats-bridge")
	progress, err := ledger.NewProgress([]string{p.brokers}, "orders", "orderhub")
	require.NoError(t, err)
	defer progress.Close()

	published := make(chan string, 1)
	go func() {
		defer close(published)
		published <- p.orderctl("", "publish", "--to", to+"/orders", "--output", "json", "--count", strconv.Itoa(count), "--items", "1-2",
			"--rate", "4000", "--invalid", "0.05", "--duplicates", "0.1", "--conflicts", "0.05", "--seed", "16")
	}()
	random := rand.New(rand.NewPCG(16, 16))
	total := func() (sum int64) {
		ends, err := progress.Ends(p.ctx)
		require.NoError(t, err)
		for _, end := range ends {
			sum += end
		}
		return sum
	}
	kills, lines := 0, ""
	for lines == "" {
		next := total() + random.Int64N(int64(count)/10)
		p.eventually("the bridge has forwarded more", func() (bool, string) {
			select {
			case lines = <-published:
				return true, ""
			default:
				return total() > next, ""
			}
		})
		require.False(t, t.Failed(), "the messages could not be published")
		bridge.stop(syscall.SIGKILL)
		kills++
		bridge = p.start("nats-bridge")
	}

	orders, kinds := map[string]bool{}, map[string]int{}
	decoder := json.NewDecoder(strings.NewReader(lines))
	for decoder.More() {
		var sent struct{ Order_UID, Kind string }
		require.NoError(t, decoder.Decode(&sent))
		if kinds[sent.Kind]++; sent.Kind == "order" {
			orders[sent.Order_UID] = true
		}
	}
	// What killed bridges had in hand comes again after the ack wait, and the stream
	// is empty when all is acknowledged.
	conn, err := nats.Connect(to)
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	p.eventually("the stream is empty", func() (bool, string) {
		stream, err := js.Stream(p.ctx, "ORDERS")
		require.NoError(t, err)
		left := stream.CachedInfo().State.Msgs
		return left == 0, fmt.Sprint(left)
	})
	repeats := p.requireAllForwarded(count)
	require.NoError(t, progress.Drain(p.ctx))
	expected, err := ledger.Expect(p.ctx, []string{p.brokers}, "orders")
	require.NoError(t, err)
	require.Len(t, expected.Orders, len(orders))
	for uid := range orders {
		_, stored := expected.Orders[uid]
		require.True(t, stored, uid)
	}
	require.GreaterOrEqual(t, expected.Conflicts, kinds["conflict"])
	require.GreaterOrEqual(t, expected.Broken, kinds["invalid"])
	var found *ledger.Findings
	p.eventually("the reader has all orders", func() (bool, string) {
		found, err = ledger.Account(p.ctx, ledger.World{
			Brokers: []string{p.brokers}, Topic: "orders", DLQ: "orders.dlq", Group: "orderhub", Database: p.database, Readers: []string{reader.addr},
		}, expected)
		require.NoError(t, err)
		return found.Exact(), found.String()
	})
	t.Logf("%d messages (%v), %d kills of the bridge, %d messages forwarded again: %s", count, kinds, kills, repeats, found)
	worker.stop(syscall.SIGTERM)
}

// requireAllForwarded waits until each message of the stream is in the topic, each
// key's in their order, and returns how many are there again.
func (p *pipeline) requireAllForwarded(count int) (repeats int) {
	p.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.brokers), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(p.t, err)
	defer client.Close()
	seen, newest := map[string]bool{}, map[string]int{}
	for len(seen) < count {
		fetches := client.PollFetches(p.ctx)
		require.NoError(p.t, fetches.Err(), "%d messages of %d are forwarded", len(seen), count)
		fetches.EachRecord(func(r *kgo.Record) {
			for _, h := range r.Headers {
				if h.Key != "nats-sequence" {
					continue
				}
				if seen[string(h.Value)] {
					repeats++
					continue
				}
				seen[string(h.Value)] = true
				sequence, err := strconv.Atoi(string(h.Value))
				require.NoError(p.t, err)
				require.Greater(p.t, sequence, newest[string(r.Key)], "messages of %s are out of order", r.Key)
				if r.Key != nil {
					newest[string(r.Key)] = sequence
				}
			}
		})
	}
	return repeats
}
