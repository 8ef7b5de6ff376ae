package cli

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.uber.org/zap/zapcore"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
)

type traceSettings struct {
	Traces config.Traces
	Link   linkSettings
}

type linkSettings struct {
	URL string `env:"TRACE_URL" help:"where people look at a trace, such as https://tempo.example/trace/{trace_id}; letters link there"`
}

func (s *linkSettings) Validate() error {
	if u, err := url.Parse(s.URL); s.URL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || !strings.Contains(s.URL, "{trace_id}")) {
		return errors.New("TRACE_URL: not an address with {trace_id} in it, such as https://tempo.example/trace/{trace_id}")
	}
	return nil
}

// traced is how many traces a command begins at most, unless OTEL_TRACES_SAMPLER says
// otherwise. Each order that is published, and each letter that is redriven, is one.
const traced = 100

// trace has a command's spans recorded, if the settings ask for it. The console does so
// itself, as the service that it is.
func (a *app) trace(cmd *cobra.Command) error {
	if err := load(&a.traces); err != nil || cmd.Name() == "ui" {
		return err
	}
	flush, err := tracing.Start(&a.traces.Traces, tracing.Options{Service: "orderctl", Roots: tracing.First(traced), Log: a.logger(zapcore.WarnLevel)})
	if err == nil {
		a.ends = append(a.ends, flush)
	}
	return usage(err)
}

// trace begins the span of a record that is about to be published.
func (t target) trace(r publish.Record) (traceparent []byte, end func(publish.Result)) {
	name, kind, of := tracing.Send.On(cmp.Or(t.subject, t.name))
	ctx, span := tracing.Begin(context.Background(), name, kind, of)
	if !span.IsRecording() {
		return nil, nil
	}
	if t.subject != "" {
		span.SetAttributes(semconv.MessagingSystemKey.String("nats"))
	}
	if info, ok := r.Info.(recordInfo); ok && model.IsOrderUID(info.UID) {
		span.SetAttributes(tracing.OrderUID.String(info.UID))
	}
	return tracing.Traceparent(ctx), func(result publish.Result) {
		if place := result.Place.TopicPlace; place != nil {
			span.SetAttributes(tracing.Place(int(place.Partition), place.Offset)...)
		}
		if result.Err != nil {
			tracing.Fail(span, "not_acknowledged")
		}
		span.End()
	}
}
