package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// documented are the fields in docs/logs.md.
func documented(t *testing.T) (fields []string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "logs.md"))
	require.NoError(t, err)
	_, table, found := strings.Cut(string(page), "\n## Fields\n")
	require.True(t, found)
	for _, row := range regexp.MustCompile("(?m)^\\| `(.*?)` \\|").FindAllStringSubmatch(table, -1) {
		fields = append(fields, strings.Split(row[1], "`, `")...)
	}
	return fields
}

// What the programs log of a run through their main paths, at the level that they were
// switched to, are JSON objects with the documented fields, and without anybody's data.
func TestLogsHaveTheDocumentedFieldsAndNoPersonalData(t *testing.T) {
	p := newPipeline(t)
	p.env = append(p.env, "HTTP_ACCESS_LOG=1000")
	programs := map[string]*process{"ingest-worker": p.worker(), "read-api": p.reader(), "dlq-console": p.console()}
	level := func(to string) {
		for _, s := range programs {
			request, err := http.NewRequestWithContext(p.ctx, http.MethodPut, "http://"+s.admin+"/loglevel", strings.NewReader(`{"level":"`+to+`"}`))
			require.NoError(t, err)
			answer, err := client.Do(request)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, http.StatusOK, answer.StatusCode)
		}
	}
	level("debug")
	reader, console := programs["read-api"], programs["dlq-console"]
	record := sample(t, "model.json")
	p.orderctl(record, "publish", "--file", "-")
	p.seen(reader, "b563feb7b2b84b6test", canonical(t, record))
	p.orderctl(record, "publish", "--file", "-")
	p.orderctl(strings.Replace(record, "Test Testov", "Ann Secret", 1), "publish", "--file", "-")
	p.orderctl(strings.Replace(record, "test@gmail.com", "not an address", 1), "publish", "--file", "-", "--no-validate")
	p.eventually("the letters are there", func() (bool, string) { return len(p.deadLetterReasons()) == 2, "" })
	ids := map[*process]string{}
	for s, addresses := range map[*process][]string{
		reader:  {"/order/b563feb7b2b84b6test", "/api/v1/orders?customer_id=test-customer", "/?q=Ann+Secret", "/order/Ann%20Secret", "/Ann%20Secret"},
		console: {"/", "/letters?q=Ann+Secret", "/Ann%20Secret"},
	} {
		for _, address := range addresses {
			_, header, _ := s.get(address, "X-Request-Id: Ann-Secret")
			ids[s] = header.Get("X-Request-Id")
			require.NotEmpty(t, ids[s], address)
			p.eventually("the request is logged", func() (bool, string) {
				return strings.Contains(s.log.String(), `"request_id":"`+ids[s]+`"`), s.log.String()
			})
		}
	}
	level("info")

	fields := documented(t)
	for name, s := range programs {
		s.stop(syscall.SIGTERM)
		text := s.log.String()
		for _, personal := range []string{"Test Testov", "+9720000000", "2639809", "Kiryat Mozkin", "Ploshad Mira", "Kraiot", "test@gmail.com", "not an address", "Ann", "Secret", "test-customer"} {
			require.NotContains(t, text, personal, name)
		}
		lines := 0
		for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
			if !strings.HasPrefix(line, "{") && s == console {
				continue // for whoever has started it
			}
			var object map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &object), line)
			require.Equal(t, name, object["service"])
			require.NotEmpty(t, object["version"])
			for field := range object {
				require.Contains(t, fields, field, line)
			}
			lines++
		}
		require.Greater(t, lines, 3, text)
	}
	require.Contains(t, programs["ingest-worker"].log.String(), `"msg":"summary of batches"`)
	require.Contains(t, programs["ingest-worker"].log.String(), `"msg":"order stored"`, "the level was changed")
}
