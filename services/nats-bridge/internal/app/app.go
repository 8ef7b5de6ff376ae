// Package app assembles the bridge. Only its file app.go imports fx.
package app

import (
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/metric"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/libs/platform/service"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/forward"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/jetstream"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/outage"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/streaming"
)

const (
	program = "nats-bridge"
	about   = "nats-bridge takes orders from NATS JetStream, or from NATS Streaming, into the Kafka\n" +
		"topic of the orders. It does not look at them: that is the worker's part."
)

// Main runs the bridge until SIGINT or SIGTERM and returns its exit code. See
// service.Main for the arguments.
func Main(args []string, stdout, stderr io.Writer) int {
	settings := &Settings{}
	return service.Main(service.Program{
		Name: program, About: about, Settings: settings,
		New: func() (service.App, error) {
			app := fx.New(Options(settings), fx.StopTimeout(settings.StopTimeout))
			wait := func() int { return (<-app.Wait()).ExitCode }
			return service.App{Start: app.Start, Stop: app.Stop, Wait: wait}, app.Err()
		},
	}, args, stdout, stderr)
}

// Options are the bridge's parts and their dependencies.
func Options(settings *Settings) fx.Option {
	return fx.Options(
		fx.Supply(settings),
		fx.Provide(service.Parts(program, settings)...),
		fx.Provide(newOutages, newConn, newForwarder, newSource),
		fx.WithLogger(func(log *zap.Logger) fxevent.Logger {
			l := &fxevent.ZapLogger{Logger: log}
			l.UseLogLevel(zap.DebugLevel)
			return l
		}),
		// They start in this order and stop in reverse.
		fx.Invoke(start[*admin.Server], start[*forward.Forwarder], start[lifecycle.Part]),
	)
}

// outages are the states of what the bridge depends on.
type outages struct{ nats, kafka *outage.Outage }

func newOutages(checks *health.Registry, metrics *prometheus.Registry, log *zap.Logger) outages {
	waiting := outage.NewMetrics(metrics)
	return outages{
		nats:  outage.New("nats", checks.Component("nats"), waiting, log),
		kafka: outage.New("kafka", checks.Component("kafka"), waiting, log),
	}
}

func newConn(s *Settings, metrics *prometheus.Registry, lc fx.Lifecycle, log *zap.Logger) (*nats.Conn, error) {
	conn, err := natsconn.Connect(s.NATS, program, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		log.Warn("NATS reported an error", zap.Error(err))
	}))
	if err == nil {
		metric.CounterOf(metrics, "orderhub_bridge_nats_reconnects_total", "Times that the connection to NATS was made again.",
			func() int64 { return int64(conn.Stats().Reconnects) })
		lc.Append(fx.StopHook(func() {
			_ = conn.FlushTimeout(time.Second) // acknowledgements; what is lost is delivered again
			conn.Close()
		}))
	}
	return conn, err
}

func newForwarder(s *Settings, states outages, metrics *prometheus.Registry, log *zap.Logger) (*forward.Forwarder, error) {
	options, err := franz.Options(s.Kafka.KafkaConn)
	if err != nil {
		return nil, err
	}
	return forward.New(forward.Config{
		Topic: s.Kafka.Topic, DLQTopic: s.Kafka.DLQTopic, Durable: s.Durable,
		MaxMessages: s.MaxMessages, MaxBytes: s.MaxBytes, AckWait: s.AckWait, Grace: s.StopTimeout / 2,
	}, options, states.kafka, forward.NewMetrics(metrics), log)
}

// newSource takes messages from NATS.
func newSource(s *Settings, conn *nats.Conn, forwarder *forward.Forwarder, states outages, metrics *prometheus.Registry, log *zap.Logger) (lifecycle.Part, error) {
	if s.Mode == modeStreaming {
		return streaming.New(streaming.Config{
			Streaming: s.Streaming, Subject: s.Subject, Durable: s.Durable, MaxMessages: s.MaxMessages, AckWait: s.AckWait,
		}, conn, forwarder, states.nats, log), nil
	}
	return jetstream.New(
		jetstream.Config{Stream: s.Stream, Subject: s.Subject, Durable: s.Durable, MaxMessages: s.MaxMessages, AckWait: s.AckWait},
		conn, forwarder, states.nats, jetstream.NewMetrics(metrics), log)
}

func start[P lifecycle.Part](lc fx.Lifecycle, part P) {
	lc.Append(fx.StartStopHook(part.Start, part.Stop))
}
