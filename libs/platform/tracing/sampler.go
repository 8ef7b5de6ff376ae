package tracing

import (
	"strconv"
	"strings"
	"sync/atomic"

	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// sampler returns the one that the settings name. roots is the default for spans without
// a parent.
func sampler(settings *config.Traces, roots sdk.Sampler) sdk.Sampler {
	name, respectsParent := strings.CutPrefix(settings.Sampler, "parentbased_")
	switch name {
	case "always_on":
		roots = sdk.AlwaysSample()
	case "always_off":
		roots = sdk.NeverSample()
	case "traceidratio":
		share, err := strconv.ParseFloat(settings.SamplerArg, 64)
		if err != nil { // there is none
			share = 1
		}
		roots = sdk.TraceIDRatioBased(share)
	}
	if roots == nil {
		roots = sdk.NeverSample()
	}
	if !respectsParent && settings.Sampler != "" {
		return roots
	}
	return sdk.ParentBased(linked{roots})
}

// linked samples a span that is linked to a sampled one.
type linked struct{ sdk.Sampler }

func (l linked) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	for _, link := range p.Links {
		if link.SpanContext.IsSampled() {
			return sdk.AlwaysSample().ShouldSample(p)
		}
	}
	return l.Sampler.ShouldSample(p)
}

// First samples the first n traces of the process: enough to look at, and bounded in
// cost, for a command that an operator calls.
func First(n int64) sdk.Sampler { return &first{n: n, Sampler: sdk.AlwaysSample()} }

type first struct {
	sdk.Sampler
	n     int64
	begun atomic.Int64
}

func (f *first) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	if f.begun.Load() >= f.n || f.begun.Add(1) > f.n {
		return sdk.NeverSample().ShouldSample(p)
	}
	return f.Sampler.ShouldSample(p)
}
