// Package bench holds the programs that measure. Its own test has each of them
// run in small.
package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/internal/binaries"
)

// TestSmoke has each program measure what takes seconds, and print its tables. Of
// the documents' tables each is written by one of them, and those of
// docs/benchmarks.md are by those that `make bench` runs.
func TestSmoke(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts databases and brokers")
	}
	// Without the race detector even where this test has it: the programs are tested.
	folder := t.TempDir()
	require.NoError(t, binaries.Build(folder, "./scripts/bench/ingest", "./scripts/bench/read", "./scripts/bench/restore",
		"./scripts/bench/freshness", "./scripts/bench/dlq", "./scripts/bench/nats", "./scripts/bench/scale", "./scripts/bench/soak"))
	var mu sync.Mutex
	writtenBy := map[string]string{} // the program, by section
	document := map[string]string{}  // that a program writes to unless it is told another, by program
	skipped := false
	t.Cleanup(func() {
		if !t.Failed() && !skipped {
			compareDocuments(t, writtenBy, document)
		}
	})
	for program, words := range map[string][]string{
		"ingest":    {"| ingest-worker ", "rate: "},
		"read":      {"| hits (200) ", "| not modified (304), browser with a cookie ", "| not found (404), through an ingress ", "hits, CACHE_COMPRESSION=zstd", "while 200 orders/s are ingested"},
		"restore":   {"| read-api, CACHE_COMPRESSION=zstd ", "memory, off: "},
		"dlq":       {"orderctl dlq list --reason --path"},
		"nats":      {"| nats-bridge ", "published → readable, idle"},
		"freshness": {"produced → readable idle: p99", "all answers were the cache's own", "cache caught up after, s"},
		"scale":     {"indexes GiB", "| 8 hash partitions ", "| reader of 1 of 8 shards ", "| 1,000,000,000 "},
		"soak":      {"worker, goroutines", "the tables held exactly the orders that were alive"},
	} {
		t.Run(program, func(t *testing.T) {
			t.Parallel() // no time is looked at, and most of it is waiting
			if _, err := exec.LookPath("wrk"); err != nil && (program == "read" || program == "scale") {
				if os.Getenv("ORDERHUB_TEST_STRICT") == "1" {
					t.Fatal("wrk is not installed, and ORDERHUB_TEST_STRICT=1 allows no skipping")
				}
				mu.Lock()
				defer mu.Unlock()
				skipped = true
				t.Skip("SKIPPED: wrk is not installed, so this is not measured")
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(folder, program), "--smoke", "--bin", folder, "--document", "docs/document.md")
			cmd.Dir = t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(cmd.Dir, "docs"), 0o700))
			output, err := cmd.CombinedOutput()
			require.NoError(t, err, string(output))
			for _, word := range words {
				require.Contains(t, string(output), word)
			}
			written := sections(t, filepath.Join(cmd.Dir, "docs", "document.md"))
			require.NotEmpty(t, written)
			help, err := exec.CommandContext(t.Context(), filepath.Join(folder, program), "--help").CombinedOutput()
			require.NoError(t, err, string(help))
			usual := documentFlag.FindSubmatch(help)
			require.NotNil(t, usual, string(help))
			mu.Lock()
			defer mu.Unlock()
			document[program] = string(usual[1])
			for _, section := range written {
				writtenBy[section] = program
			}
		})
	}
}

var (
	marker = regexp.MustCompile(`<!-- (\S+):begin `)
	number = regexp.MustCompile(`\d+`)

	documentFlag = regexp.MustCompile(`--document=\S+\s[\s\S]*?\(default:\s+([^\s,]+),`)
)

// sections are the tables that programs write into a document. Some have a number
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

func compareDocuments(t *testing.T, writtenBy, document map[string]string) {
	t.Helper()
	makeBench, err := exec.Command("make", "-n", "-C", "../..", "bench").CombinedOutput()
	require.NoError(t, err, string(makeBench))
	for _, section := range sections(t, "../../docs/benchmarks.md") {
		require.Regexp(t, `(?m)go run \./scripts/bench/`+writtenBy[section]+` *$`, string(makeBench), "make bench does not write %s", section)
	}
	known := map[string]bool{}
	for _, name := range []string{"docs/benchmarks.md", "docs/scaling.md"} {
		for _, section := range sections(t, filepath.Join("../..", name)) {
			known[section] = true
			require.Contains(t, writtenBy, section, "%s has a table that no program writes", name)
			require.Equal(t, name, document[writtenBy[section]], "%s is not where %s writes %s", name, writtenBy[section], section)
		}
	}
	for section, program := range writtenBy {
		require.Contains(t, known, section, "no document has the table that %s writes", program)
	}
}
