package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/scram"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
)

const fetchTopic = "fetched"

// fetchBroker is a broker of so many nodes with a topic of one partition.
func fetchBroker(t *testing.T, nodes int, topic broker.Topic) *broker.Broker {
	t.Helper()
	topic.Partitions = 1
	return broker.StartForTest(t, broker.Options{
		Topics: map[string]broker.Topic{fetchTopic: topic},
		Extra:  []kfake.Opt{kfake.Ports(make([]int, nodes)...)},
	})
}

func fetchReader(t *testing.T, b *broker.Broker, edit func(*fetch.Config)) *fetch.Reader {
	t.Helper()
	cfg := fetch.Config{Brokers: b.Cluster().ListenAddrs(), Dialer: &kafka.Dialer{ClientID: "test"}, Topic: fetchTopic, MaxWait: 50 * time.Millisecond}
	if edit != nil {
		edit(&cfg)
	}
	r := fetch.NewReader(cfg)
	t.Cleanup(func() { _ = r.Close() }) // its connection may be gone
	return r
}

func fetchClient(t *testing.T, b *broker.Broker, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	options = append(options, kgo.SeedBrokers(b.Cluster().ListenAddrs()...), kgo.DefaultProduceTopic(fetchTopic))
	c, err := kgo.NewClient(options...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// fetched are records as they were read, and where reading goes on.
type fetched struct {
	records []fetch.Record
	next    int64
	aborted int
	control int
}

// fetchTo reads from one offset to another.
func fetchTo(t *testing.T, r *fetch.Reader, from, to int64) *fetched {
	t.Helper()
	all := &fetched{next: from}
	for all.next < to {
		fetchOnce(t, r, all)
	}
	require.Equal(t, to, all.next)
	return all
}

func fetchOnce(t *testing.T, r *fetch.Reader, all *fetched) {
	t.Helper()
	answer, err := r.Fetch(t.Context(), all.next)
	require.NoError(t, err)
	all.take(t, answer)
}

func (all *fetched) take(t *testing.T, answer *fetch.Answer) {
	t.Helper()
	defer answer.Release()
	for {
		rec, ok, err := answer.Next(t.Context())
		require.NoError(t, err)
		if !ok {
			break
		}
		all.records = append(all.records, rec)
	}
	all.next = answer.NextOffset()
	all.aborted += answer.AbortedRecords
	all.control += answer.ControlRecords
}

func (all *fetched) values() (values []string) {
	for _, r := range all.records {
		values = append(values, string(r.Value))
	}
	return values
}

// produceValues sends values, each in a batch of its own.
func produceValues(t *testing.T, c *kgo.Client, values ...string) {
	t.Helper()
	for _, v := range values {
		require.NoError(t, c.ProduceSync(t.Context(), &kgo.Record{Key: []byte("key"), Value: []byte(v)}).FirstErr())
	}
}

func TestFetchGivesWhatKafkaGoProduced(t *testing.T) {
	b := fetchBroker(t, 1, broker.Topic{})
	r := fetchReader(t, b, func(c *fetch.Config) { c.MaxBytes = 10_000 }) // so it takes several answers
	from := int64(0)
	for codec := kafka.Compression(0); codec <= kafka.Zstd; codec++ {
		messages := make([]kafka.Message, 500)
		for i := range messages {
			messages[i] = kafka.Message{
				Key: []byte(fmt.Sprint(i)), Value: []byte(strings.Repeat(fmt.Sprint(i, " "), i)),
				Headers: []kafka.Header{{Key: "codec", Value: []byte(codec.String())}},
				Time:    time.UnixMilli(1_700_000_000_000 + int64(i)),
			}
		}
		messages[0].Value, messages[1].Value, messages[1].Key = nil, []byte{}, nil
		w := &kafka.Writer{Addr: kafka.TCP(b.Addr()), Topic: fetchTopic, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond, Compression: codec, Transport: &kafka.Transport{Context: t.Context()}}
		require.NoError(t, w.WriteMessages(t.Context(), messages...))
		require.NoError(t, w.Close())
		w.Transport.(*kafka.Transport).CloseIdleConnections()

		got := fetchTo(t, r, from, from+int64(len(messages)))
		require.Len(t, got.records, len(messages))
		for i, m := range messages {
			require.Equal(t, fetch.Record{
				Offset: from + int64(i), Key: m.Key, Value: m.Value, Timestamp: m.Time,
				Headers: []fetch.Header{{Key: "codec", Value: []byte(codec.String())}},
			}, got.records[i])
		}
		from = got.next
	}
}

func TestFetchGivesWhatFranzGoProduced(t *testing.T) {
	b := fetchBroker(t, 1, broker.Topic{})
	r := fetchReader(t, b, nil)
	from := int64(0)
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		c := fetchClient(t, b, kgo.ProducerBatchCompression(codec))
		var records []*kgo.Record
		var want []string
		for i := range 1000 {
			want = append(want, strings.Repeat(fmt.Sprint(i, " "), i%100))
			records = append(records, &kgo.Record{Value: []byte(want[i])})
		}
		require.NoError(t, c.ProduceSync(t.Context(), records...).FirstErr())
		got := fetchTo(t, r, from, from+int64(len(records)))
		require.Equal(t, want, got.values())
		from = got.next
	}
}

func TestFetchLeavesOutWhatWasAborted(t *testing.T) {
	b := fetchBroker(t, 1, broker.Topic{})
	plain := fetchClient(t, b)
	one := fetchClient(t, b, kgo.TransactionalID("one"))
	two := fetchClient(t, b, kgo.TransactionalID("two"))
	end := func(c *kgo.Client, how kgo.TransactionEndTry) { require.NoError(t, c.EndTransaction(t.Context(), how)) }

	require.NoError(t, one.BeginTransaction())
	require.NoError(t, two.BeginTransaction())
	produceValues(t, one, "x", "x")
	produceValues(t, two, "a")
	produceValues(t, plain, "b")
	produceValues(t, one, "x")
	end(one, kgo.TryAbort)
	produceValues(t, two, "c")
	end(two, kgo.TryCommit)
	require.NoError(t, one.BeginTransaction())
	produceValues(t, one, "d")
	end(one, kgo.TryCommit)

	_, last, err := fetchReader(t, b, nil).Offsets(t.Context())
	require.NoError(t, err)
	got := fetchTo(t, fetchReader(t, b, nil), 0, last)
	require.Equal(t, []string{"a", "b", "c", "d"}, got.values())
	require.Equal(t, 3, got.aborted)
	require.Equal(t, 3, got.control)

	// What is in an open transaction isn't there yet.
	require.NoError(t, one.BeginTransaction())
	produceValues(t, one, "later")
	open := fetched{next: last}
	r := fetchReader(t, b, nil)
	fetchOnce(t, r, &open)
	require.Equal(t, fetched{next: last}, open)
	end(one, kgo.TryCommit)
	require.Equal(t, []string{"later"}, fetchTo(t, r, last, last+2).values())
}

func TestFetchPassesCompactedOffsets(t *testing.T) {
	b := fetchBroker(t, 1, broker.Topic{Configs: map[string]string{"cleanup.policy": "compact"}})
	c := fetchClient(t, b)
	produceValues(t, c, "old", "older", "kept")
	b.Cluster().Compact()
	produceValues(t, c, "last")
	r := fetchReader(t, b, nil)
	first, _, err := r.Offsets(t.Context())
	require.NoError(t, err)
	got := fetchTo(t, r, first, 4)
	require.Equal(t, "last", got.values()[len(got.records)-1])
	require.Contains(t, got.values(), "kept")
}

func TestFetchOutOfRange(t *testing.T) {
	b := fetchBroker(t, 1, broker.Topic{})
	produceValues(t, fetchClient(t, b), "a", "b", "c", "d")
	require.NoError(t, b.Cluster().DeleteRecords(fetchTopic, 0, 2))
	r := fetchReader(t, b, nil)
	for _, offset := range []int64{0, 1, 5, 1 << 40} {
		_, err := r.Fetch(t.Context(), offset)
		var out *fetch.OffsetOutOfRangeError
		require.ErrorAs(t, err, &out)
		require.Equal(t, fetch.OffsetOutOfRangeError{Topic: fetchTopic, Offset: offset, First: 2, End: 4}, *out)
	}
	first, end, err := r.Offsets(t.Context())
	require.NoError(t, err)
	require.Equal(t, [2]int64{2, 4}, [2]int64{first, end})
	require.Equal(t, []string{"c", "d"}, fetchTo(t, r, 2, 4).values())
	atTheEnd := fetched{next: 4}
	fetchOnce(t, r, &atTheEnd)
	require.Equal(t, fetched{next: 4}, atTheEnd)
}

func TestFetchFollowsTheLeader(t *testing.T) {
	b := fetchBroker(t, 3, broker.Topic{})
	c := fetchClient(t, b)
	r := fetchReader(t, b, nil)
	var all fetched
	for round := range int32(6) {
		produceValues(t, c, fmt.Sprint(round))
		for tries := 0; all.next <= int64(round); tries++ {
			answer, err := r.Fetch(t.Context(), all.next)
			if err == nil {
				all.take(t, answer)
			}
			require.Less(t, tries, 100, "%v", err) // the connection to the old leader is given up first
		}
		require.NoError(t, b.Cluster().MoveTopicPartition(fetchTopic, 0, round%3))
	}
	require.Equal(t, []string{"0", "1", "2", "3", "4", "5"}, all.values())
}

func TestFetchGoesOnAfterALostConnection(t *testing.T) {
	b := fetchBroker(t, 1, broker.Topic{})
	var want []string
	for i := range 50 {
		want = append(want, strings.Repeat(fmt.Sprint(i), 1000))
	}
	produceValues(t, fetchClient(t, b), want...)
	for cutAfter := 0; cutAfter < 30_000; cutAfter += 997 {
		cutting := &cuttingDialer{after: cutAfter}
		r := fetchReader(t, b, func(c *fetch.Config) {
			c.Dialer.DialFunc = cutting.dial
			c.MaxBytes = 20_000
		})
		var all fetched
		for all.next < int64(len(want)) {
			answer, err := r.Fetch(t.Context(), all.next)
			if err == nil {
				all.take(t, answer)
			}
		}
		require.Equal(t, want, all.values())
	}
}

// cuttingDialer cuts its first connection after so many bytes were read from it.
type cuttingDialer struct{ after int }

func (d *cuttingDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil || d.after < 0 {
		return c, err
	}
	after := d.after
	d.after = -1
	return &cutConn{Conn: c, left: after}, nil
}

type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		_ = c.Close() // what comes next says so
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func TestFetchIsInterruptedByCancel(t *testing.T) {
	b := fetchBroker(t, 1, broker.Topic{})
	r := fetchReader(t, b, func(c *fetch.Config) { c.MaxWait = time.Hour })
	ctx, cancel := context.WithCancel(t.Context())
	waiting := b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Observe: true, Count: -1, When: func(kmsg.Request) bool {
		cancel()
		return true
	}})
	defer waiting.Remove()
	_, err := r.Fetch(ctx, 0)
	require.ErrorIs(t, err, context.Canceled)
}

func TestFetchWakesUpForANewRecord(t *testing.T) {
	b := fetchBroker(t, 1, broker.Topic{})
	c := fetchClient(t, b)
	r := fetchReader(t, b, func(c *fetch.Config) { c.MaxWait = time.Hour })
	c.Produce(t.Context(), &kgo.Record{Value: []byte("a")}, nil)
	require.Equal(t, []string{"a"}, fetchTo(t, r, 0, 1).values())
}

func TestFetchLogsInOverTLS(t *testing.T) {
	certificate, roots := selfSigned(t)
	b := broker.StartForTest(t, broker.Options{Extra: []kfake.Opt{
		kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "worker", "secret"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}),
		kfake.SeedTopics(1, fetchTopic),
	}})
	reader := func(password string, secure *tls.Config) *fetch.Reader {
		return fetchReader(t, b, func(c *fetch.Config) {
			mechanism, err := scram.Mechanism(scram.SHA512, "worker", password)
			require.NoError(t, err)
			c.Dialer.SASLMechanism, c.Dialer.DialFunc = mechanism, (&tls.Dialer{Config: secure}).DialContext
		})
	}
	first, end, err := reader("secret", &tls.Config{RootCAs: roots}).Offsets(t.Context())
	require.NoError(t, err)
	require.Equal(t, [2]int64{0, 0}, [2]int64{first, end})
	_, err = reader("secret", &tls.Config{RootCAs: roots}).Fetch(t.Context(), 0)
	require.NoError(t, err)

	_, err = reader("wrong", &tls.Config{RootCAs: roots}).Fetch(t.Context(), 0)
	require.ErrorContains(t, err, "SCRAM-SHA-512")
	require.NotContains(t, err.Error(), "wrong")
	_, err = reader("secret", &tls.Config{}).Fetch(t.Context(), 0)
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
}

// selfSigned makes a certificate for loopback.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
