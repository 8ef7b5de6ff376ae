package e2e

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
)

// A client's trace, which it sampled.
const (
	clientTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	clientSpan  = "traceparent: 00-" + clientTrace + "-00f067aa0ba902b7-01"
	streamTrace = "5bf92f3577b34da6a3ce929d0e0e4736"
	streamSpan  = "traceparent: 00-" + streamTrace + "-00f067aa0ba902b7-01"
)

// span is what a program has exported.
type span struct {
	service, name, trace, id, parent string
	links                            []string // ids of spans
	linked                           []string // ids of traces
	attributes                       map[string]string
	text                             string // all of it
}

// collector is an OTLP collector that keeps spans in memory.
type collector struct {
	*httptest.Server
	mu       sync.Mutex
	requests int
	spans    []span
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var data tracepb.TracesData
	if err != nil || proto.Unmarshal(body, &data) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	for _, resource := range data.ResourceSpans {
		service := ""
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, s := range resource.ScopeSpans[0].Spans {
			one := span{
				service: service, name: s.Name, trace: hex.EncodeToString(s.TraceId), id: hex.EncodeToString(s.SpanId),
				parent: hex.EncodeToString(s.ParentSpanId), attributes: map[string]string{}, text: prototext.Format(resource) + prototext.Format(s),
			}
			for _, a := range s.Attributes {
				if one.attributes[a.Key] = a.Value.GetStringValue(); one.attributes[a.Key] == "" {
					one.attributes[a.Key] = fmt.Sprint(a.Value.GetIntValue())
				}
			}
			for _, l := range s.Links {
				one.links, one.linked = append(one.links, hex.EncodeToString(l.SpanId)), append(one.linked, hex.EncodeToString(l.TraceId))
			}
			c.spans = append(c.spans, one)
		}
	}
}

func (c *collector) all() []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// traced has the pipeline's programs send spans to the collector.
func (p *pipeline) traced(c *collector) {
	p.env = append(p.env, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_BSP_SCHEDULE_DELAY=20", "TRACE_URL=https://traces.example/t/{trace_id}")
}

// span waits for a span of a program.
func (p *pipeline) span(c *collector, service, name string, is func(span) bool) (found span) {
	p.t.Helper()
	p.eventually(service+" has sent the span "+name, func() (bool, string) {
		var others strings.Builder
		for _, s := range c.all() {
			if s.service == service && s.name == name && is(s) {
				found = s
				return true, ""
			}
			fmt.Fprintf(&others, "%s %s: %s %s under %s, links %v %v\n", s.service, s.name, s.trace, s.id, s.parent, s.links, s.attributes)
		}
		return false, others.String()
	})
	return found
}

func under(parent span) func(span) bool {
	return func(s span) bool { return s.trace == parent.trace && s.parent == parent.id }
}

// linkedTo is a span of another trace with a link to one.
func linkedTo(other span) func(span) bool {
	return func(s span) bool { return s.trace != other.trace && slices.Contains(s.links, other.id) }
}

// personal plants people's data, each of which would be found wherever it went.
var personal = strings.NewReplacer("Test Testov", "Plantedname Person", "+9720000000", "+97255501234", "2639809", "98765432",
	"Kiryat Mozkin", "Plantedtown", "Ploshad Mira 15", "Planted Street 7", "Kraiot", "Plantedregion", "test@gmail.com", "planted@mail.example",
	`"customer_id":"test"`, `"customer_id":"plantedcustomer"`, `"customer_id": "test"`, `"customer_id":"plantedcustomer"`,
	`"transaction": "b563feb7b2b84b6test"`, `"transaction":"plantedtransaction"`, `"transaction":"b563feb7b2b84b6test"`, `"transaction":"plantedtransaction"`)

func requireNothingPersonal(t *testing.T, c *collector) {
	t.Helper()
	for _, s := range c.all() {
		for _, secret := range []string{"lanted", "97255501234", "98765432"} {
			require.NotContains(t, s.text, secret)
		}
	}
}

const uid = "b563feb7b2b84b6test"

// One order from orderctl publish to the clients that get it.
func TestTracesFollowAnOrder(t *testing.T) {
	c, p := newCollector(t), newPipeline(t)
	p.traced(c)
	worker, reader := p.worker(), p.reader()
	record := personal.Replace(sample(t, "model.json"))

	// A record whose producer sampled nothing costs nothing.
	p.env = append(p.env, "OTEL_TRACES_EXPORTER=none")
	untraced := strings.TrimSpace(p.orderctl(strings.ReplaceAll(record, uid, "untraced"), "publish", "--file", "-"))
	p.env = p.env[:len(p.env)-1]
	p.seen(reader, untraced, canonical(t, strings.ReplaceAll(record, uid, "untraced")))

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+reader.addr+"/api/v1/orders/stream", nil)
	require.NoError(t, err)
	request.Header.Set("traceparent", strings.TrimPrefix(streamSpan, "traceparent: "))
	stream, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	_, err = stream.Body.Read(make([]byte, 1)) // it listens
	require.NoError(t, err)

	p.orderctl(record, "publish", "--file", "-")
	p.seen(reader, uid, canonical(t, record))
	send := p.span(c, "orderctl", "send orders", func(s span) bool { return s.parent == "" && s.attributes["orderhub.order_uid"] == uid })
	process := p.span(c, "ingest-worker", "process orders", under(send))
	for key, value := range map[string]string{
		"messaging.system": "kafka", "messaging.destination.name": "orders", "messaging.operation.name": "process", "messaging.operation.type": "process",
		"messaging.consumer.group.name": "orderhub", "messaging.destination.partition.id": send.attributes["messaging.destination.partition.id"],
		"messaging.kafka.offset": send.attributes["messaging.kafka.offset"], "orderhub.order_uid": uid, "orderhub.outcome": "stored",
	} {
		require.Equal(t, value, process.attributes[key], key)
	}
	p.span(c, "ingest-worker", "poll orders", linkedTo(process))
	batch := p.span(c, "ingest-worker", "batch orders", linkedTo(process))
	for _, name := range []string{"BEGIN", "SELECT", "COPY", "COMMIT", "commit orders"} {
		p.span(c, "ingest-worker", name, under(batch))
	}
	visible := p.span(c, "read-api", "visible", under(process))

	status, _, _ := reader.get("/order/"+uid, clientSpan)
	require.Equal(t, http.StatusOK, status)
	get := p.span(c, "read-api", "GET /order/:order_uid", func(s span) bool { return s.trace == clientTrace })
	require.Equal(t, []string{visible.id}, get.links)
	require.Equal(t, []string{send.trace}, get.linked)
	require.Equal(t, "200", get.attributes["http.response.status_code"])

	deliver := p.span(c, "read-api", "deliver", under(visible))
	require.NoError(t, stream.Body.Close())
	require.Equal(t, []string{streamTrace}, deliver.linked)
	p.span(c, "read-api", "GET /api/v1/orders/stream", func(s span) bool { return s.trace == streamTrace && s.id == deliver.links[0] })

	// The database's work for a request is in its trace, without what it asked for.
	status, _, body := reader.get("/api/v1/orders?customer_id=plantedcustomer", clientSpan, "Cache-Control: no-cache")
	require.Equal(t, http.StatusOK, status, body)
	list := p.span(c, "read-api", "GET /api/v1/orders", func(s span) bool { return s.trace == clientTrace })
	p.span(c, "read-api", "SELECT", under(list))

	// A stopping program sends what it has.
	worker.stop(syscall.SIGTERM)
	reader.stop(syscall.SIGTERM)
	requireNothingPersonal(t, c)
	for _, s := range c.all() {
		require.NotEqual(t, untraced, s.attributes["orderhub.order_uid"], "%+v", s)
	}
}

// One letter from its record through a redrive to the table.
func TestTracesFollowALetter(t *testing.T) {
	c, p := newCollector(t), newPipeline(t)
	p.traced(c)
	p.worker()
	reader := p.reader()
	record := sample(t, "model.json")
	p.orderctl(record, "publish", "--file", "-")
	p.seen(reader, uid, canonical(t, record))
	first := p.span(c, "ingest-worker", "process orders", func(s span) bool { return true })

	other := personal.Replace(record)
	p.orderctl(other, "publish", "--file", "-")
	died := p.span(c, "ingest-worker", "process orders", func(s span) bool { return s.trace != first.trace })
	require.Equal(t, "dead_letter", died.attributes["orderhub.outcome"])
	require.Equal(t, "conflict", died.attributes["orderhub.reason"])
	batch := p.span(c, "ingest-worker", "batch orders", linkedTo(died))
	p.span(c, "ingest-worker", "send orders.dlq", under(batch))

	var found struct {
		Letters []struct {
			ID    string `json:"id"`
			Trace string `json:"trace_id"`
		} `json:"letters"`
	}
	require.NoError(t, json.Unmarshal([]byte(p.orderctl("", "find", uid, "--output", "json")), &found))
	require.Len(t, found.Letters, 1)
	require.Equal(t, died.trace, found.Letters[0].Trace)
	require.Equal(t, died.attributes["orderhub.letter_id"], found.Letters[0].ID)
	link := "https://traces.example/t/" + died.trace
	require.Contains(t, p.orderctl("", "find", uid), link)
	require.Contains(t, p.orderctl("", "dlq", "show", found.Letters[0].ID), link)
	console := p.console("ORDERHUB_AUDIT_FILE=" + t.TempDir() + "/console.jsonl")
	p.eventually("the console links to the trace", func() (bool, string) {
		_, _, body := console.get("/letter?id=" + found.Letters[0].ID)
		return strings.Contains(body, `href="`+link+`"`), body
	})

	p.exec("DELETE FROM orders WHERE order_uid = $1", uid)
	p.orderctl("", "dlq", "redrive", found.Letters[0].ID, "--yes")
	p.seen(reader, uid, canonical(t, other))
	send := p.span(c, "orderctl", "send orders", func(s span) bool { return s.attributes["orderhub.letter_id"] == found.Letters[0].ID })
	require.Equal(t, []string{died.trace}, send.linked)
	require.Equal(t, []string{died.parent}, send.links, "the producer's span")
	stored := p.span(c, "ingest-worker", "process orders", under(send))
	require.Equal(t, "stored", stored.attributes["orderhub.outcome"])
	p.span(c, "read-api", "visible", under(stored))
	requireNothingPersonal(t, c)
}

// The bridge continues a trace from NATS into Kafka.
func TestTracesCrossTheBridge(t *testing.T) {
	c, p := newCollector(t), newPipeline(t)
	p.traced(c)
	to := natsserver.StartForTest(t, natsserver.Options{}).URL()
	p.env = append(p.env, "NATS_URL="+to)
	p.worker()
	p.start("nats-bridge")
	p.orderctl(personal.Replace(sample(t, "model.json")), "publish", "--to", to+"/orders", "--file", "-")
	published := p.span(c, "orderctl", "send orders", func(s span) bool { return s.parent == "" })
	require.Equal(t, "nats", published.attributes["messaging.system"])
	bridged := p.span(c, "nats-bridge", "send orders", under(published))
	require.Equal(t, "kafka", bridged.attributes["messaging.system"])
	p.span(c, "ingest-worker", "process orders", under(bridged))
	requireNothingPersonal(t, c)
}

// With traces off nothing asks the collector, and records have no header.
func TestTracesAreOff(t *testing.T) {
	c, p := newCollector(t), newPipeline(t)
	p.traced(c)
	p.env = append(p.env, "OTEL_TRACES_EXPORTER=none")
	worker, reader := p.worker(), p.reader()
	record := sample(t, "model.json")
	p.orderctl(record, "publish", "--file", "-")
	p.seen(reader, uid, canonical(t, record))
	status, _, _ := reader.get("/order/"+uid, clientSpan)
	require.Equal(t, http.StatusOK, status)
	worker.stop(syscall.SIGTERM)
	reader.stop(syscall.SIGTERM)
	require.Zero(t, c.requests)
}
