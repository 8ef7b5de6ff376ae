package orderdb_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/orderdb"
)

func TestTracesFitANotification(t *testing.T) {
	now := time.Unix(0, time.Now().UnixNano())
	one := orderdb.Trace{OrderUID: strings.Repeat("u", 64), Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	var many []orderdb.Trace
	for range 1000 {
		many = append(many, one)
	}
	payload := orderdb.FormatTraces(now, many)
	require.Less(t, len(payload), 8000, "PostgreSQL's limit")
	at, traces := orderdb.ParseTraces(payload)
	require.Equal(t, now, at)
	require.Len(t, traces, 60)
	require.Equal(t, one, traces[59])

	for _, nonsense := range []string{"", "\n", "x\ny z", "1", "1\n", "1\nx"} {
		_, traces := orderdb.ParseTraces(nonsense)
		require.Empty(t, traces, nonsense)
	}
}
