package config

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
)

// Traces says which spans are recorded and where they go, by OpenTelemetry's standard
// variables. Without an endpoint there are none.
type Traces struct {
	Disabled       bool   `env:"OTEL_SDK_DISABLED" envDefault:"false" help:"true: no traces, whatever else is set"`
	Exporter       string `env:"OTEL_TRACES_EXPORTER" help:"otlp or none (default: otlp where an endpoint is set, else none)"`
	Endpoint       string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" help:"collector to send traces to, by OTLP over HTTP, such as http://localhost:4318"`
	TracesEndpoint string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" help:"the whole address for traces, used as it stands instead of OTEL_EXPORTER_OTLP_ENDPOINT"`
	Headers        Secret `env:"OTEL_EXPORTER_OTLP_HEADERS" help:"headers for the collector, such as authorization=Bearer%20TOKEN, comma-separated"`
	HeadersFile    string `env:"OTEL_EXPORTER_OTLP_HEADERS_FILE"`
	Protocol       string `env:"OTEL_EXPORTER_OTLP_PROTOCOL" envDefault:"http/protobuf" help:"http/protobuf, the only one that is supported"`
	TimeoutMillis  int    `env:"OTEL_EXPORTER_OTLP_TIMEOUT" envDefault:"10000" help:"milliseconds that a request to the collector may take"`
	CAFile         string `env:"OTEL_EXPORTER_OTLP_CERTIFICATE" help:"PEM file with the authority to trust (default: the system's)"`
	Sampler        string `env:"OTEL_TRACES_SAMPLER" help:"always_on, always_off, traceidratio, or parentbased_ and one of these (default: parentbased_always_off; of orderctl's commands the first 100 traces)"`
	SamplerArg     string `env:"OTEL_TRACES_SAMPLER_ARG" help:"share of the traces that traceidratio records, 0 to 1 (default: 1)"`
}

// On says whether spans are exported.
func (t *Traces) On() bool {
	return !t.Disabled && t.Exporter != "none" && (t.Exporter != "" || t.Endpoint != "" || t.TracesEndpoint != "")
}

// Validate names the variables whose values cannot be used.
func (t *Traces) Validate() error {
	var errs []error
	for _, e := range [][2]string{{"OTEL_EXPORTER_OTLP_ENDPOINT", t.Endpoint}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", t.TracesEndpoint}} {
		if u, err := url.Parse(e[1]); e[1] != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			errs = append(errs, fmt.Errorf("%s: not an address such as http://localhost:4318", e[0]))
		}
	}
	if share, err := strconv.ParseFloat(t.SamplerArg, 64); t.SamplerArg != "" && (err != nil || share < 0 || share > 1) {
		errs = append(errs, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is no share from 0 to 1", t.SamplerArg))
	}
	return errors.Join(append(errs,
		OneOf("OTEL_TRACES_EXPORTER", t.Exporter, "", "otlp", "none"),
		OneOf("OTEL_EXPORTER_OTLP_PROTOCOL", t.Protocol, "http/protobuf"),
		Between("OTEL_EXPORTER_OTLP_TIMEOUT", t.TimeoutMillis, 1, 600_000),
		OneOf("OTEL_TRACES_SAMPLER", t.Sampler, "", "always_on", "always_off", "traceidratio",
			"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"))...)
}
