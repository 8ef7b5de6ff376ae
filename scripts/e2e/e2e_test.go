package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
)

func TestFromKafkaToTheAPI(t *testing.T) {
	p := newPipeline(t)
	worker, reader := p.worker(), p.reader()

	for _, name := range []string{"model.json", "order1001test.json"} {
		record := sample(t, name)
		uids := strings.Fields(p.orderctl(record, "publish", "--file", "-"))
		require.Len(t, uids, 1)
		want := canonical(t, record)
		p.seen(reader, uids[0], want)

		// The same under both addresses, with a strong ETag, by HEAD, and not again.
		_, header, _ := reader.get("/order/" + uids[0])
		status, _, body := reader.get("/api/v1/orders/" + uids[0])
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, want, body)
		etag := header.Get("ETag")
		require.Regexp(t, `^"[^"]+"$`, etag)
		status, _, body = reader.get("/order/"+uids[0], "If-None-Match: "+etag)
		require.Equal(t, http.StatusNotModified, status)
		require.Empty(t, body)
		status, _, body = fetch(t, http.MethodHead, "http://"+reader.addr+"/order/"+uids[0], nil)
		require.Equal(t, http.StatusOK, status)
		require.Empty(t, body)
	}
	require.Contains(t, worker.log.String(), `"batch done"`)

	status, header, body := reader.get("/order/never-there")
	require.Equal(t, http.StatusNotFound, status)
	require.Equal(t, "application/problem+json", header.Get("Content-Type"))
	require.Contains(t, body, `"status":404`)
}

func TestDuplicatesConflictsAndInvalidOrders(t *testing.T) {
	p := newPipeline(t)
	p.worker()
	reader := p.reader()
	record := sample(t, "model.json")
	p.orderctl(record, "publish", "--file", "-")
	p.seen(reader, "b563feb7b2b84b6test", canonical(t, record))
	p.orderctl(record, "publish", "--file", "-")
	p.orderctl(strings.Replace(record, "Test Testov", "Somebody Else", 1), "publish", "--file", "-")
	p.orderctl(strings.Replace(record, "b563feb7b2b84b6test", "no such uid!", 1), "publish", "--file", "-", "--no-validate")

	p.eventually("both letters are there", func() (bool, string) {
		reasons := p.deadLetterReasons()
		return len(reasons) == 2 && reasons["conflict"] == 1 && reasons["invalid"] == 1, fmt.Sprint(reasons)
	})
	p.seen(reader, "b563feb7b2b84b6test", canonical(t, record))
	var orders int
	require.NoError(t, p.db.QueryRowContext(p.ctx, "SELECT count(*) FROM orders").Scan(&orders))
	require.Equal(t, 1, orders)
}

// Synthetic orders with faults of many kinds: the valid ones are all served, by
// two readers, whichever of two workers took them.
func TestTwoWorkersAndTwoReaders(t *testing.T) {
	p := newPipeline(t)
	first, one := p.worker(), p.reader()
	second, two := p.worker(), p.reader()
	stored := p.publishSynthetic("--count", "600", "--invalid", "0.1", "--duplicates", "0.1", "--conflicts", "0.1", "--seed", "7")
	require.Greater(t, len(stored), 300)
	first.stop(syscall.SIGTERM)
	stored = append(stored, p.publishSynthetic("--count", "50", "--seed", "8")...)
	for _, uid := range stored {
		for _, reader := range []*process{one, two} {
			p.eventually("an order is served", func() (bool, string) {
				status, _, body := reader.get("/order/" + uid)
				return status == http.StatusOK, uid + ": " + body
			})
		}
	}
	var orders int
	require.NoError(t, p.db.QueryRowContext(p.ctx, "SELECT count(*) FROM orders").Scan(&orders))
	require.Equal(t, len(stored), orders)
	for _, reader := range []*process{one, two} {
		verified := p.orderctl("", "verify", "--api", "http://"+reader.addr, "--settle", "500ms", "--output", "json")
		require.Contains(t, verified, `"equal":true`)
		require.Contains(t, verified, fmt.Sprintf(`"checked":%d,`, orders))
	}
	found := p.orderctl("", "doctor", "--strict", "--output", "json", "--api", "http://"+one.addr,
		"--admin", "http://"+second.admin+",http://"+one.admin+",http://"+two.admin)
	require.NotContains(t, found, `"finding"`, "a system without faults")
}

// publishSynthetic publishes synthetic records and returns the uids of the new
// valid orders among them.
func (p *pipeline) publishSynthetic(args ...string) (uids []string) {
	p.t.Helper()
	lines := p.orderctl("", append([]string{"publish", "--output", "json"}, args...)...)
	decoder := json.NewDecoder(strings.NewReader(lines))
	for decoder.More() {
		var sent struct {
			UID  string `json:"order_uid"`
			Kind string `json:"kind"`
		}
		require.NoError(p.t, decoder.Decode(&sent))
		if sent.Kind == "order" {
			uids = append(uids, sent.UID)
		}
	}
	return uids
}

// The seed's SQL: select by order_uid in each table; change a row; delete the
// children first, then the order.
func TestChangesByHandAreSeen(t *testing.T) {
	p := newPipeline(t)
	p.worker()
	reader := p.reader()
	record := sample(t, "order1001test.json")
	p.orderctl(record, "publish", "--file", "-")
	whole := canonical(t, record)
	p.seen(reader, "order1001test", whole)
	for _, table := range []string{"orders", "deliveries", "payments", "items"} {
		var rows int
		require.NoError(t, p.db.QueryRowContext(p.ctx, "SELECT count(*) FROM "+table+" WHERE order_uid = 'order1001test'").Scan(&rows))
		require.Equal(t, 1, rows, table)
	}

	p.exec(`UPDATE deliveries SET city = 'Moscow' WHERE order_uid = 'order1001test'`)
	p.seen(reader, "order1001test", strings.Replace(whole, "Saint Petersburg", "Moscow", 1))
	p.exec(`DELETE FROM items WHERE order_uid = 'order1001test'`)
	p.exec(`DELETE FROM payments WHERE order_uid = 'order1001test'`)
	p.exec(`DELETE FROM deliveries WHERE order_uid = 'order1001test'`)
	p.eventually("the parts are null", func() (bool, string) {
		_, _, body := reader.get("/order/order1001test")
		return strings.Contains(body, `"delivery":null,"payment":null,"items":null`), body
	})
	p.exec(`DELETE FROM orders WHERE order_uid = 'order1001test'`)
	p.seen(reader, "order1001test", "")
}

func TestEachServiceIsRestarted(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			p := newPipeline(t)
			worker, reader := p.worker(), p.reader()
			record := sample(t, "model.json")
			p.orderctl(record, "publish", "--file", "-")
			p.seen(reader, "b563feb7b2b84b6test", canonical(t, record))
			worker.stop(signal)
			reader.stop(signal)

			other := sample(t, "order1001test.json")
			p.orderctl(other, "publish", "--file", "-")
			p.worker()
			reader = p.reader()
			require.Contains(t, reader.log.String(), `"cache restored"`)
			p.seen(reader, "b563feb7b2b84b6test", canonical(t, record))
			p.seen(reader, "order1001test", canonical(t, other))
			require.Empty(t, p.deadLetterReasons())
		})
	}
}

// deadLetterReasons counts the letters by reason.
func (p *pipeline) deadLetterReasons() map[string]int {
	p.t.Helper()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(p.brokers), Transport: transport}
	partitions, err := kafkago.PartitionCount(p.ctx, client, "orders.dlq")
	require.NoError(p.t, err)
	reasons := map[string]int{}
	for partition := range partitions {
		for _, reason := range p.reasonsOf(client, partition) {
			reasons[reason]++
		}
	}
	return reasons
}

func (p *pipeline) reasonsOf(client *kafka.Client, partition int) (reasons []string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, deadline)
	defer cancel()
	for offset := int64(0); ; {
		answer, err := client.Fetch(ctx, &kafka.FetchRequest{Topic: "orders.dlq", Partition: partition, Offset: offset, MaxBytes: 8 << 20})
		require.NoError(p.t, err)
		require.NoError(p.t, answer.Error)
		if offset >= answer.HighWatermark {
			return reasons
		}
		for {
			record, err := answer.Records.ReadRecord()
			if err != nil {
				break
			}
			offset = record.Offset + 1
			for _, h := range record.Headers {
				if h.Key == "dlq-reason" {
					reasons = append(reasons, string(h.Value))
				}
			}
		}
	}
}
