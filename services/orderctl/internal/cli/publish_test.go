package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/orderctl/internal/publish/publishtest"
)

func orders(partitions int) *publishtest.Brokers {
	return &publishtest.Brokers{Topic: "orders", Partitions: partitions}
}

func sample(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", name))
	require.NoError(t, err)
	return string(b)
}

func TestPublishPrintsTheUidsOfWhatIsThere(t *testing.T) {
	brokers := orders(3)
	got := orderctlWith(t.Context(), t, brokers, "", "publish", "--count", "50")
	require.Equal(t, exitDone, got.code, got.stderr)
	uids := strings.Fields(got.stdout)
	require.Len(t, uids, 50)
	var keys []string
	for _, r := range brokers.All() {
		keys = append(keys, string(r.Key))
	}
	require.ElementsMatch(t, keys, uids)
	require.Regexp(t, `^published 50 records in [^:]+ to orders\n$`, got.stderr)
}

func TestPublishJSONNamesPartitionOffsetAndKind(t *testing.T) {
	brokers := orders(3)
	got := orderctlWith(t.Context(), t, brokers, "", "publish", "--output", "json", "--count", "200",
		"--invalid", "0.4", "--duplicates", "0.1", "--conflicts", "0.1", "--seed", "5")
	require.Equal(t, exitDone, got.code, got.stderr)
	kinds := map[string]int{}
	decoder := json.NewDecoder(strings.NewReader(got.stdout))
	for decoder.More() {
		var line recordInfo
		require.NoError(t, decoder.Decode(&line))
		kinds[line.Kind]++
		record := brokers.Log(line.Partition)[line.Offset]
		require.Equal(t, line.Kind == "invalid", line.Fault != "")
		if line.UID != "" {
			require.Contains(t, string(record.Value), line.UID)
		}
	}
	require.Equal(t, map[string]int{"order": 80, "invalid": 80, "duplicate": 20, "conflict": 20}, kinds)
	require.Contains(t, got.stderr, "80 orders, 80 invalid records, 20 duplicates, 20 conflicts")
}

func TestPublishTextLeavesOutRecordsWithoutUid(t *testing.T) {
	got := orderctlWith(t.Context(), t, orders(1), "", "publish", "--count", "4", "--invalid", "1", "--faults", "tombstone,bad_email")
	require.Equal(t, exitDone, got.code, got.stderr)
	require.Len(t, strings.Fields(got.stdout), 2)
}

func TestPublishSameSeedSameBytes(t *testing.T) {
	args := []string{"publish", "--count", "100", "--seed", "9", "--invalid", "0.2", "--items", "2-3", "--quiet"}
	first, second, other := orders(2), orders(2), orders(2)
	require.Empty(t, orderctlWith(t.Context(), t, first, "", args...).stdout)
	orderctlWith(t.Context(), t, second, "", args...)
	args[4] = "10"
	orderctlWith(t.Context(), t, other, "", args...)
	values := func(b *publishtest.Brokers) (all []string) { // where records without key go is left to chance
		for _, r := range b.All() {
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
				brokers := orders(1)
				got := orderctlWith(t.Context(), t, brokers, input, append([]string{"publish"}, args...)...)
				require.Equal(t, exitDone, got.code, got.stderr)
				require.Equal(t, "b563feb7b2b84b6test\norder1001test\n", got.stdout)
				log := brokers.Log(0)
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
	brokers := orders(1)
	got := orderctlWith(t.Context(), t, brokers, input, "publish", "--file", "-")
	require.Equal(t, exitFailed, got.code)
	require.Empty(t, got.stdout)
	require.Equal(t, `stdin:81:15: items[0].sale: must be at most 100 [max]
orderctl publish: stdin: 2 orders, 1 invalid (1 failure): nothing was sent; --no-validate sends them all as they are
`, got.stderr)
	require.Empty(t, brokers.All())

	got = orderctlWith(t.Context(), t, brokers, input, "publish", "--file", "-", "--no-validate")
	require.Equal(t, exitDone, got.code)
	require.Len(t, brokers.All(), 2)
}

func TestPublishBoundsTheFailuresItShows(t *testing.T) {
	got := orderctlWith(t.Context(), t, orders(1), strings.Repeat("{}\n", 100), "publish", "--file", "-")
	require.Equal(t, exitFailed, got.code)
	require.Equal(t, maxShownFailures+2, strings.Count(got.stderr, "\n"))
	require.Contains(t, got.stderr, "'orderctl validate -' shows all")
}

func TestPublishBrokenLineAsItIs(t *testing.T) {
	brokers := orders(1)
	got := orderctlWith(t.Context(), t, brokers, "{\"order_uid\": \"a\",\n{ \"order_uid\": \"b\" }\n", "publish", "--file", "-", "--no-validate")
	require.Equal(t, exitDone, got.code)
	require.Equal(t, "b\n", got.stdout)
	for i, want := range []string{`{"order_uid": "a"`, `{"order_uid":"b"}`} {
		require.Equal(t, want, string(brokers.Log(0)[i].Value))
	}
}

func TestPublishNothing(t *testing.T) {
	got := orderctlWith(t.Context(), t, orders(1), " \n", "publish", "--file", "-")
	require.Equal(t, exitNothing, got.code)
	got = orderctlWith(t.Context(), t, orders(1), "", "publish", "--file", filepath.Join(t.TempDir(), "absent"))
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "no such file")
}

func TestPublishWithoutTopic(t *testing.T) {
	got := orderctlWith(t.Context(), t, orders(1), "", "publish", "--topic", "elsewhere")
	require.Equal(t, exitFailed, got.code)
	require.Equal(t, "orderctl publish: topic elsewhere does not exist: start the worker, which creates it, or run 'orderctl topics'\n", got.stderr)
}

func TestPublishTellsOfRefusedRecords(t *testing.T) {
	brokers := orders(1)
	brokers.OnProduce = func(_ context.Context, _ int, batch []publishtest.Record) error {
		for _, r := range batch {
			if string(r.Key) == "order1001test" {
				return kafka.MessageSizeTooLarge
			}
		}
		return nil
	}
	got := orderctlWith(t.Context(), t, brokers, sample(t, "model.json")+sample(t, "order1001test.json"), "publish", "--file", "-")
	require.Equal(t, exitFailed, got.code)
	require.Equal(t, "b563feb7b2b84b6test\n", got.stdout)
	require.Contains(t, got.stderr, "the broker refuses order order1001test")
	require.Contains(t, got.stderr, "1 refused by the broker")
}

func TestPublishInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	brokers := orders(1)
	brokers.OnProduce = func(context.Context, int, []publishtest.Record) error {
		stop()
		return nil
	}
	got := orderctlWith(ctx, t, brokers, "", "publish", "--count", "1000000", "--items", "1")
	require.Equal(t, exitInterrupted, got.code)
	require.Regexp(t, `^interrupted: published \d+ records in .* to orders\n$`, got.stderr)
	require.Len(t, strings.Fields(got.stdout), len(brokers.All()))
}

// full is a stdout that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestPublishStopsWhenTheUidsCannotBeWritten(t *testing.T) {
	isolate(t)
	brokers := orders(1)
	var stderr bytes.Buffer
	a := newApp(nil, full{}, &stderr)
	a.connect = played(brokers)
	require.Equal(t, exitFailed, a.run(t.Context(), []string{"publish", "--count", "1000000", "--items", "1"}))
	require.Contains(t, stderr.String(), "write to stdout: no space left")
	require.Less(t, len(brokers.All()), 1_000_000)
}
