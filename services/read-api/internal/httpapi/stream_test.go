package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/stream"
)

// rounds is the cache's loop in the hands of a test: what the hub is told comes
// from change alone, and from who joins.
type rounds struct {
	hub     *stream.Hub
	rung    chan struct{}
	changes chan []string // bodies of one round; acknowledged on done
	done    chan struct{}
	stopped chan struct{}
	metrics *prometheus.Registry
}

// ended is how many streams have ended for a reason.
func (r *rounds) ended(tb testing.TB, reason string) float64 {
	tb.Helper()
	families, err := r.metrics.Gather()
	require.NoError(tb, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "orderhub_stream_ended_total" && m.GetLabel()[0].GetValue() == reason {
				return m.GetCounter().GetValue()
			}
		}
	}
	require.Fail(tb, "there is no "+reason)
	return 0
}

// Subscribe implements stream.Cache.
func (r *rounds) Subscribe(cache.Subscriber) {}

// Refresh implements stream.Cache.
func (r *rounds) Refresh() {
	select {
	case r.rung <- struct{}{}:
	default:
	}
}

func position(xid uint64) changes.Position {
	return changes.Position{Snapshot: changes.TxSnapshot{Xmin: xid, Xmax: xid}, Newest: xid - 1}
}

func newRounds(tb testing.TB, limit int) *rounds {
	tb.Helper()
	r := &rounds{
		rung: make(chan struct{}, 1), changes: make(chan []string),
		done: make(chan struct{}), stopped: make(chan struct{}),
	}
	r.hub = stream.NewHub(r, limit)
	r.hub.Relisted(position(1), false)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for xid := uint64(1); ; xid++ {
			var bodies []string
			select {
			case <-r.rung:
			case bodies = <-r.changes:
			case <-r.stopped:
				return
			}
			r.hub.Begin(position(xid), false)
			for i, body := range bodies {
				o := &model.Order{}
				_ = json.Unmarshal([]byte(body), o) // some tests send other things
				o.OrderUID = fmt.Sprintf("uid-%d", i)
				r.hub.Put(changes.Order{Order: o, Canonical: []byte(body)}, true)
			}
			r.hub.Applied(position(xid + 1))
			if bodies != nil {
				r.done <- struct{}{}
			}
		}
	}()
	tb.Cleanup(func() {
		close(r.stopped)
		<-ended
	})
	return r
}

// change makes a round of changes, and returns when it is applied.
func (r *rounds) change(bodies ...string) {
	r.changes <- bodies
	<-r.done
}

// streams serves the API with a hub that a test drives.
func streams(tb testing.TB, limit int, change func(*Streams)) (*rounds, *pipes) {
	tb.Helper()
	return streamsTo(tb, limit, patience, change)
}

// streamsTo drops clients that read nothing for so long.
func streamsTo(tb testing.TB, limit int, silence time.Duration, change func(*Streams)) (*rounds, *pipes) {
	tb.Helper()
	r := newRounds(tb, limit)
	b := setupWith(tb, time.Hour, cache.StoreOptions{}, func(o *Options) {
		r.metrics = o.Metrics.(*prometheus.Registry)
		o.Streams = Streams{Hub: r.hub, CatchUp: stream.NewCatchUp(func() stream.Source { return unreachable{} })}
		change(&o.Streams)
	})
	p := serve(tb, b.handler, silence)
	tb.Cleanup(r.hub.Close) // before the server is stopped
	return r, p
}

type unreachable struct{}

func (unreachable) Tail(context.Context, changes.Position, changes.Sink) (changes.Round, error) {
	return changes.Round{}, io.ErrUnexpectedEOF
}
func (unreachable) Close() {}

// client follows a stream, without a goroutine of its own.
type client struct {
	conn  net.Conn
	lines *bufio.Reader
}

// follow opens a stream and reads its first id.
func follow(tb testing.TB, p *pipes, query string) *client {
	tb.Helper()
	c := &client{conn: p.dial(tb)}
	c.lines = bufio.NewReaderSize(c.conn, 16) // of the client's own memory, next to nothing
	require.NoError(tb, c.conn.SetDeadline(time.Now().Add(patience)))
	_, err := io.WriteString(c.conn, "GET /api/v1/orders/stream"+query+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	require.NoError(tb, err)
	require.Contains(tb, c.line(tb), "200 OK")
	c.until(tb, "id: ")
	c.rest(tb)
	tb.Cleanup(func() { _ = c.conn.Close() })
	return c
}

func (c *client) line(tb testing.TB) string {
	tb.Helper()
	line, err := c.lines.ReadString('\n')
	require.NoError(tb, err)
	return line
}

// rest reads what follows the last line of what was sent at once: the end of the
// event, and of HTTP's chunk. Before that the server is still writing.
func (c *client) rest(tb testing.TB) {
	tb.Helper()
	c.line(tb)
	c.line(tb)
}

// until reads on to a line that begins so.
func (c *client) until(tb testing.TB, prefix string) string {
	tb.Helper()
	for {
		if line := c.line(tb); strings.HasPrefix(line, prefix) {
			return line
		}
	}
}

const usdOrder = `{"order_uid":"a","customer_id":"c","payment":{"currency":"USD","amount":5}}`

func TestAQuietStreamShowsThatItLives(t *testing.T) {
	r, p := streams(t, 1, func(s *Streams) { s.Heartbeat = 10 * time.Millisecond })
	c := follow(t, p, "")
	for range 3 {
		c.until(t, ": alive")
		require.NotEmpty(t, strings.TrimPrefix(c.until(t, "id: "), "id: "), "it goes on with the position")
	}
	r.change(usdOrder)
	require.Contains(t, c.until(t, "data: "), usdOrder)
}

// TestAStreamsFiltersAreThoseOfLists gives each filter an order that it lets
// through and one that it doesn't, which may have been such a one before.
func TestAStreamsFiltersAreThoseOfLists(t *testing.T) {
	const form = `{"order_uid":"x","track_number":%q,"customer_id":%q,"delivery_service":%q,"locale":%q,"date_created":%q,"payment":{"currency":%q,"amount":%d},` +
		`"delivery":{"name":%q,"phone":%q,"email":%q},"items":[{"nm_id":%d,"brand":%q,"status":%d},{}]}`
	whole := []any{"t", "c", "d", "en", "2024-05-01T10:00:00Z", "USD", 10, "Jo  Å", "+1 2", "A@b.c", 1, "b", 2}
	with := func(at int, value any) string {
		fields := append([]any(nil), whole...)
		fields[at] = value
		return fmt.Sprintf(form, fields...)
	}
	for query, other := range map[string]string{
		"track_number=t": with(0, "o"), "customer_id=c": with(1, "o"), "delivery_service=d": with(2, "o"), "locale=en": with(3, "o"),
		"created_from=2024-05-01T09:00:00Z": with(4, "2024-05-01T08:59:59.999999Z"), "created_to=2024-05-01T11:00:00Z": with(4, "2024-05-01T11:00:00.000001Z"),
		"currency=USD": with(5, "EUR"), "amount_min=10": with(6, 9), "amount_max=10": with(6, 11),
		"currency=EUR&currency=USD": with(5, "CHF"), "name=jo%20%C3%A5": with(7, "Jo Åb"), "name_prefix=JO": with(7, "J"), "phone=%2B12": with(8, "+1"), "phone_prefix=%2B1": with(8, "1"),
		"email=a@B.C": with(9, "a@b.cc"), "email_prefix=a@": with(9, "b@b.c"), "nm_id=1&nm_id=7": with(10, 2), "brand=b": with(11, "B"), "status=2": with(12, 3),
	} {
		r, p := streams(t, 1, func(*Streams) {})
		c := follow(t, p, "?"+query)
		r.change(other, fmt.Sprintf(form, whole...))
		require.Equal(t, "event: left\n", c.until(t, "event: "), query)
		require.Equal(t, "data: {\"order_uid\":\"uid-0\"}\n", c.until(t, "data: "), query)
		require.Equal(t, "data: "+fmt.Sprintf(form, whole...)+"\n", c.until(t, "data: "), query)
	}
}

// TestASlowClientIsDroppedNotBuffered has two clients, and reads for one only.
func TestASlowClientIsDroppedNotBuffered(t *testing.T) {
	r, p := streams(t, 2, func(*Streams) {})
	slow, quick := follow(t, p, ""), follow(t, p, "")
	body := `{"order_uid":"` + strings.Repeat("x", 3<<20) + `"}`
	for range 8 {
		r.change(body, body)
		_, err := io.CopyN(io.Discard, quick.lines, 2*int64(len(body)))
		require.NoError(t, err)
	}
	clients, dropped := r.hub.Figures()
	require.Equal(t, 1, clients)
	require.EqualValues(t, 1, dropped)
	// It gets the order that is on its way, and then the end.
	got, err := io.Copy(io.Discard, slow.lines)
	require.NoError(t, err)
	require.Less(t, got, 2*int64(len(body)))
	require.Eventually(t, func() bool { return r.ended(t, "slow") == 1 }, patience, time.Millisecond)
	r.change(body, body)
	_, err = io.CopyN(io.Discard, quick.lines, 1<<20) // the rest is being written when the service stops
	require.NoError(t, err)
	r.hub.Close()
	_, err = io.Copy(io.Discard, quick.lines)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.ended(t, "stop") == 1 }, patience, time.Millisecond)
	require.EqualValues(t, 1, r.ended(t, "slow"))
	require.Zero(t, r.ended(t, "client"))
}

// TestOnlyAClientThatReadsNothingIsCutOff has no more to say than fits any queue. First
// it reads an order in parts, for longer than a client may read nothing.
func TestOnlyAClientThatReadsNothingIsCutOff(t *testing.T) {
	const silence = 2 * time.Second
	r, p := streamsTo(t, 1, silence, func(*Streams) {})
	c := follow(t, p, "")
	large := `{"order_uid":"` + strings.Repeat("x", 2*streamBuffer) + `"}`
	r.change(large)
	part := make([]byte, streamBuffer)
	for range 3 {
		time.Sleep(3 * silence / 8) // a slow client is what this is about
		_, err := io.ReadFull(c.lines, part)
		require.NoError(t, err)
		part = part[:len(part)/2]
	}
	c.until(t, "\n")
	c.rest(t)
	r.change(usdOrder)
	require.Eventually(t, func() bool {
		clients, _ := r.hub.Figures()
		return clients == 0
	}, patience, time.Millisecond)
}

func TestHeadOfTheStreamJoinsNobody(t *testing.T) {
	r, p := streams(t, 1, func(*Streams) {})
	follow(t, p, "") // and now it is full
	head := exchange(t, p, "HEAD /api/v1/orders/stream?currency=USD HTTP/1.1\r\nHost: x\r\n\r\n")
	require.Equal(t, 200, head.status)
	require.Equal(t, "text/event-stream", head.header.Get("Content-Type"))
	require.Empty(t, head.body)
	head = exchange(t, p, "HEAD /api/v1/orders/stream?limit=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	require.Equal(t, 400, head.status)
	clients, _ := r.hub.Figures()
	require.Equal(t, 1, clients)
	post := exchange(t, p, "POST /api/v1/orders/stream HTTP/1.1\r\nHost: x\r\n\r\n")
	requireRefused(t, "POST", post)
	require.Equal(t, 405, post.status)
	require.Equal(t, "GET, HEAD", post.header.Get("Allow"))
}

// maxClientBytes is what a client may cost, both ends of its pipe included.
const maxClientBytes = 48 << 10

// TestThousandsOfClientsTakeLittle opens 2,000 streams, tells all of them
// something, and looks at the memory that they take.
func TestThousandsOfClientsTakeLittle(t *testing.T) {
	const clients = 2000
	r, p := streams(t, clients, func(*Streams) {})
	each, all := crowd(t, p, clients)
	t.Logf("%d bytes a client", each)
	if !raceDetector {
		require.LessOrEqual(t, each, int64(maxClientBytes))
	}
	full := exchange(t, p, "GET /api/v1/orders/stream HTTP/1.1\r\nHost: x\r\n\r\n")
	require.Equal(t, problem.Path+"too-many-streams", requireRefused(t, "GET", full).Type)
	require.Equal(t, 503, full.status)
	require.NotEmpty(t, full.header.Get("Retry-After"))

	r.change(usdOrder)
	for _, c := range all {
		c.until(t, "data: "+usdOrder)
		c.rest(t)
	}
	_, dropped := r.hub.Figures()
	require.Zero(t, dropped)
	if after := memory() / int64(clients); !raceDetector {
		require.LessOrEqual(t, after, int64(maxClientBytes), "nobody keeps what has been sent")
	}
}

// crowd opens streams and returns what each takes of memory.
func crowd(tb testing.TB, p *pipes, clients int) (each int64, all []*client) {
	tb.Helper()
	before := memory()
	all = make([]*client, clients)
	for i := range all {
		all[i] = follow(tb, p, "")
	}
	return (memory() - before) / int64(clients), all
}

func memory() int64 {
	runtime.GC()
	runtime.GC() // what pools held goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// BenchmarkStreamClients says what 20,000 clients take, and how long it takes to
// tell all of them of one change.
func BenchmarkStreamClients(b *testing.B) {
	const clients = 20_000
	r, p := streams(b, clients, func(s *Streams) { s.Heartbeat = time.Hour })
	each, all := crowd(b, p, clients)
	for _, c := range all {
		if err := c.conn.SetDeadline(time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		r.change(usdOrder)
		for _, c := range all {
			c.until(b, "data: ")
			c.rest(b)
		}
	}
	b.ReportMetric(float64(each), "B/client")
}
