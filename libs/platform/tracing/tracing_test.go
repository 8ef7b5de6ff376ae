package tracing_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sampled   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

// settings are those that the environment gives.
func settings(t *testing.T, environment map[string]string) *config.Traces {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, value := range environment {
		t.Setenv(name, value)
	}
	s := &struct{ config.Traces }{}
	require.NoError(t, config.Load(s))
	return &s.Traces
}

// record has spans recorded in memory.
func record(t *testing.T, s *config.Traces) *tracetest.InMemoryExporter {
	t.Helper()
	memory := tracetest.NewInMemoryExporter()
	stop, err := tracing.Start(s, tracing.Options{Service: "test", Exporter: memory, Log: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(stop)
	return memory
}

// BenchmarkOff is what a request of the API calls while traces are off.
func BenchmarkOff(b *testing.B) {
	ctx := b.Context()
	for b.Loop() {
		if tracing.On() || tracing.Recording(ctx) || tracing.ID(ctx) != "" || tracing.Traceparent(ctx) != nil {
			b.Fatal("something is recorded")
		}
	}
}

func TestWithoutACollectorNothingIsRecordedOrAllocated(t *testing.T) {
	for _, environment := range []map[string]string{
		{},
		{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
	} {
		stop, err := tracing.Start(settings(t, environment), tracing.Options{Service: "test"})
		require.NoError(t, err)
		ctx, header := t.Context(), []byte(sampled)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			if _, ok := tracing.Parse(header); ok || tracing.On() || tracing.Recording(ctx) || tracing.ID(ctx) != "" || tracing.Traceparent(ctx) != nil {
				t.Error("something is recorded")
			}
			_, span := tracing.Begin(ctx, "nothing")
			span.End()
		}))
		stop()
		for name := range environment {
			t.Setenv(name, "")
		}
	}
}

func TestHeaders(t *testing.T) {
	record(t, &config.Traces{})
	for header, is := range map[string]bool{
		sampled: true, unsampled: false, "": false, "00-": false, strings.Repeat("f", 55): false, sampled[:54]: false,
		strings.Replace(sampled, "-01", "-03", 1): true, strings.Replace(sampled, "-01", "-0b", 1): false,
		strings.ReplaceAll(sampled, "b7ad6b7169203331", "0000000000000000"): false,
		strings.Replace(sampled, "-01", "-ff", 1):                           false, // reserved flags of version 0
	} {
		span, ok := tracing.Parse([]byte(header))
		require.Equal(t, is, ok, header)
		if ok {
			require.Equal(t, "0af7651916cd43dd8448eb211c80319c", span.TraceID().String())
		}
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { tracing.Parse([]byte(unsampled)) }), "a record that is not sampled costs nothing")
	parent, _ := tracing.Parse([]byte(sampled))
	ctx, span := tracing.Begin(tracing.Under(t.Context(), parent), "child")
	defer span.End()
	require.True(t, tracing.Recording(ctx))
	require.Equal(t, parent.TraceID().String(), tracing.ID(ctx))
	again, ok := tracing.Parse(tracing.Traceparent(ctx))
	require.True(t, ok)
	require.Equal(t, span.SpanContext().SpanID(), again.SpanID())
}

func TestSampling(t *testing.T) {
	parent, _ := tracing.Sampled([]byte(sampled))
	silent := parent.WithTraceFlags(0)
	for sampler, want := range map[string][4]bool{ // without a parent, of a sampled one, of one that is not, linked
		"":                         {false, true, false, true},
		"parentbased_always_on":    {true, true, false, true},
		"parentbased_always_off":   {false, true, false, true},
		"parentbased_traceidratio": {true, true, false, true},
		"always_on":                {true, true, true, true},
		"always_off":               {false, false, false, false},
	} {
		t.Run(sampler, func(t *testing.T) {
			memory := tracetest.NewInMemoryExporter()
			stop, err := tracing.Start(&config.Traces{Sampler: sampler}, tracing.Options{Exporter: memory, Log: zap.NewNop()})
			require.NoError(t, err)
			defer stop()
			begun := func(ctx context.Context, options ...trace.SpanStartOption) bool {
				_, span := tracing.Begin(ctx, "span", options...)
				defer span.End()
				return span.IsRecording()
			}
			ctx := t.Context()
			require.Equal(t, want, [4]bool{
				begun(ctx), begun(tracing.Under(ctx, parent)), begun(tracing.Under(ctx, silent)), begun(ctx, trace.WithLinks(trace.Link{SpanContext: parent})),
			})
		})
	}
}

func TestFirstTracesOfACommand(t *testing.T) {
	memory := tracetest.NewInMemoryExporter()
	stop, err := tracing.Start(&config.Traces{}, tracing.Options{Exporter: memory, Roots: tracing.First(3), Log: zap.NewNop()})
	require.NoError(t, err)
	defer stop()
	for range 10 {
		ctx, root := tracing.Begin(t.Context(), "root")
		_, child := tracing.Begin(ctx, "child")
		child.End()
		root.End()
	}
	require.Len(t, memory.GetSpans(), 6)
}

// collector is an OTLP collector that keeps spans in memory. Its first answers are codes.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	codes   []int
	spans   []string
	service string
	headers http.Header
}

func newCollector(t *testing.T, codes ...int) *collector {
	t.Helper()
	c := &collector{codes: codes}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.codes) > 0 {
		w.WriteHeader(c.codes[0])
		c.codes = c.codes[1:]
		return
	}
	raw, _ := io.ReadAll(r.Body)
	var data tracepb.TracesData
	if r.URL.Path != "/v1/traces" || proto.Unmarshal(raw, &data) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.headers = r.Header
	for _, resource := range data.ResourceSpans {
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				c.service = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				c.spans = append(c.spans, span.Name)
			}
		}
	}
}

func TestSpansReachTheCollector(t *testing.T) {
	c := newCollector(t, http.StatusServiceUnavailable)
	s := settings(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL,
		"OTEL_EXPORTER_OTLP_HEADERS":  "authorization=Bearer%20hunter2, x-tenant=orders", "OTEL_TRACES_SAMPLER": "always_on",
	})
	stop, err := tracing.Start(s, tracing.Options{Service: "ingest-worker", Log: zap.NewNop()})
	require.NoError(t, err)
	_, span := tracing.Begin(t.Context(), "one", trace.WithAttributes(attribute.Int("n", 1)))
	span.End()
	stop()
	require.Equal(t, []string{"one"}, c.spans, "after an attempt that the collector asked to repeat")
	require.Equal(t, "ingest-worker", c.service)
	require.Equal(t, "Bearer hunter2", c.headers.Get("Authorization"))
	require.Equal(t, "orders", c.headers.Get("X-Tenant"))
	require.False(t, tracing.On())
}

// The log tells that spans are lost, once, and no secret.
func TestErrorsAreLoggedWithoutSecrets(t *testing.T) {
	c := newCollector(t, http.StatusUnauthorized, http.StatusUnauthorized)
	core, logs := observer.New(zapcore.InfoLevel)
	s := settings(t, map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": strings.Replace(c.URL, "http://", "http://user:hunter1@", 1) + "/?key=hunter3",
		"OTEL_EXPORTER_OTLP_HEADERS":         "authorization=hunter2", "OTEL_TRACES_SAMPLER": "always_on",
	})
	stop, err := tracing.Start(s, tracing.Options{Service: "test", Log: zap.New(core)})
	require.NoError(t, err)
	_, span := tracing.Begin(t.Context(), "one")
	span.End()
	stop()
	otel.Handle(errors.New("another"))
	require.Equal(t, 1, logs.Len())
	said := logs.All()[0].ContextMap()["error"].(string)
	require.Contains(t, said, "401 Unauthorized")
	require.NotContains(t, said, "hunter")

	// The collector is away: attempts end, or the stop ends them after a few seconds.
	c.Close()
	for _, patience := range []string{"50", "30000"} {
		core, logs := observer.New(zapcore.InfoLevel)
		t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", patience) // of all attempts for some spans, in milliseconds
		stop, err = tracing.Start(s, tracing.Options{Service: "test", Log: zap.New(core)})
		require.NoError(t, err)
		_, span = tracing.Begin(t.Context(), "two")
		span.End()
		stopped := make(chan struct{})
		go func() { defer close(stopped); stop() }()
		select {
		case <-stopped:
		case <-time.After(20 * time.Second):
			t.Fatal("the stop waits for a collector that is away")
		}
		require.Equal(t, 1, logs.Len())
		said := logs.All()[0].ContextMap()["error"].(string)
		require.NotContains(t, said, "hunter")
		if patience == "50" {
			require.Contains(t, said, "the collector at 127.0.0.1")
		}
	}
}

func TestSettingsThatCannotBeUsedAreRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_SAMPLER": "sometimes",
		"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_TRACES_SAMPLER_ARG": "2", "OTEL_EXPORTER_OTLP_TIMEOUT": "10s",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			require.ErrorContains(t, config.Load(&struct{ config.Traces }{}), name)
		})
	}
	_, err := tracing.Start(&config.Traces{Exporter: "otlp", CAFile: "missing.pem"}, tracing.Options{})
	require.ErrorContains(t, err, "OTEL_EXPORTER_OTLP_CERTIFICATE")
}
