package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// The story of a record is whatever names it, what was said about its partition or by
// the whole service at that time, and the strikes then; in the order of time, and
// nothing else.
func TestARecordsStory(t *testing.T) {
	sent := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &site{logs: t.TempDir()}
	s.workers = []*service{newService(s, workerName, 0, ""), newService(s, workerName, 1, "")}
	s.readers = []*service{newService(s, readerName, 0, "")}
	say := func(service *service, after time.Duration, text string) {
		file, err := os.OpenFile(service.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = fmt.Fprintf(file, `{"time":"%s",%s}`+"\n", sent.Add(after).Format(time.RFC3339Nano), text)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	say(s.workers[1], 4*time.Second, `"msg":"batch done","partition":2,"records":50,"next_offset":5020`)
	say(s.workers[0], 2*time.Second, `"msg":"batch given up","partition":2,"records":40`)
	say(s.workers[0], 2*time.Second, `"msg":"batch done","partition":1,"records":50,"next_offset":5020`)
	say(s.workers[0], time.Hour, `"msg":"batch given up later","partition":2`)
	say(s.readers[0], time.Hour, `"msg":"cannot decode","order_uid":"chaos-7"`)
	say(s.readers[0], time.Hour, `"msg":"another","order_uid":"chaos-77"`)
	hits := []*hit{
		{what: "strike 3, SIGKILL of a worker", began: sent.Add(time.Second), recovery: 2 * time.Second},
		{what: "strike 99, much later", began: sent.Add(time.Hour)},
	}
	found := &ledger.Findings{
		Committed: ledger.Offsets{2: 5020}, Ends: ledger.Offsets{2: 5020},
		First: []ledger.Finding{{What: "order chaos-7 is not stored", Place: ledger.Place{Partition: 2, Offset: 5004, At: sent}, UID: "chaos-7"}},
	}
	var told strings.Builder
	s.stories(&told, hits, found)
	lines := strings.Split(strings.TrimSpace(told.String()), "\n")
	require.Len(t, lines, 6, told.String())
	for i, words := range []string{
		"order chaos-7 is not stored", "partition 2, offset 5004, sent at 2026-01-02T03:04:05Z; committed 5020, end 5020",
		"strike 3, SIGKILL of a worker", "ingest-worker-0: ", "ingest-worker-1: ", "read-api-0: ",
	} {
		require.Contains(t, lines[i], words)
	}
	require.Contains(t, lines[3], "batch given up")
	require.Contains(t, lines[4], `"next_offset":5020`)
}
