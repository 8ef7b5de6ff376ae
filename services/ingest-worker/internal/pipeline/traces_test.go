package pipeline

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
)

// A record costs nothing for traces where there are none, and where its producer did not
// sample it.
func TestRecordsThatAreNotSampledCostNothing(t *testing.T) {
	header := func(flags string) []fetch.Header {
		return []fetch.Header{{Key: "other", Value: []byte("x")}, {Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + flags)}}
	}
	plain, unsampled, sampled := fetch.Record{}, fetch.Record{Headers: header("00")}, fetch.Record{Headers: header("01")}
	r := &record{}
	costs := func(raw *fetch.Record) float64 {
		return testing.AllocsPerRun(100, func() { r.trace(raw, "orders", "orderhub", 0) })
	}
	require.Zero(t, costs(&plain)+costs(&unsampled)+costs(&sampled), "traces are off")
	taken := []*record{r}
	require.Nil(t, links(taken))

	stop, err := tracing.Start(&config.Traces{}, tracing.Options{Exporter: tracetest.NewInMemoryExporter(), Log: zap.NewNop()})
	require.NoError(t, err)
	defer stop()
	require.Zero(t, costs(&plain)+costs(&unsampled), "traces are on")
	require.Nil(t, links(taken))
}
