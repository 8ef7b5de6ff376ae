// Package app assembles the worker. Only its file app.go imports fx.
package app

import (
	"context"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"github.com/uptrace/bun"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/service"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/consumer"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/erasures"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/lag"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/letters"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/pipeline"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/positions"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/prune"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/schema"
)

const (
	program = "ingest-worker"
	about   = "ingest-worker takes orders from a Kafka topic, validates them and stores them in\n" +
		"PostgreSQL. What cannot be stored goes to the dead-letter topic."
)

// pruneInterval is about how often old rows are removed. With a shorter retention it is
// the retention.
const pruneInterval = 15 * time.Minute

const requestTimeout = 10 * time.Second

// Main runs the worker until SIGINT or SIGTERM and returns its exit code. See
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

// Options are the worker's parts and their dependencies.
func Options(settings *Settings) fx.Option {
	return fx.Options(
		fx.Supply(settings),
		fx.Provide(service.Parts(program, settings)...),
		fx.Provide(
			newFatal,
			newDatabase, newPruner,
			newDialer, newTransport, newClient,
			newMetrics, newBlockage, newProducer, newPositions, newErasures, newPipeline, newConsumer, newLagMeter,
		),
		fx.WithLogger(func(log *zap.Logger) fxevent.Logger {
			l := &fxevent.ZapLogger{Logger: log}
			l.UseLogLevel(zap.DebugLevel)
			return l
		}),
		// They start in this order and stop in reverse.
		fx.Invoke(start[*admin.Server], start[*prune.Pruner], start[*lag.Meter], start[*consumer.Consumer]),
	)
}

func newDatabase(s *Settings, metrics *prometheus.Registry, lc fx.Lifecycle) (*bun.DB, error) {
	db, err := bundb.Open(s.Database, bundb.Options{MaxConns: s.DatabaseConns, ApplicationName: program, Metrics: metrics})
	if err == nil {
		lc.Append(fx.StopHook(db.Close))
	}
	return db, err
}

func newDialer(s *Settings) (*kafka.Dialer, error) { return kafkago.Dialer(s.Kafka.KafkaConn) }

func newTransport(s *Settings, lc fx.Lifecycle) (*kafka.Transport, error) {
	transport, err := kafkago.Transport(s.Kafka.KafkaConn)
	if err == nil {
		lc.Append(fx.StopHook(transport.CloseIdleConnections))
	}
	return transport, err
}

func newClient(s *Settings, transport *kafka.Transport) *kafka.Client {
	return kafkago.Client(s.Kafka.KafkaConn, transport)
}

// fatal stops the process, because of a defect that waiting does not resolve.
type fatal func(error)

func newFatal(shutdown fx.Shutdowner, log *zap.Logger) fatal {
	return func(err error) {
		log.Error("unrecoverable error, stopping; uncommitted records will be read again", zap.Error(err))
		_ = shutdown.Shutdown(fx.ExitCode(1)) // fails only during a shutdown
	}
}

func newMetrics(metrics *prometheus.Registry) *pipeline.Metrics { return pipeline.NewMetrics(metrics) }

func newBlockage(checks *health.Registry, metrics *pipeline.Metrics, log *zap.Logger) *pipeline.Blockage {
	return pipeline.NewBlockage(checks.Component("pipeline"), metrics, log)
}

func newPositions(s *Settings, db *bun.DB, metrics *prometheus.Registry, checks *health.Registry, log *zap.Logger) *positions.Keeper {
	return positions.New(positions.Config{Group: s.Group, Topic: s.Kafka.Topic, Timeout: min(s.WriteTimeout, requestTimeout)}, db, metrics, checks.Component("pause"), log)
}

func newErasures(s *Settings, db *bun.DB, producer *letters.Producer, dialer *kafka.Dialer, metrics *prometheus.Registry, checks *health.Registry, log *zap.Logger, lc fx.Lifecycle) *erasures.Keeper {
	reader := func(partition, maxRecordBytes int) *fetch.Reader {
		return fetch.NewReader(fetch.Config{
			Brokers: kafkaconn.Brokers(s.Kafka.KafkaConn), Dialer: dialer, Topic: s.Kafka.DLQTopic, Partition: partition, MaxRecordBytes: maxRecordBytes,
		})
	}
	k := erasures.New(erasures.Config{
		Group: s.Group, Topic: s.Kafka.DLQTopic, Key: s.Erasures.NewKey(), Timeout: min(s.WriteTimeout, requestTimeout),
		Reader: reader(0, erasures.MaxRecordBytes),
		RemoveLetters: func(ctx context.Context, known *erased.Known) (int, error) {
			return producer.RemoveErased(ctx, known, func(partition int) *fetch.Reader {
				return reader(partition, s.Rules.MaxRecordBytes+letters.MaxHeaderBytes)
			})
		},
	}, db, metrics, checks.Component("erasures"), log)
	lc.Append(fx.StopHook(k.Close))
	return k
}

func newProducer(s *Settings, client *kafka.Client) *letters.Producer {
	return letters.NewProducer(client, s.Kafka.DLQTopic)
}

func newPipeline(s *Settings, db *bun.DB, client *kafka.Client, producer *letters.Producer, dialer *kafka.Dialer, metrics *pipeline.Metrics,
	blockage *pipeline.Blockage, position *positions.Keeper, erasures *erasures.Keeper, fatal fatal, log *zap.Logger,
) *pipeline.Pipeline {
	if s.Rules.RejectUnknown {
		log.Warn("INGEST_REJECT_UNKNOWN_FIELDS is the old name of INGEST_UNKNOWN_FIELDS=reject: use the new one")
	}
	codec := model.New(s.Rules.Options())
	return pipeline.New(
		pipeline.Config{
			Topic: s.Kafka.Topic, Group: s.Group, Batch: s.batch(), MaxBatch: s.MaxBatch,
			Grace: min(s.SessionTimeout/2, s.StopTimeout/2),
		},
		pipeline.Deps{
			Source: func(partition int, maxBytes int32, admit func(context.Context, int) (func(), error)) *fetch.Reader {
				return fetch.NewReader(fetch.Config{
					Brokers: kafkaconn.Brokers(s.Kafka.KafkaConn), Dialer: dialer, Topic: s.Kafka.Topic, Partition: partition,
					MaxRecordBytes: s.Rules.MaxRecordBytes, MaxBytes: maxBytes, Admit: admit,
				})
			},
			Codec: codec,
			Store: orderwrite.New(db, orderwrite.Options{
				Timeout: s.WriteTimeout, MaxOrders: s.MaxBatch, Batch: s.batch(), Differs: codec.Differs, Versions: s.Rules.Versions(), Erasures: s.Erasures.NewKey(), Phase: metrics.Phase,
				ForeignKeys: func(obstacle string) { logForeignKeys(log, obstacle) },
			}),
			Position: position,
			Erasures: erasures,
			Producer: producer,
			Budget:   pipeline.NewBudget(s.MemoryBytes),
			Blockage: blockage,
			Metrics:  metrics,
			Log:      log,
			Rights: func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, requestTimeout)
				defer cancel()
				return migrations.CheckRights(ctx, db.DB, migrations.Writer)
			},
			Committed: func(ctx context.Context) (map[int]int64, error) {
				ctx, cancel := context.WithTimeout(ctx, requestTimeout)
				defer cancel()
				partitions, err := kafkago.PartitionCount(ctx, client, s.Kafka.Topic)
				if err != nil {
					return nil, err
				}
				return kafkago.Committed(ctx, client, s.Group, s.Kafka.Topic, partitions)
			},
			Fatal: fatal,
		})
}

func logForeignKeys(log *zap.Logger, obstacle string) {
	if obstacle == "" {
		log.Info("writing without look-ups for foreign keys")
		return
	}
	log.Info("writing with look-ups for foreign keys", zap.String("reason", obstacle))
}

func newConsumer(s *Settings, db *bun.DB, client *kafka.Client, dialer *kafka.Dialer, consumed *pipeline.Pipeline, position *positions.Keeper, erasures *erasures.Keeper,
	fatal fatal, blockage *pipeline.Blockage, checks *health.Registry, log *zap.Logger,
) *consumer.Consumer {
	database := checks.Component("database")
	return consumer.New(
		consumer.Config{
			Brokers: kafkaconn.Brokers(s.Kafka.KafkaConn), Group: s.Group, Topic: s.Kafka.Topic,
			Topics:         kafkaconn.OrderTopics(s.Kafka, s.TopicPartitions, s.TopicReplication),
			SessionTimeout: s.SessionTimeout, TopicWatchInterval: s.TopicWatch, PositionsInterval: s.LagInterval,
		},
		consumer.Deps{
			Client: client, Dialer: dialer, Assign: consumed.Assign,
			Prepare:  func(ctx context.Context) error { return schema.Wait(ctx, db.DB, database, log) },
			WentBack: position.WentBack, SyncErasures: erasures.Sync, Fatal: fatal,
			Membership: blockage, Component: checks.Component("group"), Log: log,
		})
}

func newLagMeter(s *Settings, client *kafka.Client, dialer *kafka.Dialer, metrics *prometheus.Registry, log *zap.Logger) *lag.Meter {
	const oneBatch = 1 // bytes: a first batch arrives whole
	meter := lag.NewMeter(lag.Config{Topic: s.Kafka.Topic, Group: s.Group, Interval: s.LagInterval}, lag.Deps{
		Client: client, Log: log,
		Source: func(partition int) *fetch.Reader {
			return fetch.NewReader(fetch.Config{
				Brokers: kafkaconn.Brokers(s.Kafka.KafkaConn), Dialer: dialer, Topic: s.Kafka.Topic, Partition: partition, MaxBytes: oneBatch,
			})
		},
	})
	metrics.MustRegister(meter)
	return meter
}

func newPruner(s *Settings, db *bun.DB, metrics *prometheus.Registry, log *zap.Logger) *prune.Pruner {
	interval := min(pruneInterval, s.Retention, s.VersionsRetention, s.TombstonesRetention)
	if s.OrdersRetention > 0 {
		interval = min(interval, s.OrdersRetention)
	}
	return prune.New(db, prune.Config{
		Deletions: s.Retention, Orders: s.OrdersRetention, Versions: s.VersionsRetention, Tombstones: s.TombstonesRetention, Interval: interval,
	}, metrics, log)
}

func start[P lifecycle.Part](lc fx.Lifecycle, part P) {
	lc.Append(fx.StartStopHook(part.Start, part.Stop))
}
