package integration

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
)

// A topic was made anew with fewer partitions, and another was renamed: the letters of
// both can be sent on, and their redrives are counted and stopped as before.
func TestRedriveToAnotherTarget(t *testing.T) {
	w := newWorld(t)
	log := filepath.Join(t.TempDir(), "audit.jsonl")
	t.Setenv("ORDERHUB_AUDIT_FILE", log)
	t.Setenv("KAFKA_TOPIC", "orders.v2")
	require.NoError(t, w.broker.CreateTopics(t.Context(), map[string]broker.Topic{"orders.v2": {Partitions: 2}, "one": {Partitions: 1}}))
	gone := w.fail(&kgo.Record{Topic: "one", Partition: 3, Offset: 5, Key: []byte("a"), Value: sampleOrder(t, "a")}, "invalid")
	renamed := w.fail(&kgo.Record{Topic: "absent", Partition: 0, Offset: 6, Key: []byte("b"), Value: sampleOrder(t, "b")}, "invalid")
	often := w.fail(&kgo.Record{Topic: "absent", Offset: 7, Value: []byte("{"), Headers: []kgo.RecordHeader{{Key: "dlq-redrive-count", Value: []byte("3")}}}, "invalid")

	for _, dry := range []string{"--dry-run", "--yes"} {
		got := w.orderctl("dlq", "redrive", "--all", dry)
		require.Equal(t, 1, got.code)
		said := got.stdout + got.stderr
		require.Contains(t, said, "the source's partition does not exist any more: send it elsewhere with --to-topic, --to-partition or --by-key")
		require.Contains(t, said, "topic absent does not exist any more: send it elsewhere with --to-topic")
		require.Contains(t, said, "was redriven too often")
	}
	require.Len(t, w.refs(letter.Open), 3)

	for flags, want := range map[string]string{
		"--to-topic orders.dlq": "is a topic of dead letters", "--to-topic nowhere": "topic nowhere does not exist",
		"--to-topic one --to-partition 7": "topic one has no partition 7", "--to-partition 1 --by-key": "one of them", "--to-partition -2": "--to-partition",
	} {
		got := w.orderctl(append([]string{"dlq", "redrive", "--all", "--yes"}, strings.Fields(flags)...)...)
		require.Equal(t, 2, got.code, flags)
		require.Contains(t, got.stderr, want, flags)
	}

	got := w.orderctl("dlq", "redrive", "--all", "--to-topic", "orders.v2", "--dry-run")
	require.Contains(t, got.stdout, gone+"  pass\n")
	require.Contains(t, got.stdout, renamed+"  pass\n")
	require.Equal(t, 0, w.orderctl("dlq", "redrive", gone, "--by-key", "--actor", "ann").code)
	got = w.orderctl("dlq", "redrive", "--all", "--to-topic", "orders.v2", "--to-partition", "1", "--yes")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stdout, renamed+" -> orders.v2/1/0\n")
	require.Contains(t, got.stderr, often+" was redriven too often")

	require.Equal(t, "dlq-redrive-count=1 dlq-origin="+gone+" ", headersOf(w.read("one")[0][0]))
	require.Equal(t, "dlq-redrive-count=1 dlq-origin="+renamed+" ", headersOf(w.read("orders.v2")[1][0]))
	require.Contains(t, w.orderctl("dlq", "show", renamed).stdout, "as orders.v2/1/0")
	audited, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(audited), `"action":"redrive to the source's topic, partition by key","targets":["`+gone+`"],"allowed":true,"actor":"ann"`)
	require.Contains(t, string(audited), "redrive to topic orders.v2, partition 1")
}

// Letters that name the topic alone go there by their key; those that name nothing need
// a topic.
func TestRedriveOfLettersWithoutAPlace(t *testing.T) {
	w := newWorld(t)
	t.Setenv("ORDERHUB_AUDIT_FILE", filepath.Join(t.TempDir(), "audit.jsonl"))
	require.NoError(t, w.broker.CreateTopics(t.Context(), map[string]broker.Topic{"shop.errors": {Partitions: 1}}))
	header := func(name, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: name, Value: []byte(value)} }
	w.produce(
		&kgo.Record{Topic: "shop.errors", Key: []byte("a"), Value: sampleOrder(t, "a"), Headers: []kgo.RecordHeader{header("original_topic", orders), header("error", "timeout"), header("traceparent", "00-1")}},
		&kgo.Record{Topic: "shop.errors", Key: []byte("b"), Value: sampleOrder(t, "b"), Headers: []kgo.RecordHeader{header("traceparent", "00-2")}})
	got := w.orderctl("dlq", "redrive", "--foreign", "shop.errors", "--all", "--yes")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stdout, " -> orders/")
	require.Contains(t, got.stderr, "its headers do not say where it came from: name a topic with --to-topic")
	require.Equal(t, 0, w.orderctl("dlq", "redrive", "--foreign", "shop.errors", "--all", "--to-topic", orders, "--yes").code)
	sent := ""
	for _, records := range w.read(orders) {
		for _, r := range records {
			sent += string(r.Key) + ": " + headersOf(r) + "\n"
		}
	}
	require.Contains(t, sent, "a: traceparent=00-1 dlq-redrive-count=1 dlq-origin=shop.errors/0/0/")
	require.Contains(t, sent, "b: traceparent=00-2 dlq-redrive-count=1 dlq-origin=shop.errors/0/1/")
}

func TestConsoleRedrivesToAnotherTarget(t *testing.T) {
	c := newConsole(t, nil)
	require.NoError(t, c.broker.CreateTopics(t.Context(), map[string]broker.Topic{"orders.v2": {Partitions: 1}}))
	id := c.failing(2, "good", sampleOrder(t, "good"), time.Hour)
	c.person().page("/letters", "1 letter")
	p := c.signedIn()
	_, body := p.get("/confirm?kind=redrive&letter=" + url.QueryEscape(id))
	require.Contains(t, body, `name="to-topic"`)

	form := url.Values{"kind": {"dry-run"}, "letter": {id}, "to-topic": {"orders.v2"}}
	_, body = p.send("/jobs/dry-run", form)
	require.Contains(t, shown(body), "can’t be told 1", "the worker does not read that topic")
	form.Set("kind", "redrive")
	form.Set("to-topic", dlqTopic)
	status, body := p.send("/jobs", form)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, shown(body), "is a topic of dead letters")
	form.Set("to-topic", "orders.v2")
	form.Set("to-partition", "0")
	_, body = p.send("/jobs", form)
	require.Contains(t, shown(body), "Redriven: 1 of 1")
	require.Len(t, c.read("orders.v2")[0], 1)
	_, body = p.get("/audit")
	require.Contains(t, shown(body), "ann redrive: one letter, to topic orders.v2, partition 0 (1 letter)")
}
