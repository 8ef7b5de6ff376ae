package integration

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/cli"
)

// result is what a run of orderctl left behind.
type result struct {
	code           int
	stdout, stderr string
}

// orderctl runs a command on the world's broker.
func (w *world) orderctl(args ...string) result { return w.orderctlTyping("", args...) }

func (w *world) orderctlTyping(stdin string, args ...string) result {
	w.t.Helper()
	w.t.Setenv("KAFKA_BROKERS", w.broker.Addr())
	var stdout, stderr bytes.Buffer
	code := cli.Main(args, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

func TestDLQList(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(3)
	w.discard(1)

	got := w.orderctl("dlq", "list", "--output", "json", "--partition", "1")
	require.Equal(t, 0, got.code, got.stderr)
	require.Equal(t, `{"id":"`+ids[7]+`","status":"open","reason":"invalid","stage":"validate","errors":[{"path":"locale","rule":"bcp47","message":"must be a language"}],"key":"*******","failed_at":"2023-11-14T22:13:22Z","redrive_count":0,"size":12}`,
		strings.Split(got.stdout, "\n")[0])

	got = w.orderctl("dlq", "list", "--status", "any", "--limit", "2")
	require.Equal(t, 3, strings.Count(got.stdout, "\n"), "a head and two letters")
	require.Equal(t, "2 of 9 letters; --limit 0 lists all\n", got.stderr)
	require.Equal(t, 1, strings.Count(w.orderctl("dlq", "list", "--status", "resolved", "--output", "json").stdout, "\n"))

	got = w.orderctl("dlq", "list", "--reason", "conflict")
	require.Equal(t, result{3, "", "no letter matches\n"}, got)
	for _, wrong := range [][]string{{"--status", "closed"}, {"--limit", "-1"}, {"--since", "soon"}, {"--offsets", "a-b"}, {"--dlq-topic", "a/b"}} {
		got := w.orderctl(append([]string{"dlq", "list"}, wrong...)...)
		require.Equal(t, 2, got.code, wrong)
		require.Contains(t, got.stderr, wrong[0])
	}
}

func TestDLQStats(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(2)
	w.fail(&kgo.Record{Topic: orders, Offset: 50, Value: []byte("{")}, "not_json")
	require.Equal(t, 0, w.orderctl("dlq", "discard", ids[5], "--why", "x").code)
	got := w.orderctl("dlq", "stats", "--output", "json")
	require.Equal(t, 0, got.code, got.stderr)
	var stats struct {
		Open, Resolved int
		ByReason       map[string]int `json:"by_reason"`
		Causes         []struct{ Reason, Sample string }
	}
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &stats))
	require.Equal(t, []int{6, 1}, []int{stats.Open, stats.Resolved})
	require.Equal(t, map[string]int{"invalid": 6, "not_json": 1}, stats.ByReason)
	require.Contains(t, ids, stats.Causes[0].Sample)
	require.True(t, strings.HasPrefix(got.stdout, `{"open":6,"resolved":1,"by_reason":{`))

	w.produce(&kgo.Record{Topic: dlqTopic, Key: []byte("gone/0/1/00000000/resolution"), Value: []byte("{}"), Headers: []kgo.RecordHeader{{Key: "dlq-resolution", Value: []byte("discarded")}}})
	got = w.orderctl("dlq", "stats")
	require.Contains(t, got.stderr, "1 resolution without a letter")
	require.Contains(t, got.stdout, "6 open, 1 resolved")
}

func TestDLQShow(t *testing.T) {
	w := newWorld(t)
	value, err := os.ReadFile("../testdata/model.json")
	require.NoError(t, err)
	value = bytes.Replace(value, []byte(`"en"`), []byte(`"english"`), 1)
	id := w.fail(&kgo.Record{Topic: orders, Partition: 2, Offset: 4, Value: value}, "invalid", model.FieldError{Path: "locale", Rule: "bcp47", Message: "must be a language"})
	got := w.orderctl("dlq", "show", "orders/2/4")
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stdout, id)
	require.Contains(t, got.stdout, "    \"locale\": \"english\",\n              ^ must be a language [bcp47]\n")
	require.NotContains(t, got.stdout, "Testov")

	log := filepath.Join(t.TempDir(), "audit.jsonl")
	t.Setenv("ORDERHUB_AUDIT_FILE", log)
	got = w.orderctl("dlq", "show", id, "--reveal", "--actor", "ann", "--output", "json")
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stdout, "Testov")
	audited, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(audited), `"action":"reveal","targets":["`+id+`"],"allowed":true,"actor":"ann","kind":"user"`)
	t.Setenv("ORDERHUB_AUDIT_FILE", filepath.Join(log, "no folder"))
	got = w.orderctl("dlq", "show", id, "--reveal")
	require.Equal(t, 1, got.code)
	require.Empty(t, got.stdout, "nothing is revealed that is not written down")

	require.Equal(t, 3, w.orderctl("dlq", "show", "orders/0/99").code)
	require.Equal(t, 2, w.orderctl("dlq", "show").code)
	broken := w.fail(&kgo.Record{Topic: orders, Offset: 5, Value: []byte(`{"order_uid": nope}`)}, "not_json", model.FieldError{Rule: "not_json", Message: "is not JSON"})
	require.Contains(t, w.orderctl("dlq", "show", broken).stdout, "  {\"order_uid\": ****}\n                ^ byte 14")
	w.fail(&kgo.Record{Topic: orders, Offset: 5, Value: []byte(`again`)}, "not_json")
	got = w.orderctl("dlq", "show", "orders/0/5")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "8 hex digits")
}

func TestDLQFaults(t *testing.T) {
	w := newWorld(t)
	got := w.orderctl("dlq", "list", "--dlq-topic", "absent")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "topic absent: the topic does not exist: start the worker")
	got = w.orderctl("dlq", "list", "--brokers", "127.0.0.1:1")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "cannot reach Kafka at 127.0.0.1:1")
	require.Equal(t, 2, w.orderctl("dlq", "frobnicate").code)
	require.Equal(t, 2, w.orderctl("dlq").code)
}
