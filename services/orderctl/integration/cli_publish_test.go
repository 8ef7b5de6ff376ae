package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/services/orderctl/internal/cli"
)

// publishing runs orderctl until it ends or the context does.
func (w *world) publishing(ctx context.Context, stdin string, args ...string) result {
	w.t.Helper()
	w.t.Setenv("KAFKA_BROKERS", w.broker.Addr())
	var stdout, stderr bytes.Buffer
	code := cli.Run(ctx, args, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// everything are the records of all partitions.
func (w *world) everything() (all []*kgo.Record) {
	for _, log := range w.read(orders) {
		all = append(all, log...)
	}
	return all
}

func sample(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name))
	require.NoError(t, err)
	return string(b)
}

func TestPublishPrintsTheUidsOfWhatIsThere(t *testing.T) {
	brokers := newOrders(t, 3, 0)
	got := brokers.publishing(t.Context(), "", "publish", "--count", "50")
	require.Equal(t, errs.ExitDone, got.code, got.stderr)
	uids := strings.Fields(got.stdout)
	require.Len(t, uids, 50)
	var keys []string
	for _, r := range brokers.everything() {
		keys = append(keys, string(r.Key))
	}
	require.ElementsMatch(t, keys, uids)
	require.Regexp(t, `^published 50 records in [^:]+ to orders\n$`, got.stderr)
}

func TestPublishJSONNamesPartitionOffsetAndKind(t *testing.T) {
	brokers := newOrders(t, 3, 0)
	got := brokers.publishing(t.Context(), "", "publish", "--output", "json", "--count", "200",
		"--invalid", "0.4", "--duplicates", "0.1", "--conflicts", "0.1", "--seed", "5")
	require.Equal(t, errs.ExitDone, got.code, got.stderr)
	kinds := map[string]int{}
	decoder := json.NewDecoder(strings.NewReader(got.stdout))
	for decoder.More() {
		var line struct {
			UID       string `json:"order_uid"`
			Partition int32  `json:"partition"`
			Offset    int64  `json:"offset"`
			Kind      string `json:"kind"`
			Fault     string `json:"fault"`
		}
		require.NoError(t, decoder.Decode(&line))
		kinds[line.Kind]++
		record := brokers.log(line.Partition)[line.Offset]
		require.Equal(t, line.Kind == "invalid", line.Fault != "")
		if line.UID != "" {
			require.Contains(t, string(record.Value), line.UID)
		}
	}
	require.Equal(t, map[string]int{"order": 80, "invalid": 80, "duplicate": 20, "conflict": 20}, kinds)
	require.Contains(t, got.stderr, "80 orders, 80 invalid records, 20 duplicates, 20 conflicts")
}

func TestPublishTextLeavesOutRecordsWithoutUid(t *testing.T) {
	got := newOrders(t, 1, 0).publishing(t.Context(), "", "publish", "--count", "4", "--invalid", "1", "--faults", "tombstone,bad_email")
	require.Equal(t, errs.ExitDone, got.code, got.stderr)
	require.Len(t, strings.Fields(got.stdout), 2)
}

func TestPublishSameSeedSameBytes(t *testing.T) {
	args := []string{"publish", "--count", "100", "--seed", "9", "--invalid", "0.2", "--items", "2-3", "--quiet"}
	first, second, other := newOrders(t, 2, 0), newOrders(t, 2, 0), newOrders(t, 2, 0)
	require.Empty(t, first.publishing(t.Context(), "", args...).stdout)
	second.publishing(t.Context(), "", args...)
	args[4] = "10"
	other.publishing(t.Context(), "", args...)
	values := func(w *world) (all []string) { // where records without key go is left to chance
		for _, r := range w.everything() {
			all = append(all, string(r.Value))
		}
		return all
	}
	require.ElementsMatch(t, values(first), values(second))
	require.NotSubset(t, values(first), values(other))
}

func TestPublishFile(t *testing.T) {
	compact := func(s string) string {
		var b bytes.Buffer
		require.NoError(t, json.Compact(&b, []byte(s)))
		return b.String()
	}
	one, two := sample(t, "model.json"), sample(t, "order1001test.json")
	for name, input := range map[string]string{
		"JSON lines":           compact(one) + "\n" + compact(two) + "\n",
		"pretty, concatenated": one + two,
		"an array":             "[" + compact(one) + "," + compact(two) + "]",
		"an array, pretty":     "[\n" + one + ",\n" + two + "]\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "orders.json")
			require.NoError(t, os.WriteFile(path, []byte(input), 0o600))
			for _, args := range [][]string{{"--file", path}, {"--file", "-"}, {"--file", "-", "--no-validate"}} {
				brokers := newOrders(t, 1, 0)
				got := brokers.publishing(t.Context(), input, append([]string{"publish"}, args...)...)
				require.Equal(t, errs.ExitDone, got.code, got.stderr)
				require.Equal(t, "b563feb7b2b84b6test\norder1001test\n", got.stdout)
				log := brokers.log(0)
				require.Len(t, log, 2)
				require.Equal(t, compact(one), string(log[0].Value))
				require.Equal(t, compact(two), string(log[1].Value))
				require.Equal(t, "order1001test", string(log[1].Key))
			}
		})
	}
}

func TestPublishRefusesAFileWithAnInvalidOrder(t *testing.T) {
	input := sample(t, "model.json") + strings.Replace(sample(t, "order1001test.json"), `"sale": 30`, `"sale": 300`, 1)
	brokers := newOrders(t, 1, 0)
	got := brokers.publishing(t.Context(), input, "publish", "--file", "-")
	require.Equal(t, errs.ExitFailed, got.code)
	require.Empty(t, got.stdout)
	require.Equal(t, `stdin:81:15: items[0].sale: must be at most 100 [max]
orderctl publish: stdin: 2 orders, 1 invalid (1 failure): nothing was sent; --no-validate sends them all as they are
`, got.stderr)
	require.Empty(t, brokers.everything())

	got = brokers.publishing(t.Context(), input, "publish", "--file", "-", "--no-validate")
	require.Equal(t, errs.ExitDone, got.code)
	require.Len(t, brokers.everything(), 2)
}

func TestPublishBoundsTheFailuresItShows(t *testing.T) {
	got := newOrders(t, 1, 0).publishing(t.Context(), strings.Repeat("{}\n", 100), "publish", "--file", "-")
	require.Equal(t, errs.ExitFailed, got.code)
	require.Equal(t, 22, strings.Count(got.stderr, "\n"))
	require.Contains(t, got.stderr, "'orderctl validate -' shows all")
}

func TestPublishBrokenLineAsItIs(t *testing.T) {
	brokers := newOrders(t, 1, 0)
	got := brokers.publishing(t.Context(), "{\"order_uid\": \"a\",\n{ \"order_uid\": \"b\" }\n", "publish", "--file", "-", "--no-validate")
	require.Equal(t, errs.ExitDone, got.code)
	require.Equal(t, "b\n", got.stdout)
	for i, want := range []string{`{"order_uid": "a"`, `{"order_uid":"b"}`} {
		require.Equal(t, want, string(brokers.log(0)[i].Value))
	}
}

func TestPublishNothing(t *testing.T) {
	got := newOrders(t, 1, 0).publishing(t.Context(), " \n", "publish", "--file", "-")
	require.Equal(t, errs.ExitNothing, got.code)
	got = newOrders(t, 1, 0).publishing(t.Context(), "", "publish", "--file", filepath.Join(t.TempDir(), "absent"))
	require.Equal(t, errs.ExitFailed, got.code)
	require.Contains(t, got.stderr, "no such file")
}

func TestPublishWithoutTopic(t *testing.T) {
	got := newOrders(t, 1, 0).publishing(t.Context(), "", "publish", "--topic", "elsewhere")
	require.Equal(t, errs.ExitFailed, got.code)
	require.Equal(t, "orderctl publish: topic elsewhere: the topic does not exist: start the worker, which creates the topics, or run 'orderctl topics', or name others with KAFKA_TOPIC, KAFKA_DLQ_TOPIC\n", got.stderr)
}

func TestPublishTellsOfRefusedRecords(t *testing.T) {
	brokers := newOrders(t, 1, 2000)
	large := strings.Replace(sample(t, "order1001test.json"), `"entry"`, `"note": "`+strings.Repeat("x", 3000)+`", "entry"`, 1)
	got := brokers.publishing(t.Context(), sample(t, "model.json")+large, "publish", "--file", "-")
	require.Equal(t, errs.ExitFailed, got.code)
	require.Equal(t, "b563feb7b2b84b6test\n", got.stdout)
	require.Contains(t, got.stderr, "Kafka refuses order order1001test")
	require.Contains(t, got.stderr, "1 refused by Kafka")
}

func TestPublishInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	brokers := newOrders(t, 1, 0)
	brokers.onProduce(func() *kerr.Error { stop(); return nil })
	got := brokers.publishing(ctx, "", "publish", "--count", "1000000", "--items", "1")
	require.Equal(t, errs.ExitInterrupted, got.code)
	require.Regexp(t, `^interrupted: published \d+ records in .* to orders\n$`, got.stderr)
	require.Len(t, strings.Fields(got.stdout), len(brokers.everything()))
}

// full is a stdout that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestPublishStopsWhenTheUidsCannotBeWritten(t *testing.T) {
	brokers := newOrders(t, 1, 0)
	t.Setenv("KAFKA_BROKERS", brokers.broker.Addr())
	var stderr bytes.Buffer
	require.Equal(t, errs.ExitFailed, cli.Run(t.Context(), []string{"publish", "--count", "1000000", "--items", "1"}, strings.NewReader(""), full{}, &stderr))
	require.Contains(t, stderr.String(), "write to stdout: no space left")
	require.Less(t, len(brokers.everything()), 1_000_000)
}
