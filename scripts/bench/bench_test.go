package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/binaries"
)

// TestSmoke has each benchmark measure what takes seconds, and print its tables. Of
// the documents' tables each is written by one of them, as make runs it, and those of
// docs/benchmarks.md are by those that `make bench` runs.
func TestSmoke(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts databases and brokers")
	}
	// Without the race detector even where this test has it: the programs are tested.
	folder := t.TempDir()
	require.NoError(t, binaries.Build(folder, "./scripts/bench"))
	var mu sync.Mutex
	writtenBy := map[string]string{} // the benchmark, by section
	skipped := false
	t.Cleanup(func() {
		if !t.Failed() && !skipped {
			compareDocuments(t, writtenBy)
		}
	})
	for name, words := range map[string][]string{
		"ingest":    {"| ingest-worker ", "rate: "},
		"read":      {"| hits (200) ", "| not modified (304), browser with a cookie ", "| not found (404), through an ingress ", "hits, CACHE_COMPRESSION=zstd", "while 200 orders/s are ingested"},
		"lists":     {"| newest ", "| customer of half, rare brand, oldest ", "the rate at which PostgreSQL finds orders"},
		"restore":   {"| read-api, CACHE_COMPRESSION=zstd ", "memory, off: "},
		"dlq":       {"orderctl dlq list --reason --path"},
		"nats":      {"| nats-bridge ", "published → readable, idle"},
		"freshness": {"produced → readable idle: p99", "all answers were the cache's own", "cache caught up after, s"},
		"scale":     {"indexes GiB", "| 8 hash partitions ", "| reader of 1 of 8 shards ", "| 1,000,000,000 "},
		"peers":     {"| hand-written: kafka-go and bun ", "NOT MEASURED: Kafka Connect", "conflicting records: exact", "killed (SIGKILL): exact", "database lost for 5 s: exact", "broken records lost without a trace", "changed by SQL is served as it is now", "changed by SQL is still served as it was"},
		"soak":      {"worker, goroutines", "the tables held exactly the orders that were alive"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // no time is looked at, and most of it is waiting
			if _, err := exec.LookPath("wrk"); err != nil && slices.Contains([]string{"read", "lists", "scale", "peers"}, name) {
				mu.Lock()
				defer mu.Unlock()
				skipped = true
				process.SkipForTest(t, "wrk is not installed")
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(folder, "bench"), name, "--smoke", "--bin", folder, "--document", "docs/document.md")
			cmd.Dir = t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(cmd.Dir, "docs"), 0o700))
			output, err := cmd.CombinedOutput()
			require.NoError(t, err, string(output))
			for _, word := range words {
				require.Contains(t, string(output), word)
			}
			written := sections(t, filepath.Join(cmd.Dir, "docs", "document.md"))
			require.NotEmpty(t, written)
			mu.Lock()
			defer mu.Unlock()
			for _, section := range written {
				writtenBy[section] = name
			}
		})
	}
}

var (
	marker = regexp.MustCompile(`<!-- (\S+):begin `)
	number = regexp.MustCompile(`\d+`)
)

// sections are the tables that benchmarks write into a document. Some have a number
// in their name, of orders or of items, which a short run chooses otherwise.
func sections(t *testing.T, document string) (names []string) {
	t.Helper()
	content, err := os.ReadFile(document)
	require.NoError(t, err)
	for _, match := range marker.FindAllSubmatch(content, -1) {
		names = append(names, number.ReplaceAllString(string(match[1]), "N"))
	}
	return names
}

func compareDocuments(t *testing.T, writtenBy map[string]string) {
	t.Helper()
	known := map[string]bool{}
	for document, targets := range map[string][]string{"docs/benchmarks.md": {"bench"}, "docs/scaling.md": {"scale", "soak"}} {
		commands, err := exec.Command("make", append([]string{"-n", "-C", "../.."}, targets...)...).CombinedOutput()
		require.NoError(t, err, string(commands))
		for _, section := range sections(t, filepath.Join("../..", document)) {
			known[section] = true
			require.Contains(t, writtenBy, section, "%s has a table that no benchmark writes", document)
			require.Regexp(t, `(?m)go run \./scripts/bench `+writtenBy[section]+` .*--document `+document+`$`, string(commands), "make %v does not write %s", targets, section)
		}
	}
	for section, name := range writtenBy {
		require.Contains(t, known, section, "no document has the table that %s writes", name)
	}
}

// What was not chosen has its value of a smoke run, in one that asks for that only.
func TestSmokeKeepsWhatWasChosen(t *testing.T) {
	for want, args := range map[int][]string{
		400_000: {"ingest"}, 2000: {"ingest", "--smoke"}, 200: {"ingest", "--smoke", "--orders", "200"},
	} {
		var line commandLine
		_, err := newParser(&line, args).Parse(args)
		require.NoError(t, err)
		require.Equal(t, want, line.Ingest.Orders)
	}
	var line commandLine
	args := []string{"ingest", "--items", "1,30", "--workers=", "--postgres", "search_path=a;b", "--postgres", "fsync=off"}
	_, err := newParser(&line, args).Parse(args)
	require.NoError(t, err)
	require.Equal(t, []int{1, 30}, line.Ingest.Items)
	require.Empty(t, line.Ingest.Workers)
	require.Equal(t, map[string]string{"search_path": "a;b", "fsync": "off"}, line.Ingest.Postgres)
}
